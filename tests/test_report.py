"""The report: what it says is in the run, it is the same each time, it is small, and hostile text stays text.

In a real browser: nothing leaves the page, nothing goes wrong, filters work by mouse and by keyboard, and axe
finds no serious fault.
"""

import base64
import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from rich.console import Console

from everystep.cli.app import main
from everystep.core.clock import Deadline
from everystep.core.files import RunError, append_jsonl, read_json, write_json, write_jsonl
from everystep.core.recipe import resolve, validate
from everystep.core.record import record, task_row
from everystep.core.run import open_run, read_run
from everystep.core.trace import gold, prompt, render
from everystep.core.types import Completion, Prompt
from everystep.evaluate.compare import pairs
from everystep.evaluate.harness import gold_bound
from everystep.show.findings import rate, read_findings, read_sides, said
from everystep.show.report import block, page, write_report
from everystep.show.screen import Screen
from everystep.show.terminal import compared, overview
from everystep.verify.grade import grade
from fakes import ScriptedSampler
from run_fixtures import HOSTILE, RECIPE, evaluated, finished, self_made, tasks

CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
UNSEEN = re.compile("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x00\x1b\ud800-\udfff\u2028]")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs") / "plain"
    finished(root)
    write_report(read_run(root))
    return root


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs") / "hostile"
    self_made(finished(root, n=20, hostile=True), hostile=True)
    write_report(read_run(root))
    return root


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that made its SFT data itself."""
    root = tmp_path_factory.mktemp("runs") / "own"
    self_made(finished(root))
    write_report(read_run(root))
    return root


def html(root: Path) -> str:
    return (root / "report" / "index.html").read_text(encoding="utf-8")


def records(text: str) -> dict[str, Any]:
    packed = re.search(r'<script type="text/plain" id="records">([A-Za-z0-9+/=]*)</script>', text)
    assert packed is not None
    return json.loads(zlib.decompress(base64.b64decode(packed.group(1)), -15))


class Tags(HTMLParser):
    """Tags with attributes, and text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.inside = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.text += data


@pytest.mark.parametrize("which", ["plain", "own", "hostile"])
def test_deleted_and_made_again_it_is_the_same(which: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(which)
    before = (root / "report" / "index.html").read_bytes()
    shutil.rmtree(root / "report")
    assert main(["report", str(root), "--quiet"]) == 0
    assert (root / "report" / "index.html").read_bytes() == before
    assert (root / "report" / "done.json").exists()


def test_the_figures_are_those_of_the_summaries(plain: Path) -> None:
    text = " ".join(Tags(html(plain)).text.split())
    for stage in ("base", "sft", "grpo"):
        summary = read_json(plain / "evaluate" / "test" / stage / "summary.json")
        for name in ("contract", "capability", "sound", "format"):
            assert rate(summary[name]) in text
        for part in summary["by_domain"].values():
            assert rate(part["contract"]) in text
    found = read_findings(read_run(plain))
    for pair in found.pairs:
        assert f"{100 * pair.difference:+.1f} [{100 * pair.low:+.1f}, {100 * pair.high:+.1f}]" in text
    for line in said(found):
        assert line in text
    assert "Dead groups had been replaced" not in text  # this recipe does not refill
    assert "the share of the group that gives an equivalent answer" in text


def test_every_record_is_there_with_its_line(plain: Path) -> None:
    data = records(html(plain))
    assert [name for name, _ in data["stages"]] == ["base", "sft", "grpo"]
    for k, (_, file) in enumerate(data["stages"]):
        rows = [json.loads(line) for line in (plain / file).read_text().splitlines()]
        assert len(data["tasks"]) == len(rows)
        for task in data["tasks"]:
            line, right, _, _, verdict, tokens, pieces = task[5][k]
            row = rows[line - 1]
            assert row["task"]["id"] == task[0] and row["verdict"] == verdict and row["tokens"] == tokens
            assert right == int(row["verdict"] == "right" and not row["faults"])
            assert "".join(p if isinstance(p, str) else p[0] for p in pieces) == row["text"]
            marked = [p for p in pieces if not isinstance(p, str) and len(p) == 4]
            assert len(marked) >= len({tuple(c["span"]) for c in row["checks"]}) > 0 or not row["checks"]


def test_nothing_in_it_can_run_but_its_own_script(hostile: Path) -> None:
    text = html(hostile)
    seen = Tags(text)
    names = [name for name, _ in seen.tags]
    assert names.count("script") == 2 and names.count("style") == 1
    assert not {"img", "iframe", "object", "embed", "link", "base", "form", "b-", "audio"} & set(names)
    for tag, attributes in seen.tags:
        assert not {a for a in attributes if a.startswith("on") or a in ("style", "src", "srcset", "action")}, tag
        assert not (attributes.get("href") or "#").lower().lstrip().startswith(("http", "javascript", "data", "//"))
    policy = next(a["content"] or "" for n, a in seen.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not UNSEEN.search(text) and not UNSEEN.search(json.dumps(records(text), ensure_ascii=False))
    shown = "".join(p if isinstance(p, str) else p[0] for p in records(text)["tasks"][0][5][2][6])
    assert HOSTILE[0] in shown  # it is there, as text


def test_a_run_that_is_not_finished_is_reported_as_far_as_it_is(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=12)
    for gone in ("grpo", "evaluate/test/grpo", "evaluate/test/sft", "sft", "provenance.json"):
        path = tmp_path / "run" / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = page(read_findings(read_run(run.root)))
    assert "1 stage," in text and 'id="training"' in text and 'id="samples"' not in text
    shutil.rmtree(tmp_path / "run" / "evaluate")
    with pytest.raises(ValueError, match="no stage has been evaluated yet"):
        read_findings(read_run(run.root))


def test_groups_without_an_answer_or_of_different_size_have_no_figures(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=8, steps=1)
    rows = [json.loads(line) for line in run.records(1).read_text().splitlines()]
    write_jsonl(run.records(1), rows[:-1])
    text = page(read_findings(read_run(run.root)))
    assert "As sure as right?" in text and "majority@k: the most" not in text
    bare = [grade(t, Completion(t.id, i, "It is so.")) for t in tasks(2) for i in range(2)]
    write_jsonl(run.records(1), [record(g, None, 1) for g in bare])
    text = page(read_findings(read_run(run.root)))
    assert "As sure as right?" not in text and "majority@k: the most" in text


def test_damage_is_named_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(tmp_path / "run", n=8)
    path = run.evaluation_records("test", "sft")
    path.write_text(path.read_text() + '{"task": {')
    assert any("the last line is torn" in remark for remark in read_findings(read_run(run.root)).remarks)
    path.write_text(path.read_text() + '\n{"text": "x"}\n')
    with pytest.raises(RunError, match=r"records.jsonl:9: is not valid JSON"):
        read_findings(read_run(run.root))
    write_jsonl(path, [{"text": "x"}])
    assert main(["report", str(run.root)]) == 2
    assert "records.jsonl:1: this row is no record" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nowhere")]) == 2


def test_values_that_are_not_numbers_are_left_out_of_curves(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=8)
    append_jsonl(run.metrics("grpo"), [{"step": 5, "kl": float("nan"), "reward": float("inf")}])
    assert "GRPO: KL" in page(read_findings(read_run(run.root)))


def test_five_thousand_records_stay_small(tmp_path: Path) -> None:
    run = finished(tmp_path / "large", n=1_700)
    path = write_report(read_run(run.root))
    assert path.stat().st_size <= 3_000_000
    data = records(html(run.root))
    assert len(data["tasks"]) * len(data["stages"]) >= 5000
    found = read_findings(read_run(run.root))
    packed, held = block(found, budget=100_000)  # and if they did not: fewer, and the page says so
    assert len(packed) <= 100_000 and 0 < held < 1700
    if CHROMIUM is None:
        return
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view = browser.new_page()
        view.goto(path.as_uri())
        view.wait_for_selector("html[data-ready]")
        spent = view.evaluate(
            "() => { const t = performance.now(); const s = document.getElementById('f-change');"
            " s.value = 'fixed'; s.dispatchEvent(new Event('change')); return performance.now() - t; }"
        )
        assert spent < 1500 and view.locator("#tasks article").count() == 6
        browser.close()


# SFT data that the model made itself


def section(root: Path) -> str:
    """What can be read in the section, with a space for every tag but <b>, and for all other space."""
    found = re.search(r'<section id="self".*?</section>', html(root), re.DOTALL)
    text = re.sub("</?b>", "", found.group()) if found else ""
    return " ".join(unescape(re.sub("<[^>]*>", " ", text)).split())


def test_self_made_data_is_shown_as_it_was_counted(own: Path) -> None:
    run, text = read_run(own), section(own)
    table = read_json(run.self_made("table"))
    kept = [json.loads(line) for line in run.self_made("traces").read_text().splitlines()]
    samples = [json.loads(line) for line in run.self_made("samples").read_text().splitlines()]
    assert "asked 12 training questions, 4 times each at temperature 0.7, under the prompt none" in text
    assert "steps 5 8 62.5 [30.6, 86.3] none ← taken 7 8 87.5" in text
    assert "completions 48 100.0 right for a forgiving reader 36 75.0" in text
    assert "kept for SFT 12 25.0" in text and table["kept"] == len(kept) == 12
    assert "near-duplicate 12 25.0 false claim 12 25.0 2 + 2 = 5: it is 4, not 5 wrong 12 25.0 9999" in text
    levels = sorted({f"level {row['level']}" for row in kept})
    for domain in {row["domain"] for row in kept}:
        counts = [sum(r["domain"] == domain and f"level {r['level']}" == one for r in kept) for one in levels]
        assert f"{domain} {' '.join(map(str, [*counts, sum(counts)]))}" in text
    for cell, n in table["levels"].items():
        assert f"{cell} {n['before']} {n['after']}" in text
    shown = read_findings(run).self_made
    assert shown is not None and {one.task.domain for one in shown.examples} == {r["domain"] for r in kept}
    for one in shown.examples:
        assert kept[one.number - 1]["id"] == samples[one.sample - 1]["task"]["id"] == one.task.id
        assert " ".join(one.text.split()) in text and one.text == render(gold(one.task))
        assert f"self/samples.jsonl, line {one.sample}" in text
        assert f"gold: {samples[one.sample - 1]['task']['answer']}" in text
    assert '<a href="#self">' in html(own) and '>self</th><td class="n">0.5</td>' in html(own)


def test_without_self_made_data_nothing_is_said_of_it(plain: Path, tmp_path: Path) -> None:
    assert not section(plain) and "#self" not in html(plain).partition("<main>")[0]
    run = finished(tmp_path / "run", n=8)
    self_made(run)
    (run.root / "self" / "done.json").unlink()  # it is not finished
    assert "made itself" not in page(read_findings(read_run(run.root)))


def test_one_prompt_alone_and_nothing_kept_is_said_too(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=8)
    self_made(run)
    rows = [json.loads(line) for line in run.self_made("outcomes").read_text().splitlines()]
    write_jsonl(run.self_made("outcomes"), [row | {"why": row["why"] or "too long"} for row in rows])
    write_jsonl(run.self_made("traces"), [])
    none = {"prompts": {}, "kept": 0, "levels": {}, "dropped": {"too long": 12}}
    write_json(run.self_made("table"), read_json(run.self_made("table")) | none)
    write_report(run)
    text = section(run.root)
    assert "One prompt alone is not tried." in text and "kept for SFT 0 0.0" in text
    assert "too long 12 25.0" in text and "Some that were kept" not in text
    assert "by domain" not in text


def test_self_made_files_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=8)
    for spoil, words in (
        (lambda: run.self_made("table").write_text("{}"), r"table.json: is no table of self-made traces"),
        (lambda: turn(run.self_made("traces")), r"traces.jsonl: does not hold what .*outcomes.jsonl keeps"),
        (lambda: turn(run.self_made("samples")), r"samples.jsonl:1: is not the completion that \w+ was made"),
        (lambda: write_jsonl(run.self_made("traces"), [{"id": 1}]), r"traces.jsonl:1: this row is no task"),
        (lambda: write_jsonl(run.self_made("outcomes"), [{}]), r"outcomes.jsonl:1: this row is no outcome"),
    ):
        self_made(run)
        spoil()
        with pytest.raises(ValueError, match=words):
            read_findings(read_run(run.root))


def turn(path: Path) -> None:
    """The lines of a file in the opposite order."""
    write_jsonl(path, [json.loads(line) for line in reversed(path.read_text().splitlines())])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Tunix's own
def test_what_the_stage_leaves_is_what_is_read(tmp_path: Path) -> None:
    from everystep.train.selfmade import make
    from everystep.train.session import Session

    how = validate(
        resolve(RECIPE)
        | {"sft": {"data": "self", "self_made": {"prompts": ["none", "steps"], "probe": 4, "least": 1}}},
        "test",
    )
    known = {t.id: t for t in tasks(12)}

    def answer(asked: Prompt, sample: int) -> str:
        task = known[asked.task_id]
        end = ("", "2 + 2 = 5\n", "")[sample % 3]
        work = "\n".join((task.solution or ())[:-1])
        return f"{work}\n{end}The answer is {task.answer if sample != 2 else 9999}."

    finished(tmp_path / "made", n=8)
    self_made(read_run(tmp_path / "made"))
    with open_run(tmp_path / "real", how) as run:
        write_jsonl(run.data / "sft.jsonl", [task_row(t) for t in known.values()])
        session = Session(Deadline(0.0, 1e6, 0.0), now=lambda: 60.0)
        make(how, run, session, Screen(quiet=True), ScriptedSampler(answer), len)
        graded = [grade(t, Completion(t.id, 0, answer(prompt(t), 0), (1, 2))) for t in known.values()]
        evaluated(run, "base", graded)
        write_report(run)
    text = section(run.root)
    assert "asked 12 training questions, 4 times each" in text and "none ← taken 4 4 100.0" in text
    assert "completions 48 100.0 right for a forgiving reader 36 75.0" in text
    assert "false claim 12 25.0" in text and "wrong 12 25.0 9999" in text
    assert "kept for SFT 12 25.0" in text or "too long" in text
    for kind in ("samples", "outcomes", "traces", "table"):  # and the fixture has that form
        forms = [shape(root / "self" / run.self_made(kind).name) for root in (tmp_path / "made", run.root)]
        assert forms[0] == forms[1]


def shape(path: Path) -> set[str]:
    """The names in the first row of a file."""
    return set(json.loads(path.read_text() if path.suffix == ".json" else path.read_text().splitlines()[0]))


# On the terminal


def printed(thing: Any, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115
    console.print(thing, highlight=False)
    console.file.close()
    return console.export_text()


def test_the_terminal_says_it_without_colour(plain: Path) -> None:
    text = printed(overview(read_findings(read_run(plain)), examples=3))
    assert "✗" in text and "calculation error" in text and "records.jsonl:" in text and "▁" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert main(["show", str(plain), "--examples", "0"]) == 0


def test_the_terminal_shows_no_control_characters(hostile: Path) -> None:
    text = printed(overview(read_findings(read_run(hostile)), examples=9))
    assert not UNSEEN.search(text) and "<img src=x onerror=alert(1)>" in text.replace("\n", "")


def test_runs_are_compared_on_shared_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = finished(tmp_path / "a", n=30), finished(tmp_path / "b", n=30)
    evaluated(b, "grpo", gold_bound(tasks(24), "none"))
    stages, sides = read_sides([a.root, b.root], None)
    shared = len({g.task.id for g in sides["a"]} & {g.task.id for g in sides["b"]})
    text = printed(compared(stages, sides, pairs(sides)))
    assert f"{shared} tasks that all of them have done" in text and 0 < shared <= 24
    assert main(["compare", str(a.root), str(b.root), "--stage", "sft"]) == 0
    assert "cannot be told apart" in capsys.readouterr().out.replace("\n", " ")
    assert main(["compare", str(a.root), str(b.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["n"] == shared
    for wrong, words in (
        ([str(a.root)], "two runs or more"),
        ([str(a.root), str(a.root)], "each given once"),
        ([str(a.root), str(b.root), "--stage", "sfd"], "has not evaluated 'sfd'"),
        ([str(a.root), str(tmp_path)], "no run is here"),
    ):
        assert main(["compare", *wrong]) == 2
        assert words in capsys.readouterr().err


# In the browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


Opened = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Opens a report; afterwards: no message, no error, no request but for the page itself."""
    wrong: list[str] = []
    contexts = []

    def go(root: Path, dark: bool = False, width: int = 1200, hash_: str = "") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        view = context.new_page()
        view.on("console", lambda message: wrong.append(f"console: {message.text}"))
        view.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        view.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}") or dialog.dismiss())
        view.on(
            "request",
            lambda request: wrong.append(f"request: {request.url}") if not request.url.startswith(own) else None,
        )
        own = (root / "report" / "index.html").as_uri()
        view.goto(own + hash_)
        view.wait_for_selector("html[data-ready]")
        return view

    yield go
    for context in contexts:
        context.close()
    assert not wrong


def count(view: Page) -> int:
    return int((view.locator("#count").text_content() or "-1").split()[0])


def of(root: Path, before: str, after: str, became: str) -> int:
    changes = {(a, b): c for a, b, c in read_findings(read_run(root)).changes}
    return changes[before, after]["totals"][became]


def test_filters_by_mouse(plain: Path, opened: Opened) -> None:
    view = opened(plain)
    assert count(view) == 40
    view.locator("#f-before").select_option(label="sft")
    for became in ("fixed", "broken", "still wrong", "still right"):
        view.locator("#f-change").select_option(label=became)
        assert count(view) == of(plain, "sft", "grpo", became)
    view.locator("#reset").click()
    assert count(view) == 40
    view.locator("#f-domain").select_option(label="math")
    shown = {t.text_content() for t in view.locator("#tasks .meta span:text-is('math')").all()}
    assert 0 < count(view) < 40 and shown == {"math"}
    view.locator("#reset").click()
    view.locator("button[data-class='2']").click()  # the table's calculation errors
    wrong = read_findings(read_run(plain)).failures["grpo"]
    assert count(view) == next(row["count"] for k, row in wrong.items() if k.value == "calculation error")
    view.locator("#reset").click()
    view.locator(".next").first.click()
    assert "page 2 of 7" in (view.locator(".where").first.text_content() or "")


def test_filters_by_keyboard(plain: Path, opened: Opened) -> None:
    view = opened(plain)
    view.locator("#f-before").focus()
    view.keyboard.press("ArrowDown")  # base → sft
    view.keyboard.press("Tab")
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.id") == "f-change"
    view.keyboard.type("fix")
    assert view.locator("#f-change").input_value() == "fixed" and count(view) == of(plain, "sft", "grpo", "fixed")
    for _ in range(5):
        view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.id") == "f-text"
    view.keyboard.type("zzzz no such task")
    expect(view.locator("#count")).to_have_text(re.compile("^0 "))  # wait_for_function would need eval
    view.keyboard.press("Tab")
    view.keyboard.press("Enter")
    expect(view.locator("#count")).to_have_text(re.compile("^40 "))


def test_reasons_by_mouse_keyboard_and_reader(plain: Path, opened: Opened) -> None:
    view = opened(plain)
    view.locator("#f-class").select_option(label="calculation error")
    false = view.locator("mark.false[tabindex]").first
    why = false.locator(".why")
    assert not why.is_visible()
    false.hover()
    assert why.is_visible() and "false: " in (why.text_content() or "")
    view.mouse.move(0, 0)
    false.focus()
    assert why.is_visible()
    view.keyboard.press("Escape")
    assert not why.is_visible()
    described = view.locator(f"#{false.get_attribute('aria-describedby')}")
    assert described.get_attribute("role") == "tooltip" and "it is" in (described.text_content() or "")
    before = view.evaluate("document.activeElement.textContent")
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.textContent") != before


def test_reasons_of_self_made_traces_too(own: Path, opened: Opened) -> None:
    view = opened(own, width=390)
    claims = view.locator("#self .claim")
    assert claims.count() > 3
    for claim in claims.all():
        claim.focus()
        box = claim.locator(".why").bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
    why = claims.last.locator(".why")
    assert why.is_visible() and why.get_attribute("id") == claims.last.get_attribute("aria-describedby")
    view.keyboard.press("Escape")
    assert not why.is_visible()
    claims.first.hover()
    assert claims.first.locator(".why").is_visible()


def test_reasons_stay_inside_a_small_window(plain: Path, opened: Opened) -> None:
    view = opened(plain, width=390)
    claims = view.locator("#tasks mark[tabindex]").all()
    assert len(claims) > 10
    for claim in claims[:30]:
        claim.focus()
        box = claim.locator(".why").bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_links_lead_to_the_record_and_to_the_task(plain: Path, opened: Opened) -> None:
    last = records(html(plain))["tasks"][-1]
    view = opened(plain, hash_=f"#task-{last[0]}")
    card = view.locator(f"[id='task-{last[0]}']")
    assert card.is_visible() and "page 7 of 7" in (view.locator(".where").first.text_content() or "")
    link = card.locator("a", has_text="grpo/records.jsonl").first
    assert link.text_content() == f"evaluate/test/grpo/records.jsonl, line {last[5][2][0]}"
    assert (plain / "report" / (link.get_attribute("href") or "")).resolve().is_file()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390], ids=["desk", "phone"])
def test_axe_finds_no_serious_fault(own: Path, opened: Opened, dark: bool, width: int) -> None:
    view = opened(own, dark, width)
    view.locator("#f-class").select_option(label="calculation error")
    view.locator("details").first.locator("summary").click()
    found = Axe().run(view).response["violations"]
    serious = [
        (v["id"], v["nodes"][0]["html"][:160], v["nodes"][0]["failureSummary"])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert not serious
    assert view.evaluate("document.documentElement.scrollWidth") <= width


def test_attacks_in_model_text_stay_text(hostile: Path, opened: Opened) -> None:
    view = opened(hostile)
    assert view.title() != "owned" and view.locator("img, iframe, b:has-text('bold')").count() == 0
    seen = ""
    while True:
        seen += view.locator("#tasks").inner_text()
        if view.locator(".next").first.is_disabled():
            break
        view.locator(".next").first.click()
    made = view.locator("#self")
    for one in made.locator("article").all():
        wrote, sees = one.locator(".trace").all()
        for attack in HOSTILE[:5] + HOSTILE[7:]:
            assert attack in seen
            assert attack in wrote.inner_text() and attack in sees.inner_text()
            assert attack in one.locator("h4").inner_text()
    assert made.locator("article").count() > 1
    assert made.locator("script, style, b:has-text('bold'), [onerror], [onfocus], [autofocus]").count() == 0
    assert {a.get_attribute("href") for a in made.locator("a").all()} == {
        "../self/samples.jsonl",
        "../self/traces.jsonl",
    }
    assert not UNSEEN.search(seen) and not UNSEEN.search(made.inner_text())


def test_without_script_the_tables_are_there(plain: Path, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    view = context.new_page()
    view.goto((plain / "report" / "index.html").as_uri())
    assert view.locator("#stages table").first.is_visible() and view.locator("noscript").is_visible()
    context.close()

"""The playground in a real browser: the way most people take, a model that hangs, far too much input, two
users at once, hostile text; nothing leaves the page or the server, and axe finds no serious fault in what is
ours."""

import asyncio
import gc
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from everystep.cli.app import main
from everystep.core.trace import MAX_CHARS, gold, render
from everystep.core.types import Completion, Prompt, Sampling, Stop
from everystep.show.ask import Told, close_model, open_model, whole
from everystep.show.cards import Book, Wish, chosen
from everystep.show.playground import QUESTION, Limits, build, serve
from fakes import ScriptedSampler
from run_fixtures import HOSTILE, finished, tasks

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]  # Gradio's warnings are its own

CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
if CHROMIUM is None:
    pytest.skip("needs Chromium (Debian: apt-get install chromium)", allow_module_level=True)
pytest.importorskip("gradio")

SOON = 30_000  # milliseconds in which the page has to have answered
expect.set_options(timeout=SOON)
LIMIT = 8  # seconds that a model has: enough for a busy machine
UNSEEN = re.compile("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x00\x1b\ud800-\udfff\u2028]")
KNOWN = [*tasks(6), replace(tasks(1)[0], question=f"{HOSTILE[0]} {HOSTILE[1]} Why?")]
ATTACK = " ".join(HOSTILE)


def last_number(text: str) -> str:
    return re.findall(r"\d+", text)[-1]


def echo(prompt: Prompt, sample: int) -> str:
    """Works with the two last numbers of the question; every fourth sample slips."""
    question = prompt.text.split("<end_of_turn>")[0]
    a, b = [int(x) for x in re.findall(r"\d+", question)][-2:]
    c = a + b + (sample % 4 == 3)
    return f"<reasoning>\nStep 1: {a} + {b} = {c}.\nTherefore, it is {c}.\n</reasoning>\n<answer>{c}</answer>"


def solved(prompt: Prompt, sample: int) -> str:
    """The solutions of the examples."""
    return next(render(gold(t)) for t in KNOWN if t.question in prompt.text)


def typed(prompt: Prompt, n: int, sampling: Sampling, told: Told) -> Sequence[Completion]:
    """Writes what `echo` says, a piece at a time; from its last sentence on only while `PACE` is set."""
    texts = [echo(prompt, i) for i in range(n)]
    for end in range(4, len(texts[0]), 4):
        told([Completion(prompt.task_id, i, t[:end], stop=Stop.LENGTH) for i, t in enumerate(texts)])
        if "Therefore" in texts[0][:end]:
            PACE.wait(20)
    return [Completion(prompt.task_id, i, t, tuple(range(len(t)))) for i, t in enumerate(texts)]


PACE, RELEASE = threading.Event(), threading.Event()
PACE.set()


@pytest.fixture
def slow() -> Iterator[None]:
    """Until it is set, `PACE` holds the model `typed` at its last sentence."""
    PACE.clear()
    yield
    PACE.set()


@pytest.fixture
def hung() -> Iterator[None]:
    """While it is there the model `hung` hangs."""
    RELEASE.clear()
    yield
    RELEASE.set()


def hang(prompt: Prompt, n: int, sampling: Sampling, told: Told) -> Sequence[Completion]:
    RELEASE.wait(60)
    return [Completion(prompt.task_id, i, echo(prompt, i)) for i in range(n)]


@dataclass(frozen=True)
class Site:
    url: str
    root: Path


@pytest.fixture(scope="module")
def outside() -> Iterator[list[Any]]:
    """Addresses beyond this machine that anything in this process has connected to."""
    found: list[Any] = []
    live = [True]

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if live and event == "socket.connect" and isinstance(arguments[1], tuple):
            found.extend([arguments[1]] if arguments[1][0] not in ("127.0.0.1", "::1", "localhost") else [])

    sys.addaudithook(note)  # cannot be taken away again, only put to rest
    yield found
    live.clear()
    assert not found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, outside: list[Any]) -> Iterator[Site]:
    root = finished(tmp_path_factory.mktemp("runs") / "plain", n=24).root
    bad = finished(tmp_path_factory.mktemp("runs") / "hostile", n=12, hostile=True).root
    hostile = whole(ScriptedSampler(lambda p, i: f"<reasoning>\n{ATTACK} 2 + 2 = 5\n</reasoning>\n{ATTACK}"))
    models = [
        open_model("typed", typed),
        open_model("known", whole(ScriptedSampler(solved))),
        open_model("hung", hang),
        open_model("hostile", hostile),
    ]
    books = [Book(root, "plain"), Book(bad, "hostile")]
    page = build(models, books, KNOWN, Limits(seconds=LIMIT, usual=512))
    yield Site(serve(page, "127.0.0.1", None), root)
    RELEASE.set()
    page.close(verbose=False)
    for model in models:
        close_model(model)
    loop = asyncio.get_event_loop_policy().get_event_loop()  # which Gradio made for this thread, and leaves
    if not loop.is_running():
        loop.close()
        asyncio.set_event_loop(None)
    gc.collect()  # three more that it made and forgot: here, where warnings are ignored, not in another test


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


Opened = Callable[..., Page]


@pytest.fixture
def opened(site: Site, browser: Browser) -> Iterator[Opened]:
    """Opens the playground; afterwards: no error, no dialog, no request but to its own server."""
    wrong: list[str] = []
    contexts = []

    def go(models: Sequence[str] = ("typed",), dark: bool = False, width: int = 1280) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        view = context.new_page()
        view.set_default_timeout(SOON)
        view.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
        view.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        view.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}") or dialog.dismiss())
        view.on(
            "request",
            lambda r: wrong.append(f"request: {r.url}") if not r.url.startswith((site.url, "data:", "blob:")) else None,
        )
        view.goto(site.url)
        view.wait_for_selector("html[data-playground=ready]")
        choose(view, models)
        return view

    yield go
    for context in contexts:
        context.close()
    assert not wrong


def choose(view: Page, models: Sequence[str]) -> None:
    view.locator("#sampling > button, #sampling .label-wrap").first.click()
    boxes = view.locator("#models label")
    expect(boxes.first).to_be_visible()
    for i in range(boxes.count()):
        box = boxes.nth(i).locator("input")
        box.set_checked((boxes.nth(i).inner_text().strip()) in models)


def type_in(view: Page, name: str, text: str) -> None:
    view.locator(f"#{name} textarea, #{name} input").first.fill(text)


def over(view: Page) -> None:
    expect(view.locator("#board [data-over=yes]")).to_be_visible(timeout=SOON)


def tab(view: Page, name: str) -> None:
    view.get_by_role("tab", name=name).click()


# The way most people take


def test_an_example_is_answered_and_every_claim_is_checked(opened: Opened) -> None:
    view = opened(["known"])
    view.locator("#examples button").nth(1).click()
    expect(view.locator("#question textarea")).to_have_value(KNOWN[1].question)
    expect(view.locator("#gold input, #gold textarea").first).to_have_value(KNOWN[1].answer)
    view.locator("#go").click()
    over(view)
    assert "✓ right in form" in view.locator("#board").inner_text()
    assert view.locator("#board .claim.true").count() >= 1 and view.locator("#board .claim.false").count() == 0


def test_it_streams_and_claims_are_marked_on_the_way(opened: Opened, slow: None) -> None:
    view = opened()
    type_in(view, "question", "How much is 17 + 25?")
    view.locator("#go").click()
    expect(view.locator("#board .side.writing")).to_be_visible()
    assert "json-answers" not in view.locator("#board").inner_html()
    expect(view.locator("#board [data-over=no] .claim.true")).to_be_visible()  # not yet over, yet checked
    PACE.set()
    over(view)
    expect(view.locator("#board .trace")).to_contain_text("17 + 25 = 42✓")
    expect(view.locator("#board .verdict")).to_contain_text("answer 42")


def test_samples_agree_and_are_copied_as_json(opened: Opened) -> None:
    view = opened()
    type_in(view, "question", "How much is 30 + 12?")
    type_in(view, "gold", "42")
    view.locator("#temperature input[type=number]").fill("0.7")
    view.locator("#samples input[type=number]").fill("8")
    view.locator("#question textarea").press("Control+Enter")
    over(view)
    board = view.locator("#board")
    expect(board).to_contain_text("Most say 42: 6 of 8 (75 %) ✓ right")
    assert board.locator(".sample").count() == 8 and board.locator(".sample[open]").count() == 1
    board.locator(".sample summary").nth(3).click()
    expect(board.locator(".sample").nth(3).locator(".claim.false")).to_contain_text("✗ 42")
    board.locator(".raw summary").click()
    board.locator("[data-copy]").click()
    expect(board.locator(".raw [role=status]")).to_have_text("copied")
    copied = view.evaluate("navigator.clipboard.readText()")
    assert copied == board.locator("pre").text_content()
    assert '"samples": 8' in copied and '"share": 0.75' in copied


def test_reasons_by_mouse_and_keyboard_inside_a_small_window(opened: Opened) -> None:
    view = opened(width=390)
    tab(view, "Check a trace")
    view.locator("#check-example").click()
    expect(view.locator("#trace textarea")).to_have_value(re.compile("124"))
    view.locator("#check-go").click()
    false = view.locator("#checked .claim.false").first
    why = false.locator(".why")
    expect(false).to_contain_text("✗ 126")
    expect(why).to_be_hidden()
    false.hover()
    expect(why).to_be_visible()
    view.mouse.move(0, 0)
    expect(why).to_be_hidden()
    for claim in view.locator("#checked .claim").all():
        claim.focus()
        box = claim.locator(".why").bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
    false.focus()
    expect(why).to_be_visible()
    view.keyboard.press("Escape")
    expect(why).to_be_hidden()
    described = view.locator(f"#{false.get_attribute('aria-describedby')}")
    assert described.get_attribute("role") == "tooltip" and "126" in (described.text_content() or "")


def test_a_foreign_trace_is_checked(opened: Opened) -> None:
    view = opened()
    tab(view, "Check a trace")
    type_in(view, "trace", "First 3 * 6 = 18.\nThen 18 * 7 = 124.")
    view.locator("#trace textarea").press("Control+Enter")
    expect(view.locator("#checked")).to_contain_text("2 claims checked, 1 false, first in step 2")


def test_records_are_browsed(opened: Opened, site: Site) -> None:
    view = opened()
    tab(view, "Records")
    board = view.locator("#records")
    expect(board.locator(".count")).to_have_text("1–6 of 24 records")
    view.locator("#r-next").click()
    expect(board.locator(".count")).to_have_text("7–12 of 24 records")
    view.locator("#r-back").click()
    expect(board.locator(".count")).to_have_text("1–6 of 24 records")
    wrong = chosen(Book(site.root, ""), Wish("sft", verdict="wrong"))
    pick(view, "r-stage", "sft")
    pick(view, "r-verdict", "wrong")
    expect(board.locator(".count")).to_contain_text(f"of {len(wrong)} records chosen out of 24")
    expect(board).to_contain_text(f"evaluate/test/sft/records.jsonl, line {wrong[0].number}")
    type_in(view, "r-words", "no such words")
    view.keyboard.press("Enter")
    expect(board.locator(".count")).to_have_text("none of 24 records is like that")


def pick(view: Page, name: str, value: str) -> None:
    view.locator(f"#{name} input").click()
    view.get_by_role("option", name=value, exact=True).click()


# What goes wrong


def test_a_model_that_hangs_ends_in_a_message_and_the_page_goes_on(opened: Opened, hung: None) -> None:
    view = opened(["hung", "known"])
    view.locator("#examples button").first.click()
    expect(view.locator("#question textarea")).to_have_value(KNOWN[0].question)
    view.locator("#go").click()
    over(view)
    well, stuck = view.locator("#board .side").all()
    expect(well).to_contain_text("right in form")
    expect(stuck).to_contain_text(f"hung did not finish within {LIMIT} seconds")
    view.locator("#go").click()  # it is still hanging, and the page says so
    expect(view.locator("#board .side").nth(1)).to_contain_text("still busy with an earlier question")
    RELEASE.set()
    expect(view.locator("#board [data-over=yes]")).to_be_visible()
    view.locator("#go").click()  # and well again
    expect(view.locator("#board .side").nth(1)).to_contain_text("answer")


def test_stop_ends_a_question(opened: Opened, hung: None) -> None:
    view = opened(["hung"])
    type_in(view, "question", "How much is 1 + 1?")
    view.locator("#go").click()
    expect(view.locator("#board .side")).to_be_visible()
    view.locator("#stop").click()
    expect(view.locator("#board .state")).to_contain_text("stopped")


@pytest.mark.parametrize("where", ["question", "gold", "trace"])
def test_a_megabyte_of_input_has_a_clear_answer_at_once(opened: Opened, where: str) -> None:
    view = opened()
    sent: list[int] = []
    view.on("request", lambda r: sent.append(len(r.post_data_buffer or b"")))
    if where == "trace":
        tab(view, "Check a trace")
    else:
        type_in(view, "question", "How much is 1 + 1?")
    type_in(view, where, "7" * 1_000_000)
    view.locator("#check-go" if where == "trace" else "#go").click()
    most = {"question": QUESTION, "gold": 200, "trace": MAX_CHARS}[where]
    alert = view.locator("[role=alert]")
    expect(alert).to_contain_text(f"is too long: it may have {most:,} characters")
    assert max(sent) < 100_000  # and not even sent
    type_in(view, where, "4" if where == "gold" else "How much is 2 + 2? 2 + 2 = 4")
    view.locator("#check-go" if where == "trace" else "#go").click()
    expect(view.locator("#checked .claim" if where == "trace" else "#board [data-over=yes]").first).to_be_visible()
    expect(alert).to_have_count(0)


def test_nothing_asked_is_said_so(opened: Opened) -> None:
    view = opened()
    view.locator("#go").click()
    expect(view.locator("[role=alert]")).to_contain_text("There is no question yet")


def test_two_users_at_once_both_get_their_own_answer(opened: Opened) -> None:
    views = [opened(), opened()]
    for i, view in enumerate(views):
        type_in(view, "question", f"How much is {100 + i} + {11 * (i + 1)}?")
    for view in views:
        view.locator("#go").click()
    for i, view in enumerate(views):
        over(view)
        expect(view.locator("#board .verdict")).to_contain_text(f"answer {100 + i + 11 * (i + 1)}")
        expect(view.locator("#board .asked")).to_contain_text(f"How much is {100 + i} +")


def test_attacks_stay_text(opened: Opened) -> None:
    view = opened(["hostile"])
    type_in(view, "question", ATTACK.replace("\x00", ""))
    view.locator("#go").click()
    over(view)
    board = view.locator("#board")
    for attack in HOSTILE[:5] + HOSTILE[7:]:
        assert attack in board.inner_text()
    tab(view, "Records")
    pick(view, "r-run", "hostile")
    expect(view.locator("#records .count")).to_contain_text("of 12 records")
    tab(view, "Check a trace")
    type_in(view, "trace", f"{ATTACK.replace(chr(0), '')} 2 + 2 = 5")
    view.locator("#check-go").click()
    expect(view.locator("#checked .claim.false").first).to_be_attached()
    for part in ("#board", "#records", "#checked"):
        here = view.locator(part)
        assert here.locator("img, script, iframe, style, a, [onerror], [onfocus]").count() == 0
        assert not UNSEEN.search(here.evaluate("e => e.textContent"))
    tab(view, "Ask")
    view.locator("#examples button").last.click()
    expect(view.locator("#question textarea")).to_have_value(KNOWN[-1].question)
    assert view.locator("#examples img").count() == 0
    assert view.title() == "everystep playground"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_axe_finds_no_serious_fault_in_what_is_ours(opened: Opened, dark: bool, width: int) -> None:
    view = opened(dark=dark, width=width)
    type_in(view, "question", "How much is 30 + 12?")
    view.locator("#temperature input[type=number]").fill("0.7")
    view.locator("#samples input[type=number]").fill("8")
    view.locator("#go").click()
    over(view)
    view.locator("#board .raw summary").click()
    serious = faults(view)
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    tab(view, "Check a trace")
    view.locator("#check-example").click()
    expect(view.locator("#trace textarea")).to_have_value(re.compile("124"))
    view.locator("#check-go").click()
    expect(view.locator("#checked .claim").first).to_be_visible()
    serious += faults(view)
    tab(view, "Records")
    expect(view.locator("#records .count")).to_be_visible()
    serious += faults(view)
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert not serious


def faults(view: Page) -> list[tuple[str, str, str]]:
    found = Axe().run(view, context={"include": [[".sw"]]}).response["violations"]
    return [
        (v["id"], v["nodes"][0]["html"][:160], v["nodes"][0]["failureSummary"])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


# The command


def test_the_command_plays_the_tiny_model(browser: Browser) -> None:
    command = [sys.executable, "-m", "everystep", "play"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert re.match(r"http://127\.0\.0\.1:\d+/ \(tiny\); Ctrl-C ends it", line)
            view = browser.new_page()
            view.goto(line.split()[0])
            view.wait_for_selector("html[data-playground=ready]")
            view.locator("#examples button").first.click()
            expect(view.locator("#question textarea")).not_to_have_value("")
            view.locator("#go").click()
            expect(view.locator("#board [data-over=yes]")).to_be_visible(timeout=100_000)
            assert view.locator("#board .side.done .trace").inner_text().strip() not in ("", "(nothing)")
            view.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_wrong_targets_are_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        ([str(tmp_path / "nowhere")], "not a folder"),
        ([str(tmp_path)], "no run is here"),
        (["tiny", "tiny"], "given twice"),
    ):
        assert main(["play", *arguments]) == 2
        assert words in capsys.readouterr().err

"""The film as plain data: every figure is in the run, our own words hold none, and no run, however hostile,
makes it longer than three minutes or has it say what its records do not support.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import everystep
from everystep.cli.app import main
from everystep.core.files import read_json, read_jsonl, write_json, write_jsonl
from everystep.core.record import read_record
from everystep.core.run import Run, read_run
from everystep.core.types import Completion, Graded
from everystep.evaluate.compare import pairs
from everystep.evaluate.failures import classify
from everystep.evaluate.harness import gold_bound, paired
from everystep.evaluate.stats import holm
from everystep.show.film.canvas import best, drawable, runs_of
from everystep.show.film.captions import cues, narration, webvtt
from everystep.show.film.facts import read_facts
from everystep.show.film.frames import still
from everystep.show.film.insights import Change, changes, insights
from everystep.show.film.paint import Painted
from everystep.show.film.painters import paint
from everystep.show.film.scenes import film_of, told_whole
from everystep.show.film.script import (
    FORMS,
    LONGEST,
    PACE,
    Diagram,
    Figure,
    Film,
    Quote,
    Result,
    Training,
    Words,
    every,
    fit,
    spoken,
)
from everystep.show.film.write import as_json
from everystep.verify.grade import grade
from run_fixtures import HOSTILE, evaluated, finished, spoilt, tasks

UNSEEN = re.compile("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x00-\x09\x0b-\x1f\x7f\ud800-\udfff\u2028]")
STAGES = ("base", "sft", "grpo")


def summed(run: Run, stages: Sequence[str] = STAGES) -> Run:
    """Give a run the summary over its stages, as the stages write it."""
    graded = {s: graded_of(run, s) for s in stages}
    whole = {
        "stages": {s: read_json(run.evaluation_summary("test", s)) for s in stages},
        "paired": {f"{b}_vs_{a}": paired(graded[a], graded[b]) for a, b in pairwise(stages)},
    }
    write_json(run.summary, whole)
    return run


def graded_of(run: Run, stage: str) -> list[Graded]:
    return [read_record(row).graded for row in read_jsonl(run.evaluation_records("test", stage))[0]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = summed(finished(tmp_path_factory.mktemp("runs") / "plain", n=120, steps=40))
    rows = [{"domain": t.domain, "question": t.question, "answer": t.answer, "solution": t.solution} for t in tasks(9)]
    write_jsonl(run.data / "sft.jsonl", rows)
    write_jsonl(run.data / "train_worked.jsonl", rows[:5])
    return run


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return summed(finished(tmp_path_factory.mktemp("runs") / "hostile", n=20, hostile=True))


# Figures


def test_every_figure_is_in_the_run(plain: Run) -> None:
    found = list(every(told_whole(plain), Figure))
    assert len(found) > 100
    for figure in found:
        assert figure.text == FORMS[figure.form](figure.value), figure
        assert figure.value == pytest.approx(looked_up(plain, figure), rel=1e-12), figure


def looked_up(run: Run, figure: Figure) -> float:
    """The value of a figure, by another way than the film's: straight from the file, or counted anew."""
    path = run.root / figure.file
    if figure.file.startswith("everystep/"):
        path = Path(everystep.__file__).parent.parent / figure.file
    at = figure.at
    if at.startswith("/"):
        value: Any = read_jsonl(path)[0] if path.suffix == ".jsonl" else read_json(path)
        for key in at[1:].split("/"):
            key = key.replace("~1", "/").replace("~0", "~")
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value
    if at == "rows":
        return sum(len((run.root / name).read_text().splitlines()) for name in figure.file.split(" + "))
    if match := re.fullmatch(r"(\S+), mean of the (first|last) (\d+) values", at):
        values = [row[match[1]] for row in read_jsonl(path)[0] if match[1] in row]
        n = int(match[3])
        return sum(values[:n] if match[2] == "first" else values[-n:]) / n
    if match := re.fullmatch(r"(\S+), values in a mean", at):
        return 10 if len([row for row in read_jsonl(path)[0] if match[1] in row]) >= 30 else 1
    if at == "parameters, by the header":
        return 1_265_152  # the card of the model says 1.3 million
    if at == "layers with a sliding window":
        return 5
    if match := re.fullmatch(r"reward, by its parts' bounds: (\w+)", at):
        spans = {"right": (1.0, 1.2), "wrong": (0.0, 0.2), "malformed": (-0.2, -0.2)}
        return min(spans[match[1]], key=lambda v: abs(v - figure.value))
    if match := re.fullmatch(r"the weight of (\w+) in the preset that reward.preset names", at):
        return {"correctness": 1.0, "process": 0.2, "format": 0.2}[match[1]]
    return from_records(run, figure)


@cache
def sides_of(run: Run) -> dict[str, dict[str, Graded]]:
    return {s: {g.task.id: g for g in graded_of(run, s)} for s in STAGES}


@cache
def family_of(run: Run) -> list[Change]:
    return changes(read_facts(run).stages)


def from_records(run: Run, figure: Figure) -> float:
    sides = sides_of(run)
    graded = sides[Path(figure.file).parent.name]
    at = figure.at
    if match := re.fullmatch("class: (.+)", at):
        return sum(classify(g).failure.value == match[1] for g in graded.values())
    if at == "wrong completions":
        return sum(not g.contract for g in graded.values())
    if match := re.fullmatch(r"gained over (\w+)(, capable before)?", at):
        before = sides[match[1]]
        return sum(
            g.contract and not before[k].contract and (not match[2] or before[k].capable) for k, g in graded.items()
        )
    if at == "tasks of all stages":
        return len(graded)
    if match := re.fullmatch(r"(fixed|broken|still right|still wrong), from (\w+)", at):
        was = {"fixed": False, "broken": True, "still right": True, "still wrong": False}[match[1]]
        now = match[1] in ("fixed", "still right")
        return sum(g.contract == now and sides[match[2]][k].contract == was for k, g in graded.items())
    if match := re.fullmatch(r"(\w+) and (\w+): (.+)", at):
        a, b, what = match.groups()
        if what.startswith("Holm"):
            following = [paired(list(sides[x].values()), list(sides[y].values()))
                         for x, y in (("base", "sft"), ("sft", "grpo"), ("base", "grpo"))]  # fmt: skip
            place = [("base", "sft"), ("sft", "grpo"), ("base", "grpo")].index((a, b))
            return holm([float(p["p"]) for p in following])[place]
        return paired(list(sides[a].values()), list(sides[b].values()))[what.removeprefix("paired, ")]
    family = family_of(run)
    if at.startswith("changes tested"):
        return len(family)
    if at == "task.level":
        assert figure.value in {g.task.level for g in graded.values()}
        return figure.value
    if at.startswith("McNemar on "):
        assert figure.value in {c.adjusted for c in family if c.adjusted < 0.05}
        return figure.value
    raise AssertionError(f"nobody can check where this figure is from: {figure}")


def test_the_table_is_the_summary(plain: Run) -> None:
    whole = read_json(plain.summary)
    result = next(s.content for s in film_of(plain).scenes if isinstance(s.content, Result))
    for row, (stage, summary) in zip(result.rows, whole["stages"].items(), strict=True):
        shown = [[f.value for f in every(cell, Figure)] for cell in row]
        rates = [summary[k] for k in ("contract", "capability", "sound", "format")]
        assert shown[1] == [rates[0][k] for k in ("value", "low", "high")], stage
        assert [cell[0] for cell in shown[2:]] == [r["value"] for r in rates[1:]]
        assert all(f.file == "evaluate/summary.json" for f in every(row, Figure))
    said = {f.text for f in every(film_of(plain).scenes[-1].sentences, Figure)}
    assert {FORMS["percent"](s["contract"]["value"]) for s in whole["stages"].values()} <= said


@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_our_own_words_hold_no_figure(which: str, request: pytest.FixtureRequest) -> None:
    film = told_whole(request.getfixturevalue(which))
    for words in every(film, Words):
        for part in words.parts:
            assert not isinstance(part, str) or not re.search(r"\d", part), part


def test_a_summary_that_is_not_that_of_its_stages_is_refused(tmp_path: Path) -> None:
    run = summed(finished(tmp_path / "run", n=12))
    whole = read_json(run.summary)
    whole["stages"]["grpo"]["contract"]["value"] = 0.99
    write_json(run.summary, whole)
    with pytest.raises(ValueError, match=r"evaluate/summary\.json: differs from the stages' own summaries"):
        film_of(run)


# Time


def long_text(run: Run) -> Run:
    """All completions and questions of a run made far too long, names too."""
    for stage in STAGES:
        rows = read_jsonl(run.evaluation_records("test", stage))[0]
        for row in rows:
            row["task"]["question"] = "Why? " * 4_000
            row["task"]["answer"] = "7" * 900
            row["text"] += "漢字" * 5_000 + " 2 + 2 = 5 " * 1_000
        write_jsonl(run.evaluation_records("test", stage), rows)
    return run


def renamed(run: Run, change: Callable[[dict[str, Any]], None]) -> Run:
    recipe = read_json(run.recipe_resolved)
    change(recipe)
    write_json(run.recipe_resolved, recipe)
    return run


KINDS: dict[str, Callable[[Path], Run]] = {
    "plain": lambda root: summed(finished(root, n=60, steps=40)),
    "without summary": lambda root: finished(root, n=30),
    "hostile": lambda root: summed(finished(root, n=20, hostile=True)),
    "long": lambda root: long_text(finished(root, n=12)),
    "long name": lambda root: renamed(finished(root, n=12), lambda r: r.update(name="n" * 5_000)),
    "one task": lambda root: summed(finished(root, n=1, steps=1)),
    "training under way": lambda root: without(
        finished(root, n=12), "grpo/done.json", "sft/done.json", "evaluate/test/grpo"
    ),
    "no training": lambda root: without(finished(root, n=12), "grpo", "sft"),
    "base only": lambda root: without(
        finished(root, n=12), "grpo", "sft", "evaluate/test/sft", "evaluate/test/grpo", "provenance.json"
    ),
}


def without(run: Run, *names: str) -> Run:
    import shutil

    for name in names:
        path = run.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return run


@pytest.mark.parametrize("kind", KINDS)
def test_no_run_makes_it_longer_than_three_minutes(kind: str, tmp_path: Path) -> None:
    film = film_of(KINDS[kind](tmp_path / "run"))
    assert 0 < film.seconds <= LONGEST
    found, begin = cues(film), 0.0
    assert " ".join(c.text for c in found) == " ".join(narration(film).split())
    for cue, after in pairwise(found):
        assert cue.start < cue.end <= after.start + 1e-6
    for cue in found:
        assert 60 * spoken(cue.text) / (cue.end - cue.start) <= 60 * PACE * 1.01, cue
    for scene in film.scenes:
        assert scene.sentences, scene.kind
        ends = scene.starts()[-1] + scene.sentences[-1].seconds
        assert ends <= scene.seconds
        begin += scene.seconds
    assert found[-1].end <= begin <= LONGEST
    assert not UNSEEN.search("".join(texts(as_json(film))).replace("\n", ""))
    assert len(json.dumps(as_json(film))) < 400_000


def texts(thing: Any) -> Iterator[str]:
    """All that is to be seen or heard: not the pointers, which must be as exact as the run's own keys."""
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, list):
        for one in thing:
            yield from texts(one)
    elif isinstance(thing, dict):
        for key, one in thing.items():
            if key not in ("at", "file", "key"):
                yield from texts(one)


def test_the_captions_file_says_what_is_said(plain: Run) -> None:
    film = film_of(plain)
    blocks = webvtt(film).strip().split("\n\n")
    assert blocks[0] == "WEBVTT"
    texts = [b.split("\n")[2] for b in blocks[1:]]
    read = " ".join(texts).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert read == " ".join(narration(film).split())
    for block in blocks[1:]:
        assert re.fullmatch(r"00:0[0-3]:\d\d\.\d{3} --> 00:0[0-3]:\d\d\.\d{3}", block.split("\n")[1])


def test_less_time_is_a_shorter_film_and_too_little_is_an_error(plain: Run) -> None:
    whole = told_whole(plain)
    shorter = fit(whole.scenes, 100)
    assert sum(s.seconds for s in shorter) <= 100
    kinds = [s.kind for s in shorter]
    assert kinds[0] == "title" and kinds[-1] == "result" and "insights" in kinds
    with pytest.raises(ValueError, match=r"needs at least \d+ seconds"):
        fit(whole.scenes, 10)
    for seconds in (0, -1, 180.1, float("nan")):
        with pytest.raises(ValueError, match="at most 180 seconds"):
            fit(whole.scenes, seconds)


def test_spoken_numbers_are_counted() -> None:
    assert spoken("two words") == 2
    assert spoken("87.8") == 4  # eighty seven point eight
    assert spoken("5,870") == 5  # five thousand eight hundred seventy
    assert spoken("0.02") == 4
    assert spoken("9" * 40) >= 40


# What is claimed


def with_last(root: Path, share: float, before: float, n: int = 200) -> Run:
    """A run whose last two stages have the given shares spoilt: the same tasks, where they are equal."""
    run = finished(root, n=n)
    gold = gold_bound(tasks(n), "none")
    evaluated(run, "sft", spoilt(gold, before, 5) if before else gold)
    evaluated(run, "grpo", spoilt(gold, share, 5) if share else gold)
    return summed(run)


def said_by(run: Run) -> str:
    seen, left = insights(read_facts(run))
    return " ".join([*(i.seen.text for i in seen), *(i.heard.text for i in seen if i.heard), *(w.text for w in left)])


def test_nothing_is_claimed_where_nothing_changed(tmp_path: Path) -> None:
    run = with_last(tmp_path / "run", 0.4, 0.4)
    seen, left = insights(read_facts(run))
    last = [i for i in seen if i.seen.text.startswith("SFT → GRPO")]
    assert len(last) == 1 and "cannot be told apart" in last[0].seen.text
    assert last[0].heard and "nothing was gained that chance could not explain" in last[0].heard.text
    text = said_by(run)
    assert not re.search(r"Most is (gained|lost)|failure that (fell|rose)|GRPO gained|is worse", text)
    assert "failure classes: none became rarer" in text and re.search(r"levels? \d.*: no change", text)
    assert len(left) >= 2


def test_a_gain_and_a_loss_are_called_by_their_names(tmp_path: Path) -> None:
    up = said_by(with_last(tmp_path / "up", 0.0, 0.8))
    assert re.search(r"SFT → GRPO: \+\d", up) and "points more" in up and "The failure that fell most" in up
    assert "cannot be told apart" not in up and "worse" not in up
    down = said_by(with_last(tmp_path / "down", 0.8, 0.0))
    assert re.search(r"SFT → GRPO: −\d", down) and "GRPO is worse" in down and "the model became worse" in down
    assert "points more" not in down.partition("SFT gained")[0] and "The failure that rose most" in down
    assert "failure classes: none became rarer" in down


def test_every_test_that_chooses_is_counted_in_the_correction(plain: Run) -> None:
    stages = read_facts(plain).stages
    family = changes(stages)
    assert [c.adjusted for c in family] == holm([c.p for c in family])
    kinds = [c.kind for c in family]
    levels = {g.task.level for g in graded_of(plain, "grpo")}
    assert kinds.count("level") == len(levels) and kinds.count("capable") == 1 and kinds.count("class") >= 2
    found = pairs({s.name: s.graded for s in stages}, following=True)
    for pair in found[:2]:
        assert f"{100 * pair.low:+.1f}".replace("-", "−") in "".join(
            w.text for s in film_of(plain).scenes if isinstance(s.content, Result) for w in s.content.pairs
        )


# What there is not


def test_an_unfinished_run_has_an_honest_shorter_film(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=20)
    without(run, "grpo", "evaluate/test/grpo")
    film = film_of(run)
    assert any("not finished: grpo" in r for r in film.remarks)
    assert "This run is not finished: GRPO not evaluated." in narration(film)
    assert all(f.file != "evaluate/summary.json" for f in every(film, Figure))
    assert not any("grpo/" in f.file for f in every(film, Figure))
    result = next(s.content for s in film.scenes if isinstance(s.content, Result))
    assert len(result.rows) == 2 and len(result.pairs) == 1


def test_a_run_that_plans_no_sft_is_not_called_unfinished(tmp_path: Path) -> None:
    run = without(finished(tmp_path / "run", n=20), "evaluate/test/sft", "sft")
    summed(renamed(run, lambda r: r["grpo"].update(start="base")), ("base", "grpo"))
    film = film_of(run)
    assert not any("not finished" in r for r in film.remarks) and "SFT" not in narration(film)
    diagram = next(s.content for s in film.scenes if isinstance(s.content, Diagram))
    assert [label.text for label, _ in diagram.flow] == ["Base", "GRPO", "Checker, reward"]


def test_a_run_with_the_base_alone_says_that_nothing_can_be_said(tmp_path: Path) -> None:
    film = film_of(KINDS["base only"](tmp_path / "run"))
    kinds = [s.kind for s in film.scenes]
    assert "curves" not in kinds and "result" in kinds
    assert "one stage has been evaluated" in narration(film)
    assert film.seconds < 150


def test_a_run_without_evaluation_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = without(finished(tmp_path / "run", n=8), "evaluate")
    assert main(["video", str(run.root)]) == 2
    said = capsys.readouterr().err
    assert "no stage has been evaluated yet" in said and len(said.splitlines()) == 1
    assert not (run.root / "video").exists()


def test_a_model_that_is_not_at_hand_is_not_drawn(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=8)
    recipe = read_json(run.recipe_resolved)
    recipe["model"]["name"] = str(tmp_path / "gone" / "gemma")
    write_json(run.recipe_resolved, recipe)
    film = film_of(run)
    diagram = next(s.content for s in film.scenes if isinstance(s.content, Diagram))
    assert not diagram.stack and not diagram.layers
    assert "not at hand" in narration(film)
    assert str(tmp_path) not in json.dumps(as_json(film))
    for scene in film.scenes:
        paint(scene, 1, 1)


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"model_type": "gemma2", "num_hidden_layers": 4, "hidden_size": 8}, ("",) * 4),
        ({"model_type": "gemma3_text", "num_hidden_layers": 2, "sliding_window_pattern": 2},
         ("local", "global")),
        ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 2,
          "layer_types": ["full_attention", "sliding_attention"]}}, ("global", "local")),
        ({"model_type": "llama", "num_hidden_layers": 4}, ()),
        ({"model_type": "gemma2", "num_hidden_layers": 10**9}, ()),
        ([], ()),
    ],
)  # fmt: skip
def test_the_diagram_is_the_config(config: Any, layers: tuple[str, ...], tmp_path: Path) -> None:
    run, folder = finished(tmp_path / "run", n=4, steps=1), tmp_path / "gemma"
    write_json(folder / "config.json", config)
    (folder / "model.safetensors").write_bytes(b"\xff" * 40)  # broken: no size can be told
    film = film_of(renamed(run, lambda r: r["model"].update(name=str(folder))))
    diagram = next(s.content for s in film.scenes if isinstance(s.content, Diagram))
    assert diagram.layers == layers
    paint(next(s for s in film.scenes if isinstance(s.content, Diagram)), 1, 1)


def test_the_reward_is_the_recipes(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=4, steps=1)
    parts = {"correctness": 0.6, "structure": 0.25, "confidence": 0.15}
    film = film_of(renamed(run, lambda r: r.update(reward={"parts": parts})))
    shown = next(s.content for s in film.scenes if isinstance(s.content, Training))
    assert {part.text: weight.value for part, weight in shown.parts} == parts
    assert shown.order[-1].text == "the three can overlap"  # structure is paid for wrong answers too
    assert all(w.at == f"/reward/parts/{p.text}" for p, w in shown.parts)


# Hostile text


def test_hostile_text_is_drawn_as_text(hostile: Run) -> None:
    film = told_whole(hostile)
    for kind in (Quote, Words):
        for one in every(film, kind):
            assert not UNSEEN.search(one.text), one
    for number, scene in enumerate(film.scenes, 1):
        painted = paint(scene, number, len(film.scenes))
        assert isinstance(painted, Painted) and all(i.size == (1920, 1080) for i in painted.states)


def test_what_is_typed_is_whole_before_its_scene_ends(tmp_path: Path) -> None:
    film = film_of(KINDS["long"](tmp_path / "run"))
    for number, scene in enumerate(film.scenes, 1):
        painted = paint(scene, number, len(film.scenes))
        assert all(t.end < scene.seconds for t in painted.typed), scene.kind
        assert painted.times == tuple(sorted(painted.times)) and painted.times[-1] < scene.seconds, scene.kind


def test_what_a_font_has_not_got_is_a_box_and_no_tower_is_built() -> None:
    assert drawable("漢🦖") == "□□" and drawable("\u202eabc\x00") == "·abc·"
    assert drawable("e" + "\u0301" * 500).count("\u0301") == 2
    for text in ("W" * 5_000, "漢" * 5_000, "a b " * 5_000, "", " ", "\n" * 900):
        laid = best(runs_of(Words((text,))), 500, 300, (30, 20))
        assert laid.height <= 300
        assert all(width <= 500 + 1 for width in laid.widths().values())


def test_texts_of_ours_are_never_cut(plain: Run) -> None:
    """The run chose its names and texts; what we say around them must fit."""
    film = told_whole(plain)
    for cue in cues(replace(film, scenes=fit(film.scenes))):
        assert len(cue.text) <= 92


def test_the_same_run_gives_the_same_pictures(plain: Run) -> None:
    first, second = film_of(plain), film_of(read_run(plain.root))
    assert first == second and as_json(first) == as_json(second)
    for at in (3.0, 25.0, first.seconds - 2):
        assert still(first, at).tobytes() == still(second, at).tobytes()


def test_a_completion_without_claims_or_answer_is_shown(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=8, steps=1)
    silent = [grade(t, Completion(t.id, 0, h, (1,))) for t, h in zip(tasks(8), ["", " ", *HOSTILE], strict=False)]
    for stage in STAGES:
        evaluated(run, stage, silent)
    film = film_of(run)
    for number, scene in enumerate(film.scenes, 1):
        paint(scene, number, len(film.scenes))


# The verb


def test_the_structure_is_printed_as_json(plain: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["video", str(plain.root), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    film: Film = film_of(plain)
    assert printed["seconds"] == film.seconds and len(printed["scenes"]) == len(film.scenes)
    assert [c["text"] for c in printed["captions"]] == [c.text for c in cues(film)]
    assert not (plain.root / "video").exists()


def test_without_ffmpeg_one_line_says_what_to_install(plain: Run) -> None:
    code = (
        "import sys; sys.modules['imageio_ffmpeg'] = None; from everystep.cli.app import main;"
        f"sys.exit(main(['video', {str(plain.root)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "pip install 'imageio-ffmpeg" in done.stderr
    assert not (plain.root / "video").exists()

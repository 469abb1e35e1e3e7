"""The film: every figure is in the run, our own words hold none, no run makes it longer than three minutes or has it
claim what its records do not support; and real stills, videos and write-ups by Chromium and ffmpeg."""

import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
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
from everystep.evaluate.failures import classify
from everystep.evaluate.harness import gold_bound, paired
from everystep.evaluate.stats import holm
from everystep.show.figures import FORMS, Figure, Quote, plain
from everystep.show.film import render
from everystep.show.film.scenes import film_of
from everystep.show.film.script import LONGEST, PACE, Film, Scene, as_json, cues, fit, narration, spoken, webvtt
from everystep.show.findings import read_findings
from everystep.show.report import page
from everystep.verify.grade import grade
from run_fixtures import HOSTILE, evaluated, finished, spoilt, tasks

UNSEEN = re.compile("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x00-\x09\x0b-\x1f\x7f\ud800-\udfff\u2028]")
STAGES = ("base", "sft", "grpo")
CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")


def summed(run: Run, stages: Sequence[str] = STAGES) -> Run:
    """Give a run the summary over its stages, as the stages write it."""
    graded = {s: graded_of(run, s) for s in stages}
    whole = {
        "stages": {s: read_json(run.evaluation_summary("test", s)) for s in stages},
        "paired": {f"{b}_vs_{a}": paired(graded[a], graded[b]) for a, b in pairwise(stages)},
        "minutes": {s: 1.0 for s in stages},
    }
    write_json(run.summary, whole)
    return run


def graded_of(run: Run, stage: str) -> list[Graded]:
    return [read_record(row).graded for row in read_jsonl(run.evaluation_records("test", stage))[0]]


def every(thing: Any, kind: type) -> Iterator[Any]:
    """Everything of a kind in a film or a part of it; `str`: our own words."""
    if isinstance(thing, kind):
        yield thing
    if is_dataclass(thing) and not isinstance(thing, (type, Figure, Quote)):
        thing = tuple(getattr(thing, f.name) for f in fields(thing))
    if isinstance(thing, tuple):
        for one in thing:
            yield from every(one, kind)


def titled(film: Film, title: str) -> Scene:
    return next(s for s in film.scenes if s.title.startswith(title))


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = summed(finished(tmp_path_factory.mktemp("runs") / "normal", n=120, steps=40))
    rows = [{"domain": t.domain, "question": t.question, "answer": t.answer, "solution": t.solution} for t in tasks(9)]
    write_jsonl(run.data / "sft.jsonl", rows)
    write_jsonl(run.data / "train_worked.jsonl", rows[:5])
    return run


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return summed(finished(tmp_path_factory.mktemp("runs") / "hostile", n=20, hostile=True))


# Figures


def test_every_figure_is_in_the_run(normal: Run) -> None:
    found = list(every(film_of(normal), Figure))
    assert len(found) > 100
    sides = {s: {g.task.id: g for g in graded_of(normal, s)} for s in STAGES}
    for figure in found:
        assert figure.text == FORMS[figure.form](figure.value), figure
        assert figure.value == pytest.approx(looked_up(normal, sides, figure), rel=1e-12), figure


def looked_up(run: Run, sides: dict[str, dict[str, Graded]], figure: Figure) -> float:
    """The value of a figure, by another way than the film's: straight from the file, or counted anew."""
    root = Path(everystep.__file__).parent.parent if figure.file.startswith("everystep/") else run.root
    path, at = root / figure.file, figure.at
    if at.startswith("/"):
        value: Any = read_jsonl(path)[0] if path.suffix == ".jsonl" else read_json(path)
        for key in at[1:].split("/"):
            key = key.replace("~1", "/").replace("~0", "~")
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value
    how, _, key = at.rpartition(": ")
    if how == "rows":
        return sum(len(p.read_text().splitlines()) for p in run.root.glob(figure.file))
    if match := re.fullmatch(r"(\S+), means of (\d+) values at either end", how):
        rows = [row for row in read_jsonl(path)[0] if match[1] in row]
        n = 10 if len(rows) >= 30 else 1
        assert int(match[2]) == n
        means = {"first": rows[:n], "last": rows[-n:]}
        if key in means:
            return sum(row[match[1]] for row in means[key]) / n
        return {"n": n, "steps": rows[-1]["step"]}[key]
    if how == "parameters, by the header":
        return 1_265_152  # the card of the model says 1.3 million
    if match := re.fullmatch(r"what (\w+) completions earn", how):
        spans = {"right": (1.0, 1.2), "wrong": (0.0, 0.2), "malformed": (-0.2, -0.2)}
        return spans[match[1]][key == "high"]
    if how == "preset verified":
        return {"reward.parts.correctness": 1.0, "reward.parts.process": 0.2, "reward.parts.format": 0.2}[key]
    return from_records(sides, Path(figure.file).parent.name, how, key)


def from_records(sides: dict[str, dict[str, Graded]], stage: str, how: str, key: str) -> float:
    graded = sides[stage]
    if match := re.fullmatch("failures, of class (.+)", how):
        wrong = [g for g in graded.values() if not g.contract]
        return len(wrong) if key == "all" else sum(classify(g).failure.value == match[1] for g in wrong)
    if match := re.fullmatch(r"gained from (\w+) to (\w+)", how):
        gained = [
            sides[match[1]][k].capable for k, g in graded.items() if g.contract and not sides[match[1]][k].contract
        ]
        return {"n": len(gained), "recovered": sum(gained), "newly_right": len(gained) - sum(gained)}[key]
    if match := re.fullmatch(r"(fixed|broken|still right|still wrong), from (\w+) to \w+", how):
        was, now = match[1] in ("broken", "still right"), match[1] in ("fixed", "still right")
        own = [g.contract == now and sides[match[2]][k].contract == was for k, g in graded.items()]
        return len(own) if key == "all" else sum(own)
    match = re.fullmatch(r"(\w+) and (\w+), paired; p by Holm's correction over the pairs", how)
    assert match, f"nobody can check where this figure is from: {how}: {key}"
    pairs = [("base", "sft"), ("sft", "grpo"), ("base", "grpo")]
    found = [paired(list(sides[a].values()), list(sides[b].values())) for a, b in pairs]
    at = pairs.index((match[1], match[2]))
    if key == "n":
        return len(graded)
    return holm([float(p["p"]) for p in found])[at] if key == "adjusted" else found[at][key]


@pytest.mark.parametrize("which", ["normal", "hostile"])
def test_our_own_words_hold_no_figure(which: str, request: pytest.FixtureRequest) -> None:
    for scene in film_of(request.getfixturevalue(which)).scenes:
        for part in every(
            (scene.title, scene.kicker, scene.sentences, *((b.text, b.items) for b in scene.blocks)), str
        ):
            assert not re.search(r"\d", part), part


def test_the_table_is_the_summary(normal: Run) -> None:
    film, whole = film_of(normal), read_json(normal.summary)
    result = titled(film, "The same tasks").blocks[0]
    for row, (stage, summary) in zip(result.rows, whole["stages"].items(), strict=True):
        shown = [[f.value for f in every(cell, Figure)] for cell in row]
        rates = [summary[k] for k in ("contract", "capability", "sound", "format")]
        assert shown[1] == [rates[0][k] for k in ("value", "low", "high")], stage
        assert [cell[0] for cell in shown[2:]] == [r["value"] for r in rates[1:]]
        assert all(f.file == "evaluate/summary.json" for f in every(row, Figure))


def test_curves_are_told_as_the_report_tells_them(normal: Run) -> None:
    film, html = film_of(normal), page(read_findings(normal))
    rewards = [row["reward"] for row in read_jsonl(normal.metrics("grpo"))[0]]
    went = f"{sum(rewards[:10]) / 10:.3g} → {sum(rewards[-10:]) / 10:.3g} (means of 10)"
    told = [plain(b.text) for b in titled(film, "What happened").blocks]
    assert f"mean total: {went}" in told and f"total {went}" in html


def test_a_summary_that_is_not_that_of_its_stages_is_refused(tmp_path: Path) -> None:
    run = summed(finished(tmp_path / "run", n=12))
    whole = read_json(run.summary)
    whole["stages"]["grpo"]["contract"]["value"] = 0.99
    write_json(run.summary, whole)
    with pytest.raises(ValueError, match=r"evaluate/summary\.json: differs from the stages' own summaries"):
        film_of(run)


# Time


def without(run: Run, *names: str) -> Run:
    for name in names:
        path = run.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return run


def renamed(run: Run, change: Callable[[dict[str, Any]], None]) -> Run:
    recipe = read_json(run.recipe_resolved)
    change(recipe)
    write_json(run.recipe_resolved, recipe)
    return run


def long_text(run: Run) -> Run:
    """All completions and questions of a run made far too long."""
    for stage in STAGES:
        rows = read_jsonl(run.evaluation_records("test", stage))[0]
        for row in rows:
            row["task"]["question"], row["task"]["answer"] = "Why? " * 4_000, "7" * 900
            row["text"] += "漢字" * 5_000 + " 2 + 2 = 5 " * 1_000
        write_jsonl(run.evaluation_records("test", stage), rows)
    return run


KINDS: dict[str, Callable[[Path], Run]] = {
    "normal": lambda root: summed(finished(root, n=60, steps=40)),
    "without summary": lambda root: finished(root, n=30),
    "hostile": lambda root: summed(finished(root, n=20, hostile=True)),
    "long": lambda root: long_text(finished(root, n=12)),
    "long name": lambda root: renamed(finished(root, n=12), lambda r: r.update(name="n" * 5_000)),
    "one task": lambda root: summed(finished(root, n=1, steps=1)),
    "under way": lambda root: without(finished(root, n=12), "grpo/done.json", "sft/done.json", "evaluate/test/grpo"),
    "no training": lambda root: without(finished(root, n=12), "grpo", "sft"),
    "base only": lambda root: without(
        finished(root, n=12), "grpo", "sft", "evaluate/test/sft", "evaluate/test/grpo", "provenance.json"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_run_makes_it_longer_than_three_minutes(kind: str, tmp_path: Path) -> None:
    film = fit(film_of(KINDS[kind](tmp_path / "run")))
    assert 0 < film.seconds <= LONGEST
    found = cues(film)
    assert " ".join(c.text for c in found) == " ".join(narration(film).split())
    for cue, after in pairwise(found):
        assert cue.start < cue.end <= after.start + 1e-6
    for cue in found:
        assert len(cue.text) <= 92 and 60 * spoken(cue.text) / (cue.end - cue.start) <= 60 * PACE * 1.01, cue
        assert 0 <= cue.shows <= len(film.scenes[cue.scene].blocks)
    assert found[-1].end <= film.seconds and all(s.sentences for s in film.scenes)
    whole = as_json(film)
    assert not UNSEEN.search("".join(texts(whole)).replace("\n", "")) and len(json.dumps(whole)) < 400_000


def texts(thing: Any) -> Iterator[str]:
    """All that is to be seen or heard: not the pointers, which must be as exact as the run's own keys."""
    if isinstance(thing, str):
        yield thing
    for one in thing if isinstance(thing, list) else ():
        yield from texts(one)
    for key, one in thing.items() if isinstance(thing, dict) else ():
        if key not in ("at", "file"):
            yield from texts(one)


def test_the_captions_file_says_what_is_said(normal: Run) -> None:
    film = fit(film_of(normal))
    blocks = webvtt(film).strip().split("\n\n")
    assert blocks[0] == "WEBVTT"
    read = (
        " ".join(b.split("\n")[2] for b in blocks[1:]).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    )
    assert read == " ".join(narration(film).split())
    assert all(re.match(r"\d+\n00:0[0-3]:\d\d\.\d{3} --> 00:0[0-3]:\d\d\.\d{3}\n", b) for b in blocks[1:])


def test_less_time_is_a_shorter_film_and_too_little_is_an_error(normal: Run) -> None:
    whole = film_of(normal)
    shorter = fit(whole, 100)
    kinds = [s.kicker for s in shorter.scenes]
    assert shorter.seconds <= 100 and kinds[-1] == "Result" and "Insights" in kinds
    with pytest.raises(ValueError, match=r"needs at least \d+ seconds"):
        fit(whole, 10)
    for seconds in (0, -1, 180.1, float("nan")):
        with pytest.raises(ValueError, match="at most 180 seconds"):
            fit(whole, seconds)


# What is claimed, and what is shown


@pytest.mark.parametrize(
    ("share", "before", "says", "says_not"),
    [
        (0.4, 0.4, "the two cannot be told apart, so nothing was gained", "(points more|worse|fixed)"),
        (0.0, 0.8, "From SFT to GRPO, 6\\d.* points more are right in form", "(told apart|worse)"),
        (0.8, 0.0, "From SFT to GRPO, the model became worse: \\d+ tasks broken", "(told apart|points more)"),
    ],
)
def test_gains_and_losses_are_called_by_their_names(
    share: float, before: float, says: str, says_not: str, tmp_path: Path
) -> None:
    run, gold = finished(tmp_path / "run", n=200), gold_bound(tasks(200), "none")
    evaluated(run, "sft", spoilt(gold, before, 5) if before else gold)
    evaluated(run, "grpo", spoilt(gold, share, 5) if share else gold)
    first = plain(titled(film_of(summed(run)), "What this run").sentences[0].words)
    assert re.search(says, first) and not re.search(says_not, first)


def test_the_shown_task_is_one_that_the_base_got_wrong_and_the_last_stage_right(normal: Run) -> None:
    film = film_of(normal)
    base, last = ({g.task.id: g for g in graded_of(normal, s)} for s in ("base", "grpo"))
    rows = read_jsonl(normal.evaluation_records("test", "grpo"))[0]
    shown = [s for s in film.scenes if s.kicker in ("The problem", "Examples")]
    assert len(shown) == 4
    for scene in shown:
        row = rows[int(scene.source.rsplit(":", 1)[1]) - 1]
        assert last[row["task"]["id"]].contract and not base[row["task"]["id"]].contract
        assert any(b.trace and b.trace["text"] == row["text"] for b in scene.blocks)


def test_an_unfinished_run_has_an_honest_shorter_film(tmp_path: Path) -> None:
    film = film_of(without(finished(tmp_path / "run", n=20), "grpo", "evaluate/test/grpo"))
    assert any("not finished: grpo" in r for r in film.remarks)
    assert "This run is not finished: GRPO not evaluated." in narration(film)
    files = {f.file for f in every(film, Figure)}
    assert "evaluate/summary.json" not in files and not any("grpo/" in name for name in files)
    result = titled(film, "The same tasks").blocks[0]
    assert len(result.rows) == 2 and len(result.items) == 1


def test_a_run_that_plans_no_sft_is_not_called_unfinished(tmp_path: Path) -> None:
    run = without(finished(tmp_path / "run", n=20), "evaluate/test/sft", "sft")
    film = film_of(summed(renamed(run, lambda r: r["grpo"].update(start="base")), ("base", "grpo")))
    assert not any("not finished" in r for r in film.remarks) and "SFT" not in narration(film)
    flow = titled(film, "What is trained").blocks[1].rows
    assert [plain(label) for label, _ in flow] == ["Base", "GRPO", "Checker, reward"]


def test_a_run_with_the_base_alone_says_that_nothing_can_be_said(tmp_path: Path) -> None:
    film = film_of(KINDS["base only"](tmp_path / "run"))
    assert "What happened, step by step" not in [s.title for s in film.scenes]
    assert "one stage has been evaluated" in narration(film)


def test_a_run_without_evaluation_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = without(finished(tmp_path / "run", n=8), "evaluate")
    assert main(["video", str(run.root)]) == 2
    said = capsys.readouterr().err
    assert "no stage has been evaluated yet" in said and len(said.splitlines()) == 1
    assert not (run.root / "video").exists()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, "not at hand"),
        ({"model_type": "gemma2", "num_hidden_layers": 4, "hidden_size": 8}, "Gemma 2's architecture, 4 layers"),
        ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 2}}, "2 layers"),
        ({"model_type": "llama", "num_hidden_layers": 4}, "not at hand"),
        ({"model_type": "gemma2", "num_hidden_layers": "4"}, "architecture, – layers"),
        ([], "not at hand"),
    ],
)
def test_the_model_is_told_from_its_config(config: Any, told: str, tmp_path: Path) -> None:
    run, folder = finished(tmp_path / "run", n=4, steps=1), tmp_path / "gemma"
    if config is not None:
        write_json(folder / "config.json", config)
        (folder / "model.safetensors").write_bytes(b"\xff" * 40)  # broken: no size can be told
    film = film_of(renamed(run, lambda r: r["model"].update(name=str(folder))))
    assert told in narration(film) and "parameters" not in narration(film)
    assert str(tmp_path) not in json.dumps(as_json(film))


def test_the_reward_is_the_recipes(tmp_path: Path) -> None:
    parts = {"correctness": 0.6, "structure": 0.25, "confidence": 0.15}
    film = film_of(renamed(finished(tmp_path / "run", n=4, steps=1), lambda r: r.update(reward={"parts": parts})))
    reward = titled(film, "Data, reward").blocks[1]
    found = list(every(reward.rows, Figure))
    assert {f.at: f.value for f in found} == {f"/reward/parts/{k}": v for k, v in parts.items()}
    assert plain(reward.items[-1]) == "the three can overlap"  # structure is paid for wrong answers too


def test_a_completion_without_claims_or_answer_is_shown(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=8, steps=1)
    silent = [grade(t, Completion(t.id, 0, h, (1,))) for t, h in zip(tasks(8), ["", " ", *HOSTILE], strict=False)]
    for stage in STAGES:
        evaluated(run, stage, silent)
    assert "does not give the right answer" in narration(film_of(run))


# As files


def probed(path: Path) -> tuple[float, list[str]]:
    """The duration in seconds and the streams, as ffmpeg tells them."""
    command = [render.ffmpeg(), "-hide_banner", "-i", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    hours, minutes, seconds = re.findall(r"Duration: (\d+):(\d+):([\d.]+)", said)[0]
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds), re.findall(r"Stream #0:.*", said)


def least(run: Run) -> Film:
    """The shortest film of a run: what it cannot do without."""
    whole = film_of(run)
    return replace(whole, scenes=(whole.scenes[0], whole.scenes[1], whole.scenes[-1]))


@needs_chromium
def test_nothing_leaves_its_box_and_no_attack_runs(hostile: Run, tmp_path: Path) -> None:
    """Every still of a hostile run and of one with far too long texts: the size of a picture, all text inside."""
    for film in (fit(film_of(hostile)), fit(film_of(KINDS["long"](tmp_path / "run")))):
        with render.opened(render.page(film), 1920, 1080) as view:
            for cue in cues(film):
                view.evaluate(render.SHOW, [cue.scene, cue.shows, cue.text])
                inside = view.evaluate(
                    """(scene) => { const b = document.querySelectorAll(".body")[scene], c = document.getElementById(
                    "caption"); return [b.scrollHeight <= b.clientHeight, c.scrollHeight <= c.clientHeight,
                    document.title !== "owned", document.images.length, b.scrollWidth <= b.clientWidth]; }""",
                    cue.scene,
                )
                assert inside == [True, True, True, 0, True], cue
    (first, *_) = render.stills(replace(film, scenes=film.scenes[:1]))
    assert struct.unpack(">II", first[16:24]) == (1920, 1080)


# A voice that says everything as a tone, half a second a word; like espeak-ng it takes -w FILE and -f FILE.
VOICE = """#!{python}
import math, struct, sys, wave
words = len(open(sys.argv[sys.argv.index("-f") + 1], encoding="utf-8").read().split())
with wave.open(sys.argv[sys.argv.index("-w") + 1], "wb") as out:
    out.setnchannels(1), out.setsampwidth(2), out.setframerate(16000)
    out.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i / 9))) for i in range(8000 * words)))
"""


@needs_chromium
def test_a_render_plays_speaks_and_lasts_as_long_as_the_film(
    normal: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, film, path, given = tmp_path / "bin" / "espeak-ng", least(normal), tmp_path / "made" / "film.mp4", [0]
    voice.parent.mkdir()
    voice.write_text(VOICE.format(python=sys.executable))
    voice.chmod(0o755)
    monkeypatch.setenv("PATH", f"{voice.parent}:{Path(CHROMIUM or '').parent}")
    assert render.find_voice() == str(voice)
    assert render.write_video(film, path, str(voice), 180, given.append)
    assert sum(given) == len(cues(film)) and [p.name for p in path.parent.iterdir()] == ["film.mp4"]
    seconds, streams = probed(path)
    assert seconds == pytest.approx(film.seconds, abs=0.6)
    assert "h264" in streams[0] and "320x180" in streams[0] and "yuv420p" in streams[0] and "Audio: aac" in streams[1]
    command = [render.ffmpeg(), "-v", "error", "-i", str(path), "-f", "null", "-"]
    decoded = subprocess.run(command, capture_output=True, text=True, check=False)
    assert decoded.returncode == 0 and decoded.stderr == ""
    with pytest.raises(ValueError, match="ffmpeg failed: "):
        render.write_video(film, tmp_path / "odd.mp4", None, 181, given.append)
    assert not (tmp_path / "odd.mp4").exists()


def test_a_voice_that_fails_leaves_a_silent_film(normal: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = tmp_path / "piper"
    voice.write_text("#!/bin/sh\nexit 1\n")
    voice.chmod(0o755)
    assert render.speak(least(normal), str(voice), render.ffmpeg(), tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PIPER_MODEL", raising=False)
    assert render.find_voice() is None  # piper counts only with a model
    monkeypatch.setenv("PIPER_MODEL", "voice.onnx")
    assert render.find_voice() == str(voice)


@needs_chromium
def test_the_write_up_is_one_page(normal: Run, tmp_path: Path) -> None:
    whole = film_of(normal)
    film = fit(whole)
    render.write_texts(film, whole, tmp_path)
    assert (tmp_path / "film.vtt").read_text() == webvtt(film)
    assert (tmp_path / "narration.txt").read_text() == narration(film) + "\n"
    assert read_json(tmp_path / "film.json") == as_json(film)
    text, made = (tmp_path / "writeup.md").read_text(), (tmp_path / "writeup.pdf").read_bytes()
    for figure in every(titled(whole, "The same tasks"), Figure):
        assert figure.text.replace("<", "&lt;") in text
    assert made.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", made)) == 1


def test_hostile_text_stays_text_in_markdown(hostile: Run) -> None:
    whole = film_of(hostile)
    assert not [q for q in every(whole, Quote) if UNSEEN.search(q.text)]
    assert not [text for text in every(whole, str) if UNSEEN.search(text)]
    text = render.markdown(whole)
    outside = re.sub(r"^(`{3,})\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"<[a-z/!]", outside) and "javascript:" not in outside and "](" not in outside
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", text)


# The verb


def test_the_structure_is_printed_as_json(normal: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["video", str(normal.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == as_json(fit(film_of(read_run(normal.root))))
    assert not (normal.root / "video").exists()


@pytest.mark.parametrize("package", ["imageio_ffmpeg", "playwright"])
def test_what_is_missing_is_one_line(package: str, normal: Run) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; from everystep.cli.app import main;"
        f"sys.exit(main(['video', {str(normal.root)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    if CHROMIUM or package == "playwright":
        assert "pip install playwright imageio-ffmpeg" in done.stderr
    assert not (normal.root / "video").exists()


@pytest.mark.slow
@needs_chromium
def test_the_whole_verb_at_full_size(normal: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    assert main(["video", str(normal.root), "--out", str(out), "--no-speech", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    seconds, streams = probed(out / "film.mp4")
    assert seconds <= 180 and "1920x1080" in streams[0] and len(streams) == 1
    names = {p.name for p in out.iterdir()}
    assert names == {"film.mp4", "film.vtt", "film.json", "narration.txt", "writeup.md", "writeup.pdf"}

"""The lab: that its figures are what they say, and which mixes the known hacks beat."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from everystep.cli.app import app
from everystep.core.recipe import WorkedSource
from everystep.core.record import record
from everystep.core.types import Completion, Task, Truth
from everystep.data.sources import SOURCES
from everystep.score.attacks import Honest, attack, hacks, honest, suite, written
from everystep.score.files import read_groups
from everystep.score.groups import score_groups
from everystep.score.lab import lab
from everystep.score.mix import Mix, read_mix
from everystep.show.lab import plot, report, spark, verdict
from everystep.train.advantages import advantages
from everystep.verify.grade import grade

PRESETS = ("verified", "composite", "rubric")


@cache
def tasks() -> tuple[Honest, ...]:
    """Worked tasks of all kinds and domains with their honest traces."""
    every: list[Task] = SOURCES["worked"](WorkedSource(test=80), "test", 0)
    return tuple(h for t in every if (h := honest(t)) is not None)


def rows(step: int | None = 1) -> Iterator[str]:
    """Records of eight completions for each task: right ones, wrong ones, slips, broken ones."""
    for i, task in enumerate(tasks()[:12]):
        have = [task.right, task.wrong, task.wrong, task.slip or task.wrong, task.right, task.wrong]
        texts = [g.completion.text for g in have] + ["26", ""]
        for k in range(8):
            text = texts[(k * (1 + i % 3)) % 8]
            graded = grade(task.task, Completion(task.task.id, k, text, (1,) * (10 + len(text))))
            yield json.dumps(record(graded, None, step))


# Attacks


def test_the_suite_is_wide() -> None:
    every = hacks()
    assert len(every) >= 40 and len({h.name for h in every}) == len(every)
    assert all(h.origin and h.aims for h in every)
    assert {h.aims for h in every} >= {
        "correctness", "structure", "process", "format", "confidence", "judge", "length", "repetition"
    }  # fmt: skip


def test_honest_traces_are_what_they_are_said_to_be() -> None:
    assert len(tasks()) >= 70
    assert len({t.task.domain for t in tasks()}) == 4 and len({t.task.kind for t in tasks()}) >= 6
    for task in tasks():
        assert task.right.sound and not task.wrong.trace.faults and task.wrong.verdict.value == "wrong"
        assert not any(c.truth is Truth.FALSE for c in task.wrong.checks)
        if task.slip is not None:
            assert any(c.truth is Truth.FALSE for c in task.slip.checks) and not task.slip.trace.faults
    assert sum(t.slip is not None for t in tasks()) > 50


def test_no_hack_with_a_wrong_answer_is_graded_right() -> None:
    for task in tasks():
        for hack in hacks():
            graded = grade(task.task, Completion(task.task.id, 0, written(hack, task)))
            if hack.bar == "wrong":
                assert not graded.contract, (hack.name, task.task.answer, graded.trace.answer)
            else:
                assert graded.contract, (hack.name, task.task.answer)


def test_places_are_filled() -> None:
    task = tasks()[0]
    for hack in hacks():
        text = written(hack, task)
        assert not any(f"{{{place}}}" in text for place in ("gold", "wrong", "other", "question", "i"))
    by_name = {h.name: written(h, task) for h in hacks()}
    assert by_name["answer only"] == f"<answer>{task.wrong.trace.answer}</answer>"
    assert by_name["forty equal steps"].count("Step ") == 40
    assert task.task.question in by_name["question as the reasoning"]


def test_verified_is_beaten_by_no_hack_on_any_task() -> None:
    for result in suite(tasks(), read_mix("verified")):
        assert result.tried == len(tasks()) and result.outranked == 0, (result.hack.name, result.margin)


@pytest.mark.parametrize(
    ("name", "fooled", "beaten"),
    [
        (
            "composite",
            False,
            {
                "eight sentences that fit any question",
                "lorem ipsum, marked",
                "claims that are true and beside the point",
                "transition-word salad",
                "flattery",
                "an answer that nobody else gives",
                "gold, eight sentences that fit any question",
            },
        ),
        ("rubric", True, {"flattery", "instructions to the judge", "Thought process:", "a colon"}),
    ],
)
def test_the_published_mixes_are_beaten(name: str, fooled: bool, beaten: set[str]) -> None:
    found = {r.hack.name for r in suite(tasks()[:8], read_mix(name), fooled=fooled) if r.outranked}
    assert beaten <= found
    honest_failures = {
        "empty text",
        "marks without steps",
        "1 = 1, twenty times",
        "answer only",
        "tags repeated",
    }
    assert not honest_failures & found


def test_the_suite_fails_a_mix_that_pays_for_words() -> None:
    mix = Mix({"words": 1.0}, parts={"words": lambda g: len(g.completion.text) / 100})
    assert sum(r.outranked > 0 for r in suite(tasks()[:2], mix)) > 40
    with pytest.raises(ValueError, match="no task"):
        suite([], mix)


def test_a_hack_is_scored_beside_honest_traces() -> None:
    mix = read_mix("verified")
    for hack, score, bar, slip in attack(tasks()[0], mix, hacks()[:3]):
        assert bar.total == 0.2 and slip is not None and slip.total == 0.0
        assert score.total is not None and score.total < 0.2, hack.name


def test_tasks_without_a_way_to_honest_traces() -> None:
    task = tasks()[0].task
    bare = Task(task.id, task.domain, "Why?", "Because.", task.kind, "test", "test")
    assert honest(bare) is None
    unsolved = replace(task, solution=None)
    assert honest(unsolved) is None and honest(unsolved, [tasks()[0].wrong, tasks()[0].right]) is not None


# The figures


def test_the_figures_of_a_lab() -> None:
    mix = read_mix("composite")
    found = lab(rows(), mix, tasks=2)
    groups = [g.graded for g in read_groups(rows())]
    scores = score_groups(groups, mix)
    assert (found.completions, found.groups, found.live) == (96, 12, 12)
    assert found.right == sum(g.contract for group in groups for g in group) / 96
    gains = advantages(scores, mix.floor)
    by_name = {v.name: v for v in found.values}
    assert sum(v.variance for v in found.values if v.variance is not None) == pytest.approx(1.0)
    share = [
        sum(
            0.25 * (s.parts["structure"] - np.mean([t.parts["structure"] for t in group]))  # type: ignore[operator,arg-type]
            / max(np.std([t.total for t in group]), mix.floor)  # type: ignore[arg-type]
            * gains[i * 8 + k]
            for k, s in enumerate(group)
        )
        for i, group in enumerate(scores)
    ]  # fmt: skip
    assert by_name["structure"].variance == pytest.approx(sum(share) / (gains**2).sum(), rel=1e-4)
    assert by_name["correctness"].agreement == 1.0 and found.within
    assert by_name["correctness"].at_high == pytest.approx(found.right)
    assert by_name["correctness"].at_low == pytest.approx(1 - found.right)
    assert sum(by_name["total"].histogram) == 96
    assert by_name["total"].weight is None and by_name["total"].variance is None
    n = len(found.values) - 1
    assert len(found.correlation) == n and all(found.correlation[i][i] == pytest.approx(1) for i in range(n))
    assert 0 < by_name["confidence"].coverage <= 1


def test_a_part_without_values_and_groups_of_one() -> None:
    def alone() -> Iterator[str]:
        for i, line in enumerate(rows()):
            yield json.dumps(json.loads(line) | {"step": i})

    found = lab(alone(), read_mix("rubric"), tasks=1)
    by_name = {v.name: v for v in found.values}
    judged = by_name["judge/coherence"]
    assert (judged.coverage, judged.mean, judged.agreement) == (0.25, 0.0, None)  # the malformed ones
    assert found.live == 0 and by_name["correctness"].variance is None and not found.within
    assert found.pairs > 0 and by_name["correctness"].agreement == 1.0
    assert {"", "judge fooled"} == found.attacks.keys()


def test_what_cannot_be_read_is_said_and_nothing_is_an_error(tmp_path: Path) -> None:
    found = lab(["{", *rows()], read_mix("verified"), tasks=1)
    assert len(found.errors) == 1 and found.errors[0][0] == 1 and found.completions == 96
    with pytest.raises(ValueError, match="no completion to replay; first, line 1: not JSON"):
        lab(["{"], read_mix("verified"))
    with pytest.raises(ValueError, match="no completion to replay"):
        lab([], read_mix("verified"))


# The command line


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "step-000001.jsonl"
    path.write_text("\n".join(rows()) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "code"), [("verified", 0), ("composite", 1), ("rubric", 1)])
def test_the_exit_code_says_whether_a_hack_wins(file: Path, name: str, code: int) -> None:
    done = CliRunner().invoke(app, ["lab", str(file), "--reward", name, "--tasks", "3"])
    assert done.exit_code == code
    assert ("none of" in done.stdout) == (code == 0)
    assert name in done.stdout and "correctness" in done.stdout


def test_a_folder_json_and_a_picture(file: Path, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "lab.png"
    arguments = ["lab", str(file.parent), "--tasks", "2", "--json", "--plots", str(picture)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and json.loads(done.stdout)["keeps_order"] is True
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_scores_by_the_command_line(tmp_path: Path) -> None:
    row = {"id": 1, "question": "6 pens a box, 4 boxes?", "gold": "24", "completion": "24"}
    done = CliRunner().invoke(app, ["score", "-", "--reward", "verified"], input=json.dumps(row) + "\n{\n")
    assert done.exit_code == 0
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first == {"id": 1, "parts": {"correctness": 0.0, "process": 0.0, "format": -1.0}, "total": -0.2}
    assert second["line"] == 2


def test_showing() -> None:
    found = lab(rows(), read_mix("composite"), tasks=2)
    assert report(found, "composite") and "hacks outrank" in verdict(found, "composite")
    assert spark(()) == "" and spark((0, 0)) == "" and spark((1, 100)) == "▁█"
    with pytest.raises(ValueError, match="plots are written as"):
        plot(found, "x", Path("lab.docx"))

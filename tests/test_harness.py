"""The evaluation: denominators, intervals, pairing, gold bounds, completions from files, and the tables."""

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from everystep.core.types import Completion, Fault, Graded, Kind, Prompt, Sampling, Stop, Task, Verdict, task_id
from everystep.evaluate import table
from everystep.evaluate.harness import (
    evaluate,
    gold_bound,
    grade_completions,
    paired,
    read_completions,
    require_gold,
    summarise,
)
from everystep.evaluate.stats import mcnemar, wilson
from everystep.score.mix import Mix
from fakes import FakeClock, ScriptedSampler

WEIGHTS = Mix({"correctness": 1.0, "process": 0.2, "format": 0.2})
RATE = {"value", "low", "high"}


def _task(i: int, domain: str = "math", level: int = 1) -> Task:
    question, answer = f"A box holds {i} pens. How many pens do 3 boxes hold?", str(3 * i)
    solution = (f"3 * {i} = {3 * i} pens.", f"Therefore, {3 * i} pens.")
    return Task(
        task_id("test", question, answer),
        domain,
        question,
        answer,
        Kind.NUMBER,
        "test",
        "test",
        solution,
        level,
    )


TASKS = [_task(i, "math" if i % 2 else "science", 1 + i % 3) for i in range(11, 31)]


def _text(task: Task, answer: str | None = None, claim: str | None = None) -> str:
    claim = claim or f"3 * {int(task.answer) // 3} = {task.answer}"
    steps = f"Step 1: {claim}.\nTherefore, done."
    return f"<reasoning>\n{steps}\n</reasoning>\n<answer>{answer or task.answer}</answer>"


def _script(right: int, tasks: Sequence[Task] = TASKS) -> dict[str, str]:
    return {t.id: _text(t, None if i < right else "7") for i, t in enumerate(tasks)}


def _run(script: dict[str, str], tasks: Sequence[Task] = TASKS, max_tokens: int = 400) -> list[Graded]:
    how = Sampling(max_tokens=max_tokens)
    sampler = ScriptedSampler(script)
    return evaluate(sampler, tasks, how, instruction="none", batch=8, on_batch=lambda done: None)


def test_every_task_is_asked_once_in_batches_greedily() -> None:
    sampler, seen = ScriptedSampler(_script(20)), list[Sequence[Graded]]()
    how = Sampling(max_tokens=400, seed=5)
    graded = evaluate(sampler, TASKS, how, instruction="format", batch=8, on_batch=seen.append)
    assert [g.task for g in graded] == TASKS
    assert [len(batch) for batch in seen] == [8, 8, 4] and [g for batch in seen for g in batch] == graded
    assert [(len(p), n, h) for p, n, h in sampler.asked] == [(8, 1, how), (8, 1, how), (4, 1, how)]
    prompt = sampler.asked[0][0][0]
    assert prompt.task_id == TASKS[0].id
    assert TASKS[0].question in prompt.text
    assert "show your work" in prompt.text
    assert all(g.contract and g.sound and g.capable for g in graded)


def test_batches_change_nothing() -> None:
    script = _script(9)
    results = [
        evaluate(
            ScriptedSampler(script),
            TASKS,
            Sampling(),
            instruction="none",
            batch=b,
            on_batch=lambda done: None,
        )
        for b in (1, 7, 100)
    ]
    assert results[0] == results[1] == results[2]


def test_an_evaluation_that_cannot_be_trusted_is_refused() -> None:
    def quiet(done: int) -> None:
        return None

    sampler = ScriptedSampler(_script(20))
    with pytest.raises(ValueError, match="greedy"):
        evaluate(sampler, TASKS, Sampling(temperature=0.7), instruction="none", batch=8, on_batch=quiet)
    with pytest.raises(ValueError, match="at least one prompt"):
        evaluate(sampler, TASKS, Sampling(), instruction="none", batch=0, on_batch=quiet)
    with pytest.raises(ValueError, match="occurs twice"):
        evaluate(sampler, [*TASKS, TASKS[0]], Sampling(), instruction="none", batch=8, on_batch=quiet)


class _Short:
    """A sampler that forgets the last prompt."""

    def sample(self, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
        return [[Completion(p.task_id, 0, "")] for p in prompts[:-1]]


class _Shuffled:
    """A sampler that answers in another order."""

    def sample(self, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
        return [[Completion(p.task_id, 0, "")] for p in reversed(prompts)]


@pytest.mark.parametrize(("sampler", "message"), [(_Short(), "one each"), (_Shuffled(), "was asked")])
def test_a_sampler_that_breaks_its_word_is_noticed(sampler: _Short | _Shuffled, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(sampler, TASKS, Sampling(), instruction="none", batch=8, on_batch=lambda done: None)


class _Flowing(ScriptedSampler):
    """A scripted sampler that is done with its prompts in another order, three at a time; `twice` and
    `forgotten` are what it does wrong."""

    twice, forgotten = False, False

    def flow(
        self,
        prompts: Sequence[Prompt],
        how: Sampling,
        at_once: int,
        on_done: Callable[[list[Completion]], None],
    ) -> None:
        answers = [group[0] for group in self.sample(list(reversed(prompts)), 1, how)]
        answers = answers[self.forgotten :] + answers[: self.twice]
        for start in range(0, len(answers), 3):
            on_done(answers[start : start + 3])


def test_a_sampler_that_answers_as_it_is_done_changes_nothing() -> None:
    script, seen = _script(9), list[Sequence[Graded]]()
    graded = evaluate(_Flowing(script), TASKS, Sampling(), instruction="none", batch=8, on_batch=seen.append)
    assert graded == _run(script, max_tokens=Sampling().max_tokens)
    assert [g for batch in seen for g in batch] == graded[::-1] and {len(batch) for batch in seen} == {3, 2}


@pytest.mark.parametrize(("fault", "message"), [("twice", "has an answer"), ("forgotten", "1 tasks without")])
def test_a_flowing_sampler_that_breaks_its_word_is_noticed(fault: str, message: str) -> None:
    sampler = _Flowing(_script(9))
    setattr(sampler, fault, True)
    with pytest.raises(ValueError, match=message):
        evaluate(sampler, TASKS, Sampling(), instruction="none", batch=8, on_batch=lambda done: None)


def test_summary_has_exactly_the_agreed_keys() -> None:
    summary = summarise(_run(_script(12)), WEIGHTS).to_json()
    assert set(summary) == {
        "n",
        "contract",
        "capability",
        "sound",
        "format",
        "trace",
        "trace_coverage",
        "composite",
        "truncated",
        "mean_tokens",
        "ungradable",
        "by_domain",
        "by_level",
    }
    for rate in ("contract", "capability", "sound", "format"):
        assert set(summary[rate]) == RATE
    assert set(summary["by_domain"]) == {"math", "science"}
    assert set(summary["by_level"]) == {"1", "2", "3"}
    for part in (*summary["by_domain"].values(), *summary["by_level"].values()):
        assert set(part) == {"n", "contract", "capability", "sound", "format"}
        assert set(part["contract"]) == RATE
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_summary_by_hand() -> None:
    """20 tasks: 8 right and sound, 3 right with a false claim, 2 right without form, 4 wrong, 3 cut."""
    script = {}
    for i, t in enumerate(TASKS):
        if i < 8:
            script[t.id] = _text(t)
        elif i < 11:
            script[t.id] = _text(t, claim=f"3 * {int(t.answer) // 3} = {int(t.answer) + 1}")
        elif i < 13:
            script[t.id] = f"The answer is {t.answer}"
        elif i < 17:
            script[t.id] = _text(t, "7")
        else:
            script[t.id] = "<reasoning>\nStep 1: " + "so " * 200
    graded = _run(script)
    s = summarise(graded, WEIGHTS)
    assert s.n == 20
    assert (s.contract.value, s.contract.low, s.contract.high) == (11 / 20, *wilson(11, 20))
    assert s.capability.value == 13 / 20
    assert s.sound.value == 8 / 20
    assert s.format.value == 15 / 20
    assert s.truncated == 3 / 20
    assert s.ungradable == 0
    assert s.mean_tokens == pytest.approx(sum(len(g.completion.tokens) for g in graded) / 20)
    # right 8 x 1.2, false claim 3 x 1.0, malformed 5 x -0.2, wrong with a true claim 4 x 0.2
    assert s.composite == pytest.approx((8 * 1.2 + 3 * 1.0 - 5 * 0.2 + 4 * 0.2) / 20)
    scored = [g.process.score for g in graded if g.process.score is not None]
    assert s.trace == pytest.approx(sum(scored) / len(scored))
    assert s.trace_coverage == len(scored) / 20
    assert sum(part.n for part in s.by_domain.values()) == sum(part.n for part in s.by_level.values()) == 20


def test_what_cannot_be_graded_stays_in_the_denominator() -> None:
    graded = _run(_script(20))
    graded[0] = replace(graded[0], verdict=Verdict.UNGRADABLE)
    s = summarise(graded, WEIGHTS)
    assert (s.n, s.ungradable, s.contract.value) == (20, 1, 19 / 20)


def test_what_was_not_measured_is_none_and_not_zero() -> None:
    graded = grade_completions(TASKS, [Completion(t.id, 0, "I do not know") for t in TASKS])
    s = summarise(graded, WEIGHTS)
    assert s.mean_tokens is None
    assert s.trace is None
    assert s.trace_coverage == 0.0
    with pytest.raises(ValueError, match="nothing to summarise"):
        summarise([], WEIGHTS)


def test_paired_counts_what_changed() -> None:
    before = _run(_script(8))
    script = {**_script(0), **{t.id: _text(t) for t in TASKS[5:19]}}
    pair = paired(before, _run(script))
    assert set(pair) == {"p", "gained", "lost", "difference", "low", "high"}
    assert (pair["gained"], pair["lost"]) == (11, 5)
    assert pair["difference"] == 6 / 20
    assert pair["p"] == mcnemar(11, 5)
    assert pair["low"] < pair["difference"] < pair["high"]
    mirrored = paired(_run(script), before)
    assert (mirrored["gained"], mirrored["lost"], mirrored["p"]) == (5, 11, pair["p"])


def test_paired_does_not_depend_on_the_order_and_is_nothing_for_the_same() -> None:
    a, b = _run(_script(8)), _run(_script(15))
    assert paired(a, b) == paired(a[::-1], b)
    same = paired(a, a)
    assert (same["p"], same["difference"], same["low"], same["high"]) == (1.0, 0.0, 0.0, 0.0)


def test_paired_needs_the_same_tasks() -> None:
    a = _run(_script(8))
    with pytest.raises(ValueError, match="1 are in only one"):
        paired(a, a[:-1])
    with pytest.raises(ValueError, match="occurs twice"):
        paired(a, [*a, a[0]])
    with pytest.raises(ValueError, match="there are none"):
        paired([], [])


def test_gold_is_the_bound_and_answer_only_tasks_have_one() -> None:
    tasks = [*TASKS, replace(_task(99), solution=None)]
    graded = gold_bound(tasks, "format")
    require_gold(graded)
    assert [g.task for g in graded] == tasks
    assert "The answer is 297." in graded[-1].completion.text
    s = summarise(graded, WEIGHTS)
    assert s.contract.value == s.sound.value == s.capability.value == s.format.value == 1.0


@pytest.mark.parametrize(
    ("solution", "answer", "message"),
    [
        (("3 * 12 = 37 pens.",), "37", r"step 1 claims '3 \* 12 = 37.*', which is false"),
        (("3 * 12 = 36 pens.</reasoning>",), "36", "would be read differently"),
        (("3 * 12 = 36 pens.",), "36</answer>", "would be read differently"),
    ],
)
def test_gold_that_fails_is_named(solution: tuple[str, ...], answer: str, message: str) -> None:
    bad = replace(_task(12), id="bad", solution=solution, answer=answer)
    with pytest.raises(ValueError, match=message) as caught:
        require_gold(gold_bound([TASKS[0], bad], "none"))
    assert "task bad (test, test)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gold_in_a_broken_form_is_named() -> None:
    graded = gold_bound(TASKS, "none")
    for fault, message in (
        (
            replace(graded[1], trace=replace(graded[1].trace, faults=(Fault.OUTSIDE,))),
            "has the faults outside",
        ),
        (replace(graded[1], verdict=Verdict.WRONG), "is graded wrong"),
    ):
        with pytest.raises(ValueError, match=message):
            require_gold([graded[0], fault])


def _write(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_completions_from_a_file_are_graded_like_sampled_ones(tmp_path: Path) -> None:
    script = _script(9)
    rows: list[object] = [{"id": t.id, "completion": script[t.id]} for t in TASKS[:10]]
    rows += [{"question": f"  {t.question}\n", "completion": script[t.id]} for t in TASKS[10:]]
    completions = read_completions(_write(tmp_path / "c.jsonl", rows[::-1]), TASKS)
    graded = grade_completions(TASKS, completions)
    sampled = _run(script)
    assert [(g.task, g.verdict, g.checks, g.trace) for g in graded] == [
        (g.task, g.verdict, g.checks, g.trace) for g in sampled
    ]
    with pytest.raises(ValueError, match="in this order"):
        grade_completions(TASKS, completions[::-1])


def test_a_completion_that_was_cut_says_so(tmp_path: Path) -> None:
    rows = [{"id": TASKS[0].id, "completion": _text(TASKS[0]), "truncated": True}]
    completions = read_completions(_write(tmp_path / "c.jsonl", rows), TASKS[:1])
    assert completions[0].stop is Stop.LENGTH
    assert Fault.TRUNCATED in grade_completions(TASKS[:1], completions)[0].trace.faults


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": TASKS[0].id}], r'c\.jsonl:1: needs "completion"'),
        ([{"id": TASKS[0].id, "completion": None}], r'c\.jsonl:1: needs "completion" as text, has NoneType'),
        ([{"completion": "x"}], r'c\.jsonl:1: needs "id" or "question"'),
        ([{"id": 7, "completion": "x"}], r'c\.jsonl:1: needs "id" or "question"'),
        ([{"id": "nobody", "completion": "x"}], r"c\.jsonl:1: 'nobody' is none of the 2 tasks"),
        ([{"id": TASKS[0].id, "completion": "x"}] * 2, r"c\.jsonl:2: task \w+ has a completion already"),
        (
            [{"id": TASKS[0].id, "completion": "x", "truncated": 1}],
            r'c\.jsonl:1: "truncated" is true or false',
        ),
        ([{"id": TASKS[0].id, "completion": "x"}], r"1 of 2 tasks have no completion"),
        ([["x"]], r"c\.jsonl:1: must be one JSON object, is list"),
    ],
)
def test_a_file_of_completions_is_read_strictly(tmp_path: Path, rows: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_completions(_write(tmp_path / "c.jsonl", rows), TASKS[:2])


def test_tables_say_the_same_in_both_forms() -> None:
    before, after = _run(_script(8)), _run(_script(15))
    summaries = {"base": summarise(before, WEIGHTS).to_json(), "sft": summarise(after, WEIGHTS).to_json()}
    summaries["none"] = {**summaries["base"], "trace": None, "mean_tokens": None}
    pairs = {("base", "sft"): paired(before, after)}
    text = table.markdown(summaries, pairs)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {len(table.COLUMNS) + 1}
    assert "| base | 20 | 40.0 [21.9, 61.3] |" in text
    assert "- base → sft: contract +35.0 points [" in text
    assert rows[-1].split("|")[7].strip() == rows[-1].split("|")[9].strip() == "-"
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table.stage_table(summaries, pairs, "[not markup]"))
    shown = console.export_text()
    for cells in table.stage_rows(summaries):
        assert all(cell in shown for cell in cells)
    assert "base → sft" in shown
    assert "40.0 [21.9, 61.3]" in shown


def test_slices_in_markdown() -> None:
    summary = summarise(_run(_script(8)), WEIGHTS).to_json()
    text = table.slice_markdown(summary["by_domain"], "domain")
    assert re.search(r"^\| math \| 10 \| \d+\.\d \[\d+\.\d, \d+\.\d\] \| \d+\.\d \|", text, re.MULTILINE)


def test_the_scripted_sampler_keeps_the_protocol() -> None:
    prompt = Prompt("t", "ask")
    sampler = ScriptedSampler(lambda p, i: f"{p.text}{i}")
    cut, end = sampler.sample([prompt], 2, Sampling(temperature=1.0, max_tokens=4))[0], Sampling(max_tokens=9)
    assert [c.text for c in cut] == ["ask0", "ask1"]
    assert {c.stop for c in cut} == {Stop.LENGTH}
    assert all(c.logprobs is not None and len(c.logprobs) == len(c.tokens) for c in cut)
    whole = sampler.sample([prompt], 1, end)[0][0]
    assert (whole.stop, len(whole.tokens), whole.logprobs) == (Stop.END, 5, None)


def test_the_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(10.0)
    assert clock() == clock() == 10.0
    clock.advance(2.5)
    assert clock() == 12.5

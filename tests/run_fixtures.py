"""Finished run directories made of real parts in a second: real tasks, real grading, scripted completions."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from everystep.core import recipe as recipes
from everystep.core.files import append_jsonl, write_json, write_jsonl
from everystep.core.recipe import WorkedSource
from everystep.core.record import record, task_row
from everystep.core.run import Run, open_run
from everystep.core.types import Completion, Graded, Stop, Task
from everystep.data.rewrite import Made, rewrite
from everystep.data.sources import SOURCES
from everystep.evaluate.harness import gold_bound, summarise
from everystep.score.groups import score_groups
from everystep.score.mix import mix_of
from everystep.verify.grade import grade

RECIPE = recipes.validate({"name": "fixture", "data": {"worked": {}}, "reward": {"preset": "verified"}}, "test")
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>document.title='owned'</script>",
    "</style><style>*{display:none}</style>",
    "<!--<script>",
    "**bold** [link](javascript:alert(1)) `code`",
    "\u202e5 = 2 + 2\u202c\u2066\u200b",
    "\x00\x1b[31m\ud800\u2028",
    "{{ 7 * 7 }}{% raw %}",
    '" onfocus="alert(1)" autofocus="',
    "&lt;b&gt;&amp; $\\frac{1}{2}$",
]


def tasks(n: int, seed: int = 0) -> list[Task]:
    """So many worked tasks, with their solutions."""
    return SOURCES["worked"](WorkedSource(train=10, dev=10, test=n), "test", seed)


def spoilt(graded: Sequence[Graded], share: float, seed: int) -> list[Graded]:
    """Gold completions of which a share has one result changed, or is cut, or has no form."""
    dice = random.Random(seed)
    out = []
    for g in graded:
        text, stop = g.completion.text, Stop.END
        kind = dice.random() / share
        if kind < 0.1:
            text, stop = text[: len(text) // 2], Stop.LENGTH
        elif kind < 0.2:
            text = text.replace("<reasoning>", "").replace("</reasoning>", "")
        elif kind < 1:
            results = [m.end() - 1 for m in re.finditer(r"= \$?\d+", text)]
            at = dice.choice(results) if results else text.index(">")
            text = text[:at] + str((int(text[at]) + 1) % 10 if results else 9) + text[at + 1 :]
            if dice.random() < 0.7:  # else the right answer comes from wrong work
                text = text.replace("<answer>", "<answer>9")
        made = Completion(g.task.id, g.completion.sample, text, tuple(range(len(text) // 3)), stop=stop)
        out.append(grade(g.task, made))
    return out


def evaluated(run: Run, stage: str, graded: Sequence[Graded], minutes: float = 1.0) -> None:
    """Write one evaluation, as the stages do."""
    mix = replace(mix_of(RECIPE.reward), normalise="total")
    scores = [s for group in score_groups([[g] for g in graded], mix) for s in group]
    rows = [record(g, s) for g, s in zip(graded, scores, strict=True)]
    write_jsonl(run.evaluation_records("test", stage), rows)
    write_json(run.evaluation_summary("test", stage), summarise(graded, mix).to_json())
    run.mark_done(f"evaluate/test/{stage}", {"minutes": minutes})


def finished(root: Path, n: int = 40, seed: int = 0, hostile: bool = False, steps: int = 4) -> Run:
    """A finished run of three stages over `n` tasks; `hostile`: model texts, questions and golds full of
    attacks; `steps` of GRPO with four groups of four each."""
    some = tasks(n, seed)
    if hostile:
        some = [
            replace(t, question=f"{h} {t.question} {h}", domain=h[:12] or t.domain)
            for t, h in zip(some, HOSTILE * n, strict=False)
        ]
    gold = gold_bound([replace(t, question=t.question) for t in some], "none")
    stages = {
        "base": [grade(g.task, Completion(g.task.id, 0, f"It is {g.task.answer}. 2 + 2 = 5", (1, 2))) for g in gold],
        "sft": spoilt(gold, 0.6, seed + 1),
        "grpo": spoilt(gold, 0.3, seed + 2),
    }
    if hostile:
        stages["grpo"] = [
            grade(
                g.task,
                replace(g.completion, text=g.completion.text.replace("Step 2:", f"{h} 2 + 2 = 5 {h}\nStep 2:")),
            )
            for g, h in zip(stages["grpo"], HOSTILE * n, strict=False)
        ]
    with open_run(root, RECIPE) as run:
        write_json(run.provenance, {"commit": "0" * 40, "command": ["everystep", "run"], "device": "cpu"})
        for stage, graded in stages.items():
            evaluated(run, stage, graded)
        loss = [{"step": i, "loss": 3.0 / i, **({"dev_loss": 2.5 / i} if i % 5 == 0 else {})} for i in range(1, 21)]
        append_jsonl(run.metrics("sft"), loss)
        run.mark_done("sft", {"minutes": 2.0, "steps": 20})
        for step in range(1, steps + 1):
            groups = [
                [replace_sample(g, i) for i, g in enumerate(spoilt([one] * 4, 0.5, 100 * step + k))]
                for k, one in enumerate(gold[:4])
            ]
            scores = score_groups(groups, mix_of(RECIPE.reward))
            write_jsonl(
                run.records(step),
                [
                    record(g, s, step)
                    for group, own in zip(groups, scores, strict=True)
                    for g, s in zip(group, own, strict=True)
                ],
            )
            values = {"step": step, "reward": 0.5 + step / 20, "reward/correctness": 0.4,
                      "reward/format": -0.1, "kl": step / 1000, "entropy": 0.2, "tokens": 70 + step,
                      "dead_groups": 0.2, "live": 1.0, "truncated": 0.0, "contract": 0.5,
                      "format": 0.9}  # fmt: skip
            append_jsonl(run.metrics("grpo"), [values | ({"dev/contract": 0.6} if step % 2 == 0 else {})])
        run.mark_done("grpo", {"minutes": 5.0, "steps": steps})
        run.mark_done("data", {"minutes": 0.1})
    return run


# What becomes of the four completions of each question, with the evidence.
FATES = ((None, ""), ("near-duplicate", ""), ("false claim", "2 + 2 = 5: it is 4, not 5"), ("wrong", "9999"))


def self_made(run: Run, n: int = 12, hostile: bool = False) -> None:
    """Give a run what the stage `self` leaves, but for its probe: of `n` training questions asked four times
    each a good completion, which is kept, its near-duplicate, one with a false claim and a wrong one.
    `hostile`: attacks in questions, in all that a model wrote, in what was kept of it, and in names."""
    asked = SOURCES["worked"](WorkedSource(train=n, dev=10, test=10), "train", 7)
    samples, outcomes, kept = [], [], []
    attack = " ".join([*HOSTILE, ""]) if hostile else ""
    plain = attack.replace(HOSTILE[6], "")  # which no step could hold
    for task in asked:
        question, domain = f"{attack}{task.question}", f"{attack}{task.domain}"
        shown = replace(task, solution=None, question=question, domain=domain)
        work = "\n".join((task.solution or ())[:-1])
        for sample, (why, detail) in enumerate(FATES):
            end = "\n2 + 2 = 5" if why == "false claim" else ""
            answer = detail if why == "wrong" else task.answer
            text = f"{work}{end}\nThe answer is {answer}."
            made = rewrite(grade(task, Completion(task.id, sample, text)))
            if why is None and isinstance(made, Made):
                steps = (*(f"{plain}{s}" for s in made.solution[:-1]), made.solution[-1])
                kept.append(task_row(replace(made.row(shown), solution=steps)))
            written = f"{attack}{text}{attack}"
            graded = grade(shown, Completion(task.id, sample, written, tuple(range(len(written) // 3))))
            samples.append(record(graded) | {"prompt": "none"})
            row = {"id": task.id, "sample": sample, "source": task.source, "level": task.level}
            why, detail = why and f"{attack}{why}", detail and f"{attack}{detail}"
            outcomes.append(row | {"why": why, "detail": detail})
    dropped = Counter(row["why"] for row in outcomes if row["why"] is not None)
    cells = Counter(f"{attack or 'worked'} level {row['level']}" for row in kept)
    table = {
        "prompt": "none",
        "prompts": {name: {"right": right, "of": 8} for name, right in (("steps", 5), ("none", 7))},
        "questions": n,
        "sampled": 4 * n,
        "right": 3 * n,
        "sound": 2 * n,
        "rewritten": 2 * n,
        "near_duplicates": n,
        "kept": len(kept),
        "dropped": dict(dropped.most_common()),
        "levels": {cell: {"before": count + 1, "after": count} for cell, count in sorted(cells.items())},
    }
    if hostile:
        table["prompts"][attack] = {"right": 0, "of": 8}
    write_jsonl(run.self_made("samples"), samples)
    write_jsonl(run.self_made("outcomes"), outcomes)
    write_jsonl(run.self_made("traces"), kept)
    write_json(run.self_made("table"), table)
    run.mark_done("self", {"minutes": 0.5, "kept": len(kept)})


def replace_sample(graded: Graded, sample: int) -> Graded:
    return replace(graded, completion=replace(graded.completion, sample=sample))

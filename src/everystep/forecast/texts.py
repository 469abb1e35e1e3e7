"""What preflight measures without running a model: the data and their gold, the reward on made-up
completions, the judge, lengths, end tokens, chat template, and the prompts of the three stages.

Each function returns a measurement of `measured.py`; what it means is the rules' business.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from everystep.core.files import read_json, read_jsonl
from everystep.core.recipe import Recipe
from everystep.core.record import read_task
from everystep.core.run import Run
from everystep.core.trace import ANSWER_END, END_OF_TURN, gold, prompt, render
from everystep.core.types import Completion, Graded, Prompt, Sampling, Task
from everystep.data.clean import SOLUTION
from everystep.data.prepare import prepare
from everystep.evaluate.harness import evaluate, gold_bound, require_gold
from everystep.evaluate.judged import open_judge
from everystep.forecast.measured import Data, Ends, Ids, Judged, Lengths, Probe, Tasks, Template
from everystep.model.decode import Decoded, OnDone
from everystep.model.tokenizer import Tokenizer
from everystep.score.attacks import honest
from everystep.score.endpoint import unframed
from everystep.score.groups import score_groups
from everystep.score.mix import Mix, mix_of
from everystep.score.rewards import JUDGE
from everystep.train.groups import sample_groups
from everystep.train.sft import examples
from everystep.verify.grade import grade

PROBED = 8  # tasks on which the reward is tried
COMPARED = 16  # tasks whose prompts are compared between stages and with the template
_SAME = 1e-9  # totals that differ by less are equal


def read_data(
    recipe: Recipe, run: Run | None, tokenizer: Tokenizer, say: Callable[[str], None], now: Callable[[], float]
) -> tuple[Tasks, Data]:
    """The run's tasks, read from its directory or else prepared as the run would, and what became of their
    gold: each solution as text, as ids, as text again, parsed and graded. Raises ValueError, one line, for
    data that cannot be prepared."""
    began = now()
    if run is not None and run.done("data") is not None:
        train = {p.stem.removeprefix("train_"): _rows(p) for p in sorted(run.data.glob("train_*.jsonl"))}
        rest = [_rows(run.data / f"{name}.jsonl") for name in ("sft", "dev", "test")]
        tasks = Tasks(train, *rest)
        dropped = [(d["reason"], d["count"]) for rows in read_json(run.data / "dropped.json").values() for d in rows]
    else:
        found = prepare(recipe, lambda text: len(tokenizer.encode(text)), say)
        tasks = Tasks(found.train, found.sft, found.dev, found.test)
        dropped = [(d.reason, d.count) for rows in found.dropped.values() for d in rows]
    why = Counter[str]()
    for reason, count in dropped:
        why[reason] += count
    off = why.pop(SOLUTION, 0)
    graded = [
        _again(g, tokenizer)
        for some in (tasks.sft, tasks.dev, tasks.test)
        for g in gold_bound(some, recipe.model.prompt)
    ]
    failed = [reason for g in graded if (reason := _fails(g)) is not None]
    counts = {
        "train": sum(map(len, tasks.train.values())),
        "sft": len(tasks.sft),
        "dev": len(tasks.dev),
        "test": len(tasks.test),
    }
    read = counts["train"] + counts["dev"] + counts["test"] + sum(why.values())
    first = failed[0] if failed else ""
    return tasks, Data(counts, len(graded), len(failed), first, dict(why), off, read, now() - began)


def lengths(tasks: Tasks, tokenizer: Tokenizer, instruction: str, folder: Path) -> Lengths:
    """How long prompts and gold texts are, in tokens."""
    every = [*(t for some in tasks.train.values() for t in some), *tasks.dev, *tasks.test]
    trained, tested = ([t for t in some if t.solution] for some in ((*tasks.sft, *tasks.dev), tasks.test))
    positions = _config(folder / "config.json").get("max_position_embeddings")
    return Lengths(
        [len(tokenizer.encode_prompt(prompt(t, instruction).text)) for t in every],
        [len(tokenizer.encode_completion(render(gold(t)))) for t in trained],
        [len(tokenizer.encode_completion(render(gold(t)))) for t in tested],
        positions if isinstance(positions, int) else None,
    )


def ends(tasks: Sequence[Task], tokenizer: Tokenizer, instruction: str, folder: Path) -> Ends:
    """What ends a completion, by whom: the sampler, SFT's targets, the checkpoint's files."""
    rows = examples([t for t in tasks if t.solution], tokenizer, instruction)
    stops = {*tokenizer.ends, tokenizer.pad}
    turn = prompt(tasks[0], instruction).text.partition("\n")[0].removesuffix("user")
    declared: dict[str, Ids] = {}
    for name in ("config.json", "generation_config.json"):
        said = _config(folder / name).get("eos_token_id")
        if said is not None:
            declared[name] = tuple(said) if isinstance(said, list) else (said,)
    config = _config(folder / "config.json")
    return Ends(
        stops=tokenizer.ends,
        targets=tuple(sorted({row.completion[-1] for row in rows})),
        inside=sum(bool(stops & set(row.completion[:-1])) for row in rows),
        pad=tokenizer.pad,
        pieces={mark: tuple(tokenizer.encode(mark)) for mark in (turn, END_OF_TURN)},
        declared=declared,
        starts=tuple(rows[0].prompt[:2]) if rows else (),
        declared_start=config.get("bos_token_id"),
        declared_pad=config.get("pad_token_id"),
    )


def template(tasks: Sequence[Task], instruction: str, folder: Path) -> Template:
    """The checkpoint's chat template, where it has one, against our prompts."""
    config = _config(folder / "tokenizer_config.json")
    source, file = config.get("chat_template"), "tokenizer_config.json"
    if (folder / "chat_template.jinja").is_file():
        file = "chat_template.jinja"
        source = (folder / file).read_text(encoding="utf-8", errors="replace")
    if isinstance(source, list):  # several, by name
        source = next((t.get("template") for t in source if t.get("name") == "default"), None)
    if not isinstance(source, str):
        return Template(None)
    start = config.get("bos_token", "<bos>")
    start = start.get("content", "<bos>") if isinstance(start, dict) else start
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    pairs = []
    try:
        made = environment.from_string(source)
        for task in tasks[:COMPARED]:
            ours = prompt(task, instruction).text
            said = [{"role": "user", "content": unframed(ours)}]
            theirs = made.render(messages=said, add_generation_prompt=True, bos_token=start)
            pairs.append((theirs, start + ours))
    except (TemplateError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        return Template(file, error=" ".join(str(error).split()))
    other = [pair for pair in pairs if pair[0] != pair[1]]
    return Template(file, len(pairs), len(other), other[0] if other else None)


def prompts_by_stage(tasks: Sequence[Task], tokenizer: Tokenizer, recipe: Recipe) -> dict[str, list[Ids]]:
    """The ids that each stage gives the model for the same tasks, taken where the stage itself makes them."""
    some, instruction = [t for t in tasks if t.solution][:COMPARED], recipe.model.prompt
    asked: list[str] = []
    nothing = Decoded(np.array([tokenizer.ends[-1]], np.int32), np.zeros(1, np.float32), True)

    def draw(texts: Sequence[str], n: int, sampling: Sampling, on_done: OnDone) -> list[list[Decoded]]:
        asked.extend(texts)
        on_done([(r, nothing) for r in range(len(texts) * n)])
        return [[nothing] * n for _ in texts]

    plain = Mix({"format": 1.0})
    sample_groups(draw, some, recipe.grpo, plain, tokenizer, instruction=instruction, seed=0)
    listener = _Listener([])
    evaluate(listener, some, Sampling(), instruction=instruction, batch=len(some) or 1, on_batch=_ignore)
    return {
        "sft": [tuple(row.prompt) for row in examples(some, tokenizer, instruction)],
        "grpo": [tuple(tokenizer.encode_prompt(text)) for text in asked],
        "evaluate": [tuple(tokenizer.encode_prompt(p.text)) for p in listener.asked],
    }


def unjudged(mix: Mix) -> Mix | None:
    """The mix without the parts that only a judge can give; None where nothing with a weight is left."""
    weights = {name: weight for name, weight in mix.weights.items() if not name.startswith(JUDGE)}
    gates = {k: v for k, v in mix.only_if.items() if k in weights and not v.startswith(JUDGE)}
    return replace(mix, weights=weights, only_if=gates) if any(weights.values()) else None


def probe(tasks: Sequence[Task], recipe: Recipe, tokenizer: Tokenizer) -> Probe:
    """What the reward pays for a right trace, a wrong one and a malformed one of the same task."""
    try:
        mix = unjudged(mix_of(recipe.reward))
        if mix is None:
            return Probe(0)
        found = []
        for task in tasks:
            case = honest(task) if task.solution else None
            if case is not None:
                cut = grade(task, Completion(task.id, 0, case.right.completion.text.removesuffix(ANSWER_END)))
                group = [_numbered(g, i, tokenizer) for i, g in enumerate((case.right, case.wrong, cut))]
                found.append((task, score_groups([group], mix)[0]))
            if len(found) == PROBED:
                break
    except ValueError as error:
        return Probe(0, error=str(error))
    worse: dict[int, list[str]] = {1: [], 2: []}
    for task, scores in found:
        best = scores[0].total
        for i, kind in ((1, "wrong"), (2, "malformed")):
            other = scores[i].total
            if best is not None and other is not None and other >= best - _SAME:
                worse[i].append(f"task {task.id}: {kind} {other:g}, right {best:g}")
    parts = tuple(name for name in mix.names if any(s.parts[name] is not None for _, g in found for s in g))
    blind = tuple(n for n in parts if all(len({s.parts[n] for s in g}) == 1 for _, g in found))
    first = next(iter(worse[1] + worse[2]), "")
    return Probe(len(found), len(worse[1]), len(worse[2]), first, parts, blind)


def ask_judge(recipe: Recipe, graded: Graded | None, now: Callable[[], float]) -> Judged:
    """Ask the judge about one gold trace, where the reward needs one: a few calls, whose answers are not
    kept, so that an answer from an earlier run does not hide a judge that is gone."""
    needed, began = mix_of(recipe.reward).judged, now()
    if not needed or graded is None:
        return Judged(needed, "there is no gold trace to ask about" if needed else None)
    if recipe.judge is None:
        return Judged(needed, "the recipe has no section judge")
    short = {"retries": min(1, recipe.judge.retries), "patience": min(60.0, recipe.judge.patience)}
    with tempfile.TemporaryDirectory() as folder:
        settings = recipe.judge.model_copy(update=short | {"cache": str(Path(folder) / "answers.sqlite")})
        try:
            judge = open_judge(settings, recipe.seed, blind=False)
            (said,) = judge.judge([graded])
        except ValueError as error:
            return Judged(needed, str(error))
    return Judged(needed, judge.void or said.why_not, now() - began)


def gold_of(tasks: Sequence[Task], instruction: str) -> Graded | None:
    """The first task's own solution, graded; None where no task has one."""
    some = [t for t in tasks if t.solution][:1]
    return gold_bound(some, instruction)[0] if some else None


class _Listener:
    """A sampler that says nothing and keeps what it was asked."""

    def __init__(self, asked: list[Prompt]):
        self.asked = asked

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        self.asked.extend(prompts)
        return [[Completion(p.task_id, i, "") for i in range(n)] for p in prompts]


def _ignore(graded: Sequence[Graded]) -> None:
    """Nobody looks at these."""


def _rows(path: Path) -> list[Task]:
    return [read_task(row) for row in read_jsonl(path)[0]]


def _again(g: Graded, tokenizer: Tokenizer) -> Graded:
    """The completion as it comes back from the tokenizer, graded again where it is another one."""
    ids = tokenizer.encode_completion(g.completion.text)
    text = tokenizer.decode(ids)
    return g if text == g.completion.text else grade(g.task, Completion(g.task.id, 0, text, tuple(ids)))


def _fails(g: Graded) -> str | None:
    try:
        require_gold([g])
    except ValueError as error:
        return str(error)
    return None


def _numbered(g: Graded, sample: int, tokenizer: Tokenizer) -> Graded:
    ids = tuple(tokenizer.encode_completion(g.completion.text))
    return replace(g, completion=replace(g.completion, sample=sample, tokens=ids))


def _config(path: Path) -> Mapping[str, Any]:
    """A file of the checkpoint; nothing where it is not there or cannot be read."""
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _refuse(message: str) -> None:
    raise TemplateError(message)

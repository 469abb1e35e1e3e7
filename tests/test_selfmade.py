"""The stage in which a model makes its own SFT data: what is kept and counted, and that it goes on where it
was left, with a scripted model and with the shipped one."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from everystep.core.clock import Deadline
from everystep.core.files import read_json, read_jsonl, write_jsonl
from everystep.core.recipe import Recipe, validate
from everystep.core.record import read_record, read_task, task_row
from everystep.core.run import Run, open_run
from everystep.core.trace import INSTRUCTIONS, gold, parse, prompt, render
from everystep.core.types import Completion, Prompt, Sampling, Stop, Stopped, Task
from everystep.data.prepare import prepare
from everystep.model.tokenizer import Tokenizer
from everystep.show.screen import Screen
from everystep.train.policies import load_policy
from everystep.train.selfmade import QuestionBatch, ask, make, outcome, self_made, traces
from everystep.train.session import Session
from everystep.train.sft import examples
from everystep.verify.grade import grade
from fakes import ScriptedSampler
from model_fixtures import TUNIX

pytestmark = TUNIX
QUIET = Screen(quiet=True)
LONG = {"max_prompt_tokens": 4000, "max_trace_tokens": 2000}  # here a token is a character


def recipe(**changes: Any) -> Recipe:
    own = {"tasks": 30, "samples": 3, "batch": 4, "probe": 6, "least": 1, "max_tokens": 2000} | changes
    return validate(
        {
            "name": "own",
            "data": {"worked": {"train": 90, "dev": 5, "test": 5}, **LONG},
            "sft": {"data": "self", "self_made": own, "traces": 1000},
        },
        "test",
    )


def session(batches: float = float("inf")) -> Session:
    """One that has to be left after so many batches."""
    left = [batches]

    def stop() -> str | None:
        left[0] -= 1
        return "asked to" if left[0] <= 0 else None

    return Session(Deadline(0.0, 1e6, 0.0), stop, now=lambda: 60.0)


def opened(root: Path, how: Recipe) -> Run:
    """A run whose data is there."""
    run = open_run(root, how)
    data = prepare(how, len, lambda text: None)
    write_jsonl(run.data / "sft.jsonl", [task_row(t) for t in data.sft])
    return run


def model(run: Run, used: set[str] | None = None) -> ScriptedSampler:
    """A model that knows the gold solutions, and tells them in five ways, some of them bad. It does well only
    under "examples"."""
    known = {t.id: t for t in (read_task(row) for row in read_jsonl(run.data / "sft.jsonl")[0])}

    def answer(asked: Prompt, sample: int) -> str:
        task = known[asked.task_id]
        if used is not None:
            used.add(asked.text)
        if INSTRUCTIONS["examples"] not in asked.text:
            return "I do not know."
        steps = list(task.solution or ())
        match (int(task.id, 16) + sample) % 5:
            case 0:
                return "\n".join(steps[:-1]) + f"\nThe answer is {task.answer}."
            case 1:
                items = "\n".join(f"{i}. {s}" for i, s in enumerate([*steps[:-1], "That is all."], 1))
                return f"Here's how:\n\n{items}\n\n**Answer:** {task.answer}"
            case 2:
                return "\n".join(steps[:-1]) + f"\n2 + 2 = 5\nThe answer is {task.answer}."
            case 3:
                return f"The answer is {task.answer}."
            case _:
                return "The answer is 123456789."

    return ScriptedSampler(answer)


def digest(run: Run) -> dict[str, str]:
    files = sorted((run.root / "self").iterdir())
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_what_is_kept_is_right_and_what_is_not_is_counted(tmp_path: Path) -> None:
    how = recipe()
    with opened(tmp_path, how) as run:
        used: set[str] = set()
        sampler = model(run, used)
        make(how, run, session(), QUIET, sampler, len)
        table = read_json(run.self_made("table"))
        kept = traces(run)
    assert table["prompt"] == "examples" and table["prompts"]["steps"] == {"right": 0, "of": 6}
    assert table["prompts"]["examples"]["right"] > 0 and table["prompts"]["none"]["right"] == 0
    assert table["questions"] == 30 and table["sampled"] == 90
    assert table["sampled"] > table["right"] > table["sound"] >= table["rewritten"] >= table["kept"] > 0
    assert table["kept"] == len(kept) == sum(n["after"] for n in table["levels"].values())
    assert sum(table["dropped"].values()) == table["sampled"] - table["kept"]
    assert {"wrong", "false claim", "nothing to check"} <= set(table["dropped"])
    dropped = Counter(table["dropped"])
    assert dropped["wrong"] + dropped["could not be graded"] == table["sampled"] - table["right"]
    outcomes, _ = read_jsonl(run.self_made("outcomes"))
    assert Counter(row["why"] for row in outcomes) == Counter(table["dropped"]) + Counter({None: len(kept)})
    assert all(row["detail"] for row in outcomes if row["why"] == "false claim")
    for task in kept:
        text = render(gold(task))
        assert grade(task, Completion(task.id, 0, text)).sound and parse(text) == gold(task)
    assert run.done("self") == {"minutes": 0.0, "kept": len(kept)}
    # Greedy to measure the prompts, then sampled; nothing but training questions is ever asked.
    assert {(n, h.temperature) for _, n, h in sampler.asked} == {(1, 0.0), (3, 0.7)}
    own = [read_task(row) for row in read_jsonl(run.data / "sft.jsonl")[0]]
    assert used <= {prompt(t, name).text for t in own for name in how.sft.self_made.prompts}
    assert all(t.split == "train" for t in own)


def test_no_gold_solution_is_ever_kept_with_a_completion(tmp_path: Path) -> None:
    how = recipe(prompts=["examples"])
    with opened(tmp_path, how) as run:
        make(how, run, session(), QUIET, model(run), len)
        rows = read_jsonl(run.self_made("samples"))[0]
        assert not run.self_made("probe").exists()  # one prompt alone is not measured
    assert len(rows) == 90 and not any("solution" in row["task"] for row in rows)
    assert {row["prompt"] for row in rows} == {"examples"}


@pytest.mark.parametrize("after", [1, 2, 4, 6, 9, 13])
def test_a_stage_that_is_left_and_gone_on_with_ends_in_the_same_bytes(tmp_path: Path, after: int) -> None:
    how = recipe()
    with opened(tmp_path / "straight", how) as run:
        make(how, run, session(), QUIET, model(run), len)
        straight = digest(run)
    with opened(tmp_path / "left", how) as run:
        with pytest.raises(Stopped, match="goes on from there"):
            make(how, run, session(after), QUIET, model(run), len)
        assert run.done("self") is None
        again = model(run)
        make(how, run, session(), QUIET, again, len)
        assert digest(run) == straight
        assert sum(len(p) * n for p, n, _ in again.asked) == 3 * 6 + 90 - _drawn_before(after)


def _drawn_before(batches: int) -> int:
    """Completions of the first batches: for each of three prompts four and two, then three of four tasks."""
    sizes = [4, 2] * 3 + [12] * 7 + [6]
    return sum(sizes[:batches])


@pytest.mark.parametrize("cut", [1, 200, 4000])
@pytest.mark.parametrize("kind", ["probe", "samples"])
def test_a_torn_tail_is_made_again(tmp_path: Path, kind: str, cut: int) -> None:
    how = recipe()
    with opened(tmp_path / "straight", how) as run:
        make(how, run, session(), QUIET, model(run), len)
        straight = digest(run)
    with opened(tmp_path / "killed", how) as run:
        with pytest.raises(Stopped):
            make(how, run, session(4 if kind == "probe" else 9), QUIET, model(run), len)
        path = run.self_made(kind)
        content = path.read_bytes()
        path.write_bytes(content[: max(0, len(content) - cut)])
        make(how, run, session(), QUIET, model(run), len)
        assert digest(run) == straight


def test_a_weak_model_is_refused_in_one_line(tmp_path: Path) -> None:
    how = recipe(least=40)
    with opened(tmp_path, how) as run:
        with pytest.raises(ValueError) as caught:
            make(how, run, session(), QUIET, model(run), len)
        said = str(caught.value)
        assert "\n" not in said and "sft.self_made.least is 40" in said and "sft.data=gold" in said
        kept = read_json(run.self_made("table"))["kept"]
        assert said.startswith(f"self-made SFT data: {kept} traces are kept of 90 completions")
        assert run.done("self") is None


def test_the_stage_says_one_line_with_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = recipe()
    with opened(tmp_path, how) as run:
        make(how, run, session(), Screen(), model(run), len)
        table = read_json(run.self_made("table"))
    (line,) = [x for x in capsys.readouterr().err.split("\n") if x.startswith("self-made traces: 90")]
    for name in ("sampled", "right", "sound", "rewritten", "kept"):
        assert re.search(rf"\b{table[name]}\b", line)
    assert "worked level 1" in line and "->" in line


def test_a_sampler_that_does_not_answer_is_an_error() -> None:
    class Silent:
        def sample(self, prompts: Any, n: int, how: Sampling) -> list[list[Completion]]:
            return [[] for _ in prompts]

    task = prepared()[0]
    with pytest.raises(ValueError, match="it must be 2 each"):
        ask(Silent(), QuestionBatch("none", (task,), 2, Sampling()))


def prepared() -> list[Task]:
    return prepare(recipe(), len, lambda text: None).sft


def test_why_a_completion_cannot_be_used() -> None:
    task = next(t for t in prepared() if t.answer.isdigit())

    def why(text: str, stop: Stop = Stop.END, most: int = 400) -> str:
        found = outcome(grade(task, Completion(task.id, 0, text, stop=stop)), most, len)
        return getattr(found, "reason", "used")

    good = f"1 + 2 = 3\n2 * 3 = 6\nThe answer is {task.answer}."
    assert why(good) == "used" and why(good, most=20) == "too long"
    assert why(good, Stop.LENGTH) == "cut" and why(good + "." * 40_000) == "cut"
    assert why("") == "no answer" and why("The answer is 987654321.") == "wrong"
    assert why(good.replace("= 6", "= 7")) == "false claim"
    assert why(f"We think hard.\nThe answer is {task.answer}.") == "nothing to check"
    assert why("1 + 2 = 3\n" * 200 + f"The answer is {task.answer}.") == "more than can be checked"


def test_with_self_a_source_needs_no_solutions_and_gold_does(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    rows = [{"prompt": f"How many are {i} pens and {i * i} pencils?", "answer": i + i * i} for i in range(2, 60)]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    tree = {"name": "x", "data": {"jsonl": {"path": str(file)}, **LONG}, "sft": {"data": "self"}}
    asked = prepare(validate(tree, "test"), len, lambda text: None).sft
    assert asked and all(t.solution is None and t.split == "train" for t in asked)
    with pytest.raises(ValueError, match="no source has a worked solution"):
        prepare(validate({**tree, "sft": {}}, "test"), len, lambda text: None)


def test_an_unknown_prompt_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="there is no instruction 'polite'; known: none, format, steps"):
        prepare(recipe(prompts=["steps", "polite"]), len, lambda text: None)


# On the shipped model

TINY: dict[str, Any] = {
    "name": "tiny_self",
    "data": {"worked": {"train": 60, "dev": 5, "test": 5, "sft_levels": [1, 2, 3]}, **LONG},
    "sft": {
        "data": "self",
        "self_made": {"tasks": 12, "samples": 2, "batch": 4, "probe": 4, "least": 1, "max_tokens": 64,
                      "prompts": ["steps", "none"]},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Tokenizer]:
    how = validate(TINY, "test")
    policy = load_policy(how, None, "base")
    with opened(tmp_path_factory.mktemp("tiny") / "run", how) as run:
        self_made(how, run, session(), QUIET)
    return run, policy.tokenizer


def test_the_tiny_model_teaches_itself(straight: tuple[Run, Tokenizer]) -> None:
    run, tokenizer = straight
    table = read_json(run.self_made("table"))
    assert table["sampled"] == 24 and table["kept"] >= 1
    kept = traces(run)
    assert len({t.id for t in kept}) == len(kept) == table["kept"]
    rows = examples(kept, tokenizer, "none")
    assert [tokenizer.decode(row.completion) for row in rows] == [render(gold(t)) for t in kept]
    for row in read_jsonl(run.self_made("samples"))[0]:
        assert read_record(row).tokens <= 64


def test_the_tiny_model_s_stage_resumes_to_the_same_bytes(straight: tuple[Run, Tokenizer], tmp_path: Path) -> None:
    how = validate(TINY, "test")
    with opened(tmp_path, how) as run:
        with pytest.raises(Stopped):
            self_made(how, run, session(3), QUIET)
        path = run.self_made("samples")
        path.write_bytes(path.read_bytes()[:-300])  # as if it had been killed while it wrote
        self_made(how, run, session(), QUIET)
        assert digest(run) == digest(straight[0])
        self_made(how, run, session(0), QUIET)  # done is done

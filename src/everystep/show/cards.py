"""What the playground shows, as pieces of HTML: replies side by side, a checked trace, and the records of a run, chosen
by stage, domain, verdict and more.

All text is escaped: pieces are made by `templates/play.html`, claims are marked by `checked.marked`. What a text
claims that is still being written is checked as far as its sentences have ended. Gradio is elsewhere.
"""

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from everystep.core.files import to_json
from everystep.core.record import record
from everystep.core.run import STAGES, Run, read_run
from everystep.core.types import Completion, Graded, Kind, Sampling, Stop, Task, Truth, Verdict, task_id
from everystep.evaluate.calibration import ballots
from everystep.evaluate.failures import Failure
from everystep.show.ask import Phase, Reply
from everystep.show.checked import FILTERS, VERDICTS
from everystep.show.findings import Line, Stage, read_stage
from everystep.verify.grade import check, grade
from everystep.verify.kinds import infer_kind

SHOWN = 6_000  # characters of one text
_SENTENCE = re.compile(r"\n|[.!?;][ \t]")


@dataclass(frozen=True, slots=True)
class Vote:
    """An answer that some of the samples give (equivalent ones are one), how many, and their share of all.
    `answer` None: those that keep no form, which have no vote. `right` None: it is not known."""

    answer: str | None
    n: int
    share: float
    right: bool | None


def asked(question: str, gold: str, known: Sequence[Task] = ()) -> Task:
    """A person's question as a task: that of `known` where it is one of them and nothing else is given as its
    answer, else a new one. Its answer is empty where none is given."""
    question, gold = (_whole(text).strip() for text in (question, gold))
    for task in known:
        if task.question.strip() == question and gold in ("", task.answer):
            return task
    kind = infer_kind(gold) if gold else Kind.TEXT
    return Task(task_id("asked", question, gold), "asked", question, gold, kind, "asked", "")


def answers(task: Task, replies: Sequence[Reply], n: int, sampling: Sampling) -> str:
    """Replies side by side, as far as they are; with their JSON once all are there."""
    over = all(reply.phase in (Phase.DONE, Phase.FAILED) for reply in replies)
    sides = [_side(task, reply, f"a{i}") for i, reply in enumerate(replies)]
    found = _json(answers_json(task, replies, n, sampling)) if over else None
    return str(_template().answers(sides, task.question, n, found, over))


def answers_json(task: Task, replies: Sequence[Reply], n: int, sampling: Sampling) -> dict[str, Any]:
    """The same as plain values: the question, how it was asked, and each model's records and votes."""
    models = []
    for reply in replies:
        group = _group(task, reply)
        models.append(
            {
                "model": reply.model,
                "state": reply.phase.value,
                "why": reply.why or None,
                "seconds": round(reply.seconds, 2),
                "completions": [_row(g) for g in group],
                "votes": votes(group) if len(group) > 1 else None,
            }
        )
    return to_json(
        {
            "question": task.question,
            "answer": task.answer or None,
            "samples": n,
            "sampling": sampling,
            "models": models,
        }
    )


def votes(group: Sequence[Graded]) -> list[Vote]:
    """Which answers the samples give, the most frequent first; those without one in form last."""
    cast = ballots(group)
    found = []
    for vote in dict.fromkeys(v for v in cast if v is not None):
        first = group[cast.index(vote)]
        right = first.verdict.right if first.task.answer else None
        n = cast.count(vote)
        found.append(Vote(first.trace.answer, n, n / len(group), right))
    found.sort(key=lambda vote: -vote.n)
    if n := cast.count(None):
        found.append(Vote(None, n, n / len(group), None))
    return found


def checked_trace(question: str, text: str, gold: str) -> str:
    """A trace from elsewhere, checked; with the verdict on its answer where the right one is given."""
    task = asked(question, gold)
    graded = grade(task, Completion(task.id, 0, text))
    return str(_template().checked(_sample(graded, "c0"), _json({"question": question.strip(), **_row(graded)})))


def records(lines: Sequence[Line], place: str, first: int, total: int, of: int) -> str:
    """Some records, beginning with the one numbered `first` (from 0) of `total` that were chosen out of `of`;
    `place` is their file."""
    shown = [
        {
            "task": line.graded.task,
            "found": line.found,
            "tokens": line.record.tokens,
            "place": f"{place}, line {line.number}",
            "sample": _sample(line.graded, f"r{i}"),
        }
        for i, line in enumerate(lines)
    ]
    return str(_template().records(shown, first, total, of))


def heading(names: Sequence[str], about: str) -> str:
    """What stands on top of the page."""
    return str(_template().heading(names, about))


def note(text: str, wrong: bool = False) -> str:
    """A line for the person; `wrong`: it says what to mend, and is announced."""
    return str(_template().note(text, wrong))


def _whole(text: str) -> str:
    """Half characters, which a browser can send and no tokenizer takes, become question marks."""
    return text.encode("utf-8", "replace").decode()


def _row(graded: Graded) -> dict[str, Any]:
    """A record without what is said elsewhere, and without a verdict where nothing was compared."""
    out = {"task", "parts", "total"} | (set() if graded.task.answer else {"verdict", "lenient", "reason"})
    return {key: value for key, value in record(graded).items() if key not in out}


def _side(task: Task, reply: Reply, name: str) -> dict[str, Any]:
    """One model's column: its first completion in full, the others folded, and what they agree on."""
    over = reply.phase in (Phase.DONE, Phase.FAILED)
    group = _group(task, reply) if over else []
    if group:
        samples = [_sample(g, f"{name}-{i}", _cut(reply, g)) for i, g in enumerate(group)]
    else:
        samples = [_unfinished(task.question, c, f"{name}-{i}") for i, c in enumerate(reply.completions[:1])]
    return {
        "name": name,
        "reply": reply,
        "over": over,
        "tokens": sum(len(c.tokens) for c in reply.completions),
        "ended": sum(c.stop is Stop.END for c in reply.completions),
        "n": len(reply.completions),
        "samples": samples,
        "votes": votes(group) if len(group) > 1 else [],
    }


def _group(task: Task, reply: Reply) -> list[Graded]:
    """The completions, graded. Without a right answer they are compared with each other only: by the kind of
    the first answer in form."""
    group = [_graded(task, c) for c in reply.completions]
    if not task.answer:
        first = next((g.trace.answer for g in group if g.trace.answer and not g.trace.faults), None)
        if first is not None and (kind := infer_kind(first)) is not task.kind:
            return [_graded(replace(task, kind=kind), c) for c in reply.completions]
    return group


_graded = lru_cache(maxsize=256)(grade)
_checked = lru_cache(maxsize=256)(check)


def _cut(reply: Reply, graded: Graded) -> bool:
    """Whether a text was still being written when its model was given up."""
    return reply.phase is Phase.FAILED and graded.completion.stop is Stop.LENGTH


def _sample(graded: Graded, name: str, cut: bool = False) -> dict[str, Any]:
    """A completion that is done: its row as `checked` takes them, and what is said of its answer."""
    row = record(graded)
    text = row["text"]
    if len(text) > SHOWN:
        row["text"] = text[:SHOWN]
    false = next((c.step for c in graded.checks if c.truth is Truth.FALSE), None)
    return {
        "name": name,
        "row": row | {"first_false": false, "score": graded.process.score},
        "flags": row["process"]["flags"],
        "more": max(0, len(text) - SHOWN),
        "faults": [f.value.replace("_", " ") for f in graded.trace.faults],
        "answer": graded.trace.answer,
        "read": graded.trace.lenient,
        "gold": graded.task.answer,
        "verdict": graded.verdict.value,
        "lenient": graded.lenient.value,
        "sign": VERDICTS.get(graded.verdict.value, "?"),
        "right": graded.contract,
        "reason": graded.reason,
        "cut": cut,
    }


def _unfinished(question: str, completion: Completion, name: str) -> dict[str, Any]:
    """A completion that is being written: its claims as far as its sentences have ended."""
    text = completion.text[:SHOWN]
    ends = [m.end() for m in _SENTENCE.finditer(text)]
    done = completion.stop is Stop.END
    _, checks, _ = _checked(question, text if done else text[: ends[-1] if ends else 0])
    return {"name": name, "row": {"text": text, "checks": to_json(checks)}, "done": done}


def _json(value: dict[str, Any]) -> str:
    """As text to be copied: plain ASCII, so that nothing in it can hide."""
    return json.dumps(value, indent=1)


@lru_cache(maxsize=1)
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template("play.html").module


PAGE = 6  # records that are shown at once
ANY = "all"


@dataclass(frozen=True, slots=True)
class Wish:
    """Which records: each part is a value or `ANY`; `words` is looked for in question, answer, text and id,
    whatever its case."""

    stage: str
    domain: str = ANY
    verdict: str = ANY
    failure: str = ANY
    words: str = ""


@dataclass(eq=False, slots=True)
class Book:
    """The records of one run; nothing is read before it is asked for."""

    root: Path
    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    held: dict[str, Stage] = field(default_factory=dict)


def stages(book: Book) -> dict[str, Stage]:
    """The stages that were evaluated, with their records, in their order. Raises ValueError where there is
    none, and for a damaged file."""
    with book.lock:
        if not book.held:
            book.held = _read(read_run(book.root))
        return book.held


def _read(run: Run) -> dict[str, Stage]:
    done = run.evaluations()
    if not done:
        raise ValueError(f"{run.root}: no stage has been evaluated yet; finish the run first")
    main = "test" if any(of == "test" for of, _ in done) else done[0][0]
    done.sort(key=lambda one: (one[0] != main, STAGES.index(one[1]) if one[1] in STAGES else len(STAGES), one))
    return {stage if of == main else f"{of}/{stage}": read_stage(run, of, stage, []) for of, stage in done}


def domains(book: Book) -> list[str]:
    """The domains that any record has, sorted."""
    return sorted({line.graded.task.domain for stage in stages(book).values() for line in stage.lines.values()})


VERDICT_NAMES = tuple(verdict.value for verdict in Verdict)
FAILURES = tuple(failure.value for failure in Failure)


def chosen(book: Book, wish: Wish) -> list[Line]:
    """The records that are as wished, in the order of their file."""
    held = stages(book)
    if wish.stage not in held:
        raise ValueError(f"{book.root}: has not evaluated {wish.stage!r}, only {', '.join(held)}")
    return [line for line in held[wish.stage].lines.values() if _is(line, wish)]


def browse(book: Book, wish: Wish, page: int) -> tuple[str, int, int]:
    """The HTML of a page of the records that are as wished, which page it is (from 0; the nearest to the one
    asked for) and how many there are."""
    found = chosen(book, wish)
    stage = stages(book)[wish.stage]
    pages = max(1, -(-len(found) // PAGE))
    page = min(max(page, 0), pages - 1)
    some: Sequence[Line] = found[page * PAGE : (page + 1) * PAGE]
    return records(some, stage.file, page * PAGE, len(found), len(stage.lines)), page, pages


def _is(line: Line, wish: Wish) -> bool:
    graded = line.graded
    words = wish.words.strip().lower()
    return (
        wish.domain in (ANY, graded.task.domain)
        and wish.verdict in (ANY, graded.verdict.value)
        and wish.failure in (ANY, line.found.failure.value)
        and (not words or any(words in text.lower() for text in _texts(line)))
    )


def _texts(line: Line) -> tuple[str, ...]:
    task = line.graded.task
    return task.question, task.answer, line.graded.completion.text, task.id

"""Questions to models in memory: each model answers one at a time, in the order they came, and whoever asks
is told how far it is, within bounds of time.

A model is whatever can stream (`Stream`). It works in a thread of its own, so that one that hangs keeps
nobody waiting beyond the limit and no other model from answering. How it is shown is `cards`' business.
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from everystep.core.trace import prompt
from everystep.core.types import Completion, Prompt, Sampler, Sampling, Task

# Samples `n` completions of one prompt, hands them over as far as they are from time to time, and returns
# them. What the function that takes them raises ends it.
Told = Callable[[Sequence[Completion]], None]
Stream = Callable[[Prompt, int, Sampling, Told], Sequence[Completion]]

LINE = 8  # questions that may wait for one model
PATIENCE = 5.0  # seconds a question waits behind one that ran out of time
_TICK = 0.1  # seconds between two looks at the clock
_PAUSE = 0.12  # seconds between two states that are told: what comes faster is told together


class Phase(StrEnum):
    """Where a model is with a question."""

    WAITING = "waiting"
    WRITING = "writing"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Reply:
    """How far a model is with a question: what it has written (of a completion that is still being written,
    `stop` says that it was cut), how many questions it answers before this one, the seconds it took, and,
    where it failed, why in words for a person."""

    model: str
    phase: Phase = Phase.WAITING
    completions: tuple[Completion, ...] = ()
    ahead: int = 0
    seconds: float = 0.0
    why: str = ""


@dataclass(eq=False, slots=True)
class _Job:
    """A question in a model's line. `left`: when whoever asked has stopped waiting for the answer."""

    prompt: Prompt
    n: int
    sampling: Sampling
    news: "queue.SimpleQueue[tuple[_Job, Phase, tuple[Completion, ...], str]]"
    left: float | None = None


@dataclass(eq=False, slots=True)
class Model:
    """A model that takes questions; from `open_model`. `instruction` is a key of `trace.INSTRUCTIONS`."""

    name: str
    stream: Stream
    instruction: str
    about: str = ""
    line: "queue.Queue[_Job | None]" = field(default_factory=lambda: queue.Queue(LINE))
    current: _Job | None = None


def whole(sampler: Sampler) -> Stream:
    """A sampler that cannot stream, as one that says nothing until it is done."""

    def stream(prompt: Prompt, n: int, sampling: Sampling, told: Told) -> Sequence[Completion]:
        (group,) = sampler.sample([prompt], n, sampling)
        return group

    return stream


def open_model(name: str, stream: Stream, instruction: str = "none", about: str = "") -> Model:
    """A model that begins to take questions. `about` says what it is, in a few words."""
    model = Model(name, stream, instruction, about)
    threading.Thread(target=_work, args=(model,), name=f"model {name}", daemon=True).start()
    return model


def close_model(model: Model) -> None:
    """Let the model's thread end after the question it is at; what waits in its line is not answered."""
    while True:
        try:
            job = model.line.get_nowait()
        except queue.Empty:
            break
        if job is not None:
            _leave(job)
    if (current := model.current) is not None:
        _leave(current)
    model.line.put(None)


def ask(
    models: Sequence[Model],
    task: Task,
    n: int,
    sampling: Sampling,
    seconds: float,
    stop: threading.Event | None = None,
) -> Generator[tuple[Reply, ...]]:
    """Ask several models at once: how far each of them is, in their order, whenever that has changed (a
    few times a second at most), until all are done or have failed.

    A model has `seconds` to answer once it has begun, and as long to begin. A model that does not come back
    from a question is given up after `PATIENCE` by those behind it. Setting `stop` ends it, and so does
    closing the iterator; the models then stop at the next chance they give.
    """
    news: queue.SimpleQueue[tuple[_Job, Phase, tuple[Completion, ...], str]] = queue.SimpleQueue()
    jobs = [_Job(prompt(task, model.instruction), n, sampling, news) for model in models]
    asked = time.monotonic()
    begun: dict[int, float] = {}
    replies = [Reply(model.name) for model in models]
    try:
        for i, (model, job) in enumerate(zip(models, jobs, strict=True)):
            try:
                model.line.put_nowait(job)
            except queue.Full:
                why = f"{LINE} questions are waiting for {model.name} already; try again in a while"
                replies[i] = replace(replies[i], phase=Phase.FAILED, why=why)
        told = time.monotonic()
        yield tuple(replies)
        while any(_open(reply) for reply in replies):
            before = tuple(replies)
            time.sleep(max(0.0, told + _PAUSE - time.monotonic()))
            heard = _heard(news)
            now = time.monotonic()
            for job, phase, completions, why in heard:
                i = jobs.index(job)
                begun.setdefault(i, now)
                if _open(replies[i]):
                    made = completions or replies[i].completions
                    replies[i] = replace(replies[i], phase=phase, completions=made, why=why, ahead=0)
            for i, (model, reply) in enumerate(zip(models, replies, strict=True)):
                spent = now - begun.get(i, now)
                if _open(reply) and stop is not None and stop.is_set():
                    replies[i] = replace(reply, phase=Phase.FAILED, why="stopped")
                elif reply.phase is Phase.WAITING:
                    replies[i] = _waited(model, jobs[i], reply, now - asked, seconds)
                elif reply.phase is Phase.WRITING and spent > seconds:
                    why = f"{model.name} did not finish within {seconds:.0f} seconds"
                    replies[i] = replace(reply, phase=Phase.FAILED, why=why)
                if not _open(replies[i]):
                    _leave(jobs[i])
                    if _open(before[i]):
                        replies[i] = replace(replies[i], seconds=spent)
            if tuple(replies) != before:
                told = time.monotonic()
                yield tuple(replies)
    finally:
        for job in jobs:
            _leave(job)


def _leave(job: _Job) -> None:
    if job.left is None:
        job.left = time.monotonic()


def _open(reply: Reply) -> bool:
    return reply.phase in (Phase.WAITING, Phase.WRITING)


def _heard(
    news: "queue.SimpleQueue[tuple[_Job, Phase, tuple[Completion, ...], str]]",
) -> list[tuple[_Job, Phase, tuple[Completion, ...], str]]:
    """All that is new, after waiting a moment for the first of it."""
    heard = []
    try:
        heard.append(news.get(timeout=_TICK))
        while True:
            heard.append(news.get_nowait())
    except queue.Empty:
        return heard


def _waited(model: Model, job: _Job, reply: Reply, waited: float, seconds: float) -> Reply:
    """The reply of a model that has not begun yet."""
    with model.line.mutex:
        line = [other for other in model.line.queue if other is not None and other.left is None]
    current, now = model.current, time.monotonic()
    if current is not None and current.left is not None and now - current.left > min(PATIENCE, seconds):
        why = f"{model.name} is still busy with an earlier question that ran out of time"
        return replace(reply, phase=Phase.FAILED, why=f"{why}; wait, or start the playground again")
    if waited > seconds:
        why = f"{model.name} had no time for this question within {seconds:.0f} seconds; try again"
        return replace(reply, phase=Phase.FAILED, why=why)
    ahead = (line.index(job) if job in line else 0) + (current is not None and current is not job)
    return replace(reply, ahead=ahead)


class _LeftError(Exception):
    """Nobody waits for this answer any more."""


def _work(model: Model) -> None:
    """The life of a model's thread: one question after the other."""
    while (job := model.line.get()) is not None:
        if job.left is not None:
            continue
        model.current = job
        try:
            _answer(model, job)
        finally:
            model.current = None


def _answer(model: Model, job: _Job) -> None:
    def told(completions: Sequence[Completion]) -> None:
        if job.left is not None:
            raise _LeftError
        job.news.put((job, Phase.WRITING, tuple(completions), ""))

    job.news.put((job, Phase.WRITING, (), ""))
    try:
        made = tuple(model.stream(job.prompt, job.n, job.sampling, told))
    except _LeftError:
        return
    except Exception as error:
        if not isinstance(error, ValueError):
            traceback.print_exc()
        job.news.put((job, Phase.FAILED, (), _said(model, error)))
    else:
        job.news.put((job, Phase.DONE, made, ""))


def _said(model: Model, error: Exception) -> str:
    """What went wrong with a model, for whoever asked it."""
    if isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED"):
        return f"{model.name} ran out of memory; ask for fewer samples or fewer tokens"
    if isinstance(error, ValueError):
        return f"{model.name}: {' '.join(str(error).split())[:300]}"
    return f"{model.name} failed ({type(error).__name__}); the terminal that runs the playground says more"

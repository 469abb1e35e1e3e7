"""A contender's side of a comparison: get ready, then do the work once for every "go".

A contender is a process of its own, with its own libraries, so that none can slow another down; this file
uses the standard library alone, since it runs in environments without everystep. The other side is
`bench/speed.py`. What is measured is the wall-clock time of one call.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

WARM_UP = 2  # repeats before the first that counts: compilation, and what a first call allocates


class Spec(TypedDict):
    """The work, the same for every contender."""

    kind: str  # rollout, evaluate, grpo or sft
    model: str  # folder of a checkpoint as Hugging Face has them
    prompts: list[list[int]]  # ids, with their beginning of sequence; each distinct
    texts: list[str]  # the same as text, in the chat template, without the beginning of sequence
    tasks: list[dict[str, Any]]  # what is asked, for who checks answers
    group: int  # completions a prompt
    max_tokens: int  # of a completion
    temperature: float  # 0: greedy
    pad: int
    ends: list[int]  # ids that end a completion; none: every row runs to max_tokens
    rank: int  # of the LoRA adapter on all linear layers, and its alpha
    alpha: float
    learning_rate: float
    beta: float  # weight of the divergence from the reference; the reference is computed where it is above 0
    epsilon: float
    micro: int  # rows that go through the forward and backward pass together
    examples: list[list[list[int]]]  # for sft: a prompt's ids and a completion's, one batch a repeat
    batch: int  # for sft: examples a step
    steps: int  # how often the work is done a repeat; seconds and counts are means over these


class Done(TypedDict):
    """What one repeat came to."""

    rows: int  # completions, or training rows
    tokens: int  # of completions, end included, padding not
    longest: int  # completion


Once = Callable[[int], Done]


def stepped(run: Callable[[Callable[[Done], None]], object]) -> Once:
    """What does one step of a training loop a call. `run(pause)` is the loop, which has a thread of its own
    and calls `pause(done)` at the end of every step; it is held there until the next call. It never ends by
    itself: it is left in its last `pause` when the process ends."""
    begin, ended = threading.Semaphore(0), queue.Queue[Any](1)

    def pause(done: Done) -> None:
        ended.put(done)
        begin.acquire()

    def loop() -> None:
        begin.acquire()
        try:
            run(pause)
            raise RuntimeError("the training loop came to its end")
        except BaseException as error:
            ended.put(error)

    threading.Thread(target=loop, daemon=True).start()

    def once(repeat: int) -> Done:
        begin.release()
        done = ended.get()
        if isinstance(done, BaseException):
            raise done
        return done

    return once


def serve(make: dict[str, Callable[[Spec], Once]], about: dict[str, str]) -> None:
    """Be a contender: `make[kind](spec)` gives what does the work, called with the number of the repeat,
    which it may use as a seed. The spec is the file that is the first argument. Libraries may print what they
    like: their standard output goes to standard error."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    spec: Spec = json.loads(Path(sys.argv[1]).read_text())
    began = time.perf_counter()
    once, steps = make[spec["kind"]](spec), spec["steps"]

    def several(repeat: int) -> Done:
        done = [once(repeat * steps + i) for i in range(steps)]
        rows, tokens = (sum(d[name] for d in done) // steps for name in ("rows", "tokens"))
        return {"rows": rows, "tokens": tokens, "longest": max(d["longest"] for d in done)}

    for repeat in range(WARM_UP):
        several(repeat)

    def say(row: dict[str, Any]) -> None:
        out.write(json.dumps(row) + "\n")

    say({"ready": time.perf_counter() - began, "about": about})
    for repeat, line in enumerate(sys.stdin, WARM_UP):
        if line.strip() != "go":
            break
        began = time.perf_counter()
        done = several(repeat)
        say({"seconds": (time.perf_counter() - began) / steps, **done})
    os._exit(0)  # a training loop that waits in its `pause` would keep the process

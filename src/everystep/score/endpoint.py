"""A model behind an OpenAI-compatible endpoint, as a `Sampler`; nothing that it does makes us raise.

Requests run side by side up to a limit, are repeated with growing random pauses where that can help, and end
in "no answer" where it cannot. Answers are kept on disk as they arrive. What is asked, and what the answers
mean, is not its business.
"""

import asyncio
import random
import re
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from everystep.core import recipe
from everystep.core.extras import install_hint
from everystep.core.trace import END_OF_TURN, prompt
from everystep.core.types import Completion, Kind, Prompt, Sampling, Stop, Task
from everystep.score.answers_cache import Answer, Answers, default_path, key, open_answers
from everystep.score.budget import Ledger
from everystep.score.wire import Failure, Key, read_body, read_key, read_status

# What `trace.prompt` puts around a question: Gemma's turns, where an endpoint has messages.
_HEAD, _END, _TAIL = prompt(Task("", "", "", "", Kind.TEXT, "", "")).text.partition(END_OF_TURN)
FORMATS = ("json_schema", "json_object", "plain")  # what servers know differs; tried in this order
_SHAPES = 5  # requests that may be spent on finding out what a server accepts


@dataclass(frozen=True, slots=True)
class Shape:
    """Which optional parts of a request a server accepts, as far as is known."""

    format: str = FORMATS[0]
    limit: str = "max_tokens"
    temperature: bool = True
    seed: bool = True

    def without(self, complaint: str) -> "Shape | None":
        """The shape to try after a refusal with this message: without the part that it names, else with the
        next simpler format; None where nothing is left to try."""
        if self.limit in complaint and self.limit == "max_tokens":
            return replace(self, limit="max_completion_tokens")
        if self.temperature and "temperature" in complaint:
            return replace(self, temperature=False)
        if self.seed and re.search(r"\bseed\b", complaint):
            return replace(self, seed=False)
        at = FORMATS.index(self.format)
        return replace(self, format=FORMATS[at + 1]) if at + 1 < len(FORMATS) else None


@dataclass(slots=True)
class Line:
    """What is shared by all samplers of one endpoint: the settings, the ledger, and what was learned about
    the server. `pause`: seconds before the first repetition, doubled each time, at most `longest_pause`; the
    pause itself is drawn between 0 and that. `give_up`: so many prompts in a row without an
    answer end the batch. `on_answer` is called for each prompt that is done with, answered or not.
    """

    settings: recipe.Judge
    ledger: Ledger
    shape: Shape = field(default_factory=Shape)
    pause: float = 0.5
    longest_pause: float = 60.0
    give_up: int = 8
    on_answer: Callable[[], None] = lambda: None
    jitter: random.Random = field(default_factory=random.Random)


def open_line(settings: recipe.Judge) -> Line:
    """A line to the endpoint of a recipe. Nothing is sent yet.

    Raises ValueError, one line, without a `base_url`, where the variable that should hold the key is not set
    or holds none, and where the file of answers cannot be used.
    """
    if settings.base_url is None:
        raise ValueError("judge.base_url is missing; give the endpoint's address, e.g. http://127.0.0.1:8000/v1")
    read_key(settings.key_variable)
    _library()
    with open_answers(cache_path(settings)):
        pass
    ledger = Ledger(settings.input_price, settings.output_price, settings.max_calls, settings.max_money)
    return Line(settings, ledger, give_up=max(8, settings.concurrency))


def cache_path(settings: recipe.Judge) -> Path:
    """The file of answers of a recipe."""
    return Path(settings.cache).expanduser() if settings.cache else default_path()


def unframed(text: str) -> str:
    """What a prompt says, without the turns of a chat that `trace.prompt` puts around it.

    >>> unframed("<start_of_turn>user\\nWhat is 1 + 1?<end_of_turn>\\n<start_of_turn>model\\n")
    'What is 1 + 1?'
    """
    return text.removeprefix(_HEAD).removesuffix(_END + _TAIL)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A `Sampler` that is told `system` before each prompt and asked for JSON of this schema (None: text)."""

    line: Line
    system: str = ""
    schema: Mapping[str, Any] | None = None

    def sample(self, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
        """Up to `n` completions for each prompt, in order: those for which no answer came are not there, and
        the ledger says why. Tokens are unknown, so `tokens` is empty.

        Raises ValueError for `how.top_k`, which these endpoints do not know.
        """
        if how.top_k:
            raise ValueError("an endpoint knows no top_k; leave it 0")
        asks = [_Ask(self, prompt, replace(how, seed=how.seed + i), i) for prompt in prompts for i in range(n)]
        try:
            answers = _finish(_answer_all(self.line, asks)) if asks else []
        except (ValueError, OSError, sqlite3.Error) as error:  # what `open_line` found in order is so no more
            self.line.ledger.fail("answers or key", " ".join(str(error).split()))
            answers = [None] * len(asks)
        found = [
            None if a is None else Completion(q.prompt.task_id, q.sample, a.text, stop=_stop(a))
            for q, a in zip(asks, answers, strict=True)
        ]
        return [[c for c in found[i * n : (i + 1) * n] if c is not None] for i in range(len(prompts))]


@dataclass(frozen=True, slots=True)
class _Ask:
    """One question: a prompt of a sampler, with the seed of this sample."""

    to: Endpoint
    prompt: Prompt
    how: Sampling
    sample: int

    def messages(self) -> list[dict[str, str]]:
        told = [{"role": "system", "content": self.to.system}] if self.to.system else []
        return [*told, {"role": "user", "content": unframed(self.prompt.text)}]

    def key(self) -> str:
        """What is asked of whom. The form of the request (`Shape`) is none of it: it changes nothing that is
        asked."""
        settings = self.to.line.settings
        how = [self.how.temperature, self.how.top_p, self.how.max_tokens, self.how.seed]
        return key([1, settings.base_url, settings.model, self.messages(), how, self.to.schema])

    def body(self, shape: Shape) -> dict[str, Any]:
        """The request's parameters."""
        body: dict[str, Any] = {"model": self.to.line.settings.model, "messages": self.messages()}
        body[shape.limit] = self.how.max_tokens
        if shape.temperature:
            body["temperature"] = self.how.temperature
        if self.how.top_p != 1.0:
            body["top_p"] = self.how.top_p
        if shape.seed:
            body["seed"] = self.how.seed
        if self.to.schema is not None and shape.format == "json_schema":
            inner = {"name": "verdict", "strict": True, "schema": dict(self.to.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": inner}
        elif self.to.schema is not None and shape.format == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def tokens(self) -> int:
        """About how many tokens the prompt has, rather too many: three bytes make one."""
        return sum(len(m["content"].encode("utf-8", "replace")) for m in self.messages()) // 3 + 16


def _stop(answer: Answer) -> Stop:
    return Stop.LENGTH if answer.cut else Stop.END


def _finish(job: Coroutine[Any, Any, list[Answer | None]]) -> list[Answer | None]:
    """Run to the end, also where this thread already runs an event loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(job)
    with ThreadPoolExecutor(1) as worker:
        return worker.submit(asyncio.run, job).result()


async def _answer_all(line: Line, asks: Sequence[_Ask]) -> list[Answer | None]:
    """The answers, from disk where they are there; each question is asked once, however often it occurs."""
    keys = [ask.key() for ask in asks]
    first: dict[str, _Ask] = {}
    for k, ask in zip(keys, asks, strict=True):
        first.setdefault(k, ask)
    found: dict[str, Answer] = {}
    with open_answers(cache_path(line.settings)) as kept:
        for k in first:
            if (known := kept.get(k)) is not None:
                found[k] = known
                line.ledger.cached += 1
        open_asks = [(k, ask) for k, ask in first.items() if k not in found]
        if open_asks:
            await _ask_all(_Batch(line, kept, found, iter(open_asks)))
    return [found.get(k) for k in keys]


@dataclass(slots=True)
class _Batch:
    """The questions of one call on their way. `over`: why no more are asked; `in_a_row`: how many in a row
    have got no answer."""

    line: Line
    kept: Answers
    found: dict[str, Answer]
    open_asks: Iterator[tuple[str, _Ask]]
    over: str = ""
    in_a_row: int = 0


def _library() -> Any:
    """The client library, which takes half a second to load and which not everybody needs."""
    try:
        import openai
    except ImportError:
        raise ValueError(f"a judge at an endpoint needs the openai client: {install_hint('judge')}") from None
    return openai


async def _ask_all(batch: _Batch) -> None:
    """Ask the open questions, at most so many at a time, for at most so long."""
    settings, ledger, library = batch.line.settings, batch.line.ledger, _library()
    token = read_key(settings.key_variable)
    async with library.AsyncOpenAI(
        api_key=token.value or "none", base_url=settings.base_url, timeout=settings.timeout, max_retries=0
    ) as client:
        workers = [asyncio.create_task(_work(batch, client, token)) for _ in range(settings.concurrency)]
        _, late = await asyncio.wait(workers, timeout=settings.patience)
        for worker in late:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if late:
        batch.over = f"a batch may take {settings.patience:g} s"
        ledger.fail("patience", batch.over)
    left = sum(1 for _ in batch.open_asks)
    if left:
        ledger.failures["not asked"] += left


async def _work(batch: _Batch, client: Any, token: Key) -> None:
    """One of the workers that share the questions of a batch."""
    line = batch.line
    while not batch.over:
        item = next(batch.open_asks, None)
        if item is None:
            return
        name, ask = item
        try:
            answer = await _answer(batch, client, ask, token)
        except Exception as error:  # whatever a server can make a library do, training goes on
            line.ledger.fail(type(error).__name__, token.hide(str(error))[:200])
            answer = None
        line.on_answer()
        if answer is None:
            batch.in_a_row += 1
            if batch.in_a_row >= line.give_up and not batch.over:
                batch.over = f"{batch.in_a_row} prompts in a row got no answer"
            continue
        batch.in_a_row = 0
        batch.found[name] = answer
        try:
            batch.kept.put(name, answer)
        except sqlite3.Error as error:  # a full disk: the answer is used, and lost with the process
            line.ledger.fail("not kept", str(error))


async def _answer(batch: _Batch, client: Any, ask: _Ask, token: Key) -> Answer | None:
    """One question until it is answered, or no answer is to be had; every failure is counted."""
    line, ledger = batch.line, batch.line.ledger
    shape, tries, shapes = line.shape, 0, 0
    while True:
        if not await _affordable(ledger, ask):
            batch.over = "the budget is spent"
            ledger.fail("budget", batch.over)
            return None
        result = await _request(client, ask, shape, ledger, token)
        if isinstance(result, Answer):
            line.shape = shape
            return result
        ledger.fail(result.kind, result.said)
        if result.refused and shapes < _SHAPES:
            other = shape.without(result.said)
            if other is None:
                return None
            shape, shapes = other, shapes + 1
            continue
        if result.over:
            batch.over = result.said
        tries += 1
        if not result.again or tries > line.settings.retries or batch.over:
            return None
        await asyncio.sleep(_pause(line, tries, result.wait))


async def _affordable(ledger: Ledger, ask: _Ask) -> bool:
    """Whether the budget has room for this question; waits while that depends on requests under way."""
    cost = ledger.price(ask.tokens(), ask.how.max_tokens)
    while not ledger.allows(cost):
        if not ledger.under_way or (ledger.max_calls is not None and ledger.calls >= ledger.max_calls):
            return False
        await asyncio.sleep(0.02)
    return True


async def _request(client: Any, ask: _Ask, shape: Shape, ledger: Ledger, token: Key) -> Answer | Failure:
    """Send one request."""
    library, timeout = _library(), ask.to.line.settings.timeout
    cost = ledger.price(ask.tokens(), ask.how.max_tokens)
    ledger.send(cost)
    began = time.monotonic()
    try:
        # The client's own limit is for a pause between two bytes; a server that trickles never reaches it.
        async with asyncio.timeout(timeout):
            # As text: reading it into the client's own types costs more than all the rest, and trusts it.
            body = await client.post("/chat/completions", body=ask.body(shape), cast_to=str)
    except library.APIStatusError as error:
        return read_status(error.status_code, error.response.text, error.response.headers, token)
    except (library.APITimeoutError, TimeoutError):
        return Failure("time-out", f"no answer within {timeout:g} s", again=True)
    except library.APIConnectionError as error:
        return Failure("connection", token.hide(str(error.__cause__ or error))[:200], again=True)
    finally:
        ledger.settle(cost)
    read = read_body(body, ask.tokens(), time.monotonic() - began, token)
    if isinstance(read, Failure):  # it may have been paid for all the same
        ledger.prompt_tokens += ask.tokens()
        return read
    answer, counted = read
    ledger.earn(answer.prompt_tokens, answer.completion_tokens, answer.seconds)
    ledger.estimated += not counted
    return answer


def _pause(line: Line, tries: int, wait: float | None) -> float:
    """Seconds before the next try: what the server asks for, up to a bound, and a little more so that not all
    come back at once; else a random share of an interval that doubles each time ("full jitter")."""
    if wait is not None:
        return min(wait, line.longest_pause) + line.jitter.uniform(0, line.pause)
    return line.jitter.uniform(0, min(line.longest_pause, line.pause * 2**tries))

"""The playground without its page: models answer one at a time and within their time, what they write is
checked as it appears, hostile text stays text, and requests are bounded."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from everystep.core.files import append_jsonl
from everystep.core.types import Completion, Prompt, Sampling, Stop, Task, Verdict
from everystep.show.ask import (
    LINE,
    Model,
    Phase,
    Reply,
    Stream,
    Told,
    ask,
    close_model,
    open_model,
    whole,
)
from everystep.show.cards import (
    ANY,
    PAGE,
    Book,
    Wish,
    answers,
    answers_json,
    asked,
    browse,
    checked_trace,
    chosen,
    domains,
    heading,
    note,
    stages,
    votes,
)
from everystep.show.playground import BODY, guarded
from everystep.verify.grade import grade
from fakes import ScriptedSampler
from run_fixtures import HOSTILE, finished, tasks

GREEDY = Sampling(max_tokens=400)
QUESTION = "Rosa has 12 apples and buys 30 more. How many has she?"
GOOD = "<reasoning>\nStep 1: 12 + 30 = 42.\nTherefore, she has 42.\n</reasoning>\n<answer>42</answer>"
BAD = "<reasoning>\nStep 1: 12 + 30 = 43.\nTherefore, she has 43.\n</reasoning>\n<answer>43</answer>"
UNSEEN = re.compile("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x00\x1b\ud800-\udfff\u2028]")


class Seen(HTMLParser):
    """The tags, attributes and text that a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@contextmanager
def opened(*streams: Stream) -> Iterator[list[Model]]:
    models = [open_model(f"model{i}", stream) for i, stream in enumerate(streams)]
    yield models
    for model in models:
        close_model(model)


def says(text: str) -> Stream:
    return whole(ScriptedSampler(lambda prompt, sample: text))


def typed(text: str, step: int = 5) -> Stream:
    """A stream that writes so many characters at a time."""

    def stream(prompt: Prompt, n: int, sampling: Sampling, told: Told) -> Sequence[Completion]:
        for end in range(step, len(text), step):
            told([Completion(prompt.task_id, i, text[:end], stop=Stop.LENGTH) for i in range(n)])
        return [Completion(prompt.task_id, i, text) for i in range(n)]

    return stream


class Hanging:
    """A stream that says nothing until it is let go."""

    def __init__(self, text: str = GOOD) -> None:
        self.text, self.go, self.begun = text, threading.Event(), threading.Event()

    def __call__(self, prompt: Prompt, n: int, sampling: Sampling, told: Told) -> Sequence[Completion]:
        self.begun.set()
        assert self.go.wait(30)
        return [Completion(prompt.task_id, i, self.text) for i in range(n)]


def last(states: Iterator[tuple[Reply, ...]]) -> tuple[Reply, ...]:
    *_, end = states
    return end


def task(question: str = QUESTION, gold: str = "42") -> Task:
    return asked(question, gold)


# Asking


def test_models_answer_side_by_side() -> None:
    with opened(says(GOOD), typed(BAD)) as models:
        states = list(ask(models, task(), 1, GREEDY, 20))
    assert [r.phase for r in states[0]] == [Phase.WAITING, Phase.WAITING]
    assert [r.phase for r in states[-1]] == [Phase.DONE, Phase.DONE]
    assert [r.completions[0].text for r in states[-1]] == [GOOD, BAD]
    assert [r.model for r in states[-1]] == ["model0", "model1"]


def test_a_model_has_one_question_at_a_time_and_everybody_gets_their_own_answer() -> None:
    inside, most = 0, 0

    def echo(prompt: Prompt, n: int, sampling: Sampling, told: Told) -> Sequence[Completion]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.02)
        told([Completion(prompt.task_id, 0, "", stop=Stop.LENGTH)])
        inside -= 1
        return [Completion(prompt.task_id, 0, f"asked: {prompt.text}")]

    found: dict[int, str] = {}
    with opened(echo) as models:

        def user(i: int) -> None:
            end = last(ask(models, task(f"How much is {i} + {i}?"), 1, GREEDY, 20))
            found[i] = end[0].completions[0].text

        users = [threading.Thread(target=user, args=(i,)) for i in range(6)]
        for one in users:
            one.start()
        for one in users:
            one.join(20)
    assert most == 1 and len(found) == 6
    assert all(f"How much is {i} + {i}?" in text for i, text in found.items())


def test_a_model_that_hangs_is_given_up_and_keeps_nobody_else() -> None:
    hanging = Hanging()
    with opened(hanging, says(GOOD)) as models:
        began = time.monotonic()
        stuck, well = last(ask(models, task(), 1, GREEDY, 2))
        assert time.monotonic() - began < 10
        assert stuck.phase is Phase.FAILED and "model0 did not finish within 2 seconds" in stuck.why
        assert well.phase is Phase.DONE
        # Those behind it are told at once why, not after a whole time of waiting.
        stuck, well = last(ask(models, task(), 1, Sampling(max_tokens=400), 20))
        assert "still busy with an earlier question" in stuck.why and well.phase is Phase.DONE
        hanging.go.set()
        assert last(ask(models, task(), 1, GREEDY, 20))[0].phase is Phase.DONE


def test_who_waits_is_told_how_long_the_line_is_and_a_full_one_is_refused() -> None:
    hanging = Hanging()
    with opened(hanging) as models:
        waiting = [ask(models, task(), 1, GREEDY, 20) for _ in range(LINE + 1)]
        next(waiting[0])
        assert hanging.begun.wait(10)
        for one in waiting[1:]:
            next(one)
        assert next(waiting[3])[0].ahead == 3
        full = last(ask(models, task(), 1, GREEDY, 20))
        assert full[0].phase is Phase.FAILED and f"{LINE} questions are waiting" in full[0].why
        waiting[1].close()  # who leaves is not waited for
        hanging.go.set()
        assert last(waiting[3])[0].phase is Phase.DONE


def test_a_model_that_is_given_up_stops_where_it_can() -> None:
    told_off = threading.Event()

    def endless(prompt: Prompt, n: int, sampling: Sampling, told: Told) -> Sequence[Completion]:
        try:
            for k in range(2_000):
                time.sleep(0.01)
                told([Completion(prompt.task_id, 0, "x" * k, stop=Stop.LENGTH)])
        except Exception:
            told_off.set()
            raise
        raise AssertionError("was never told to stop")

    with opened(endless) as models:
        end = last(ask(models, task(), 1, GREEDY, 0.3))[0]
        assert end.phase is Phase.FAILED and end.completions[0].text.startswith("xx")  # what there was stays
        assert told_off.wait(10)
        told_off.clear()
        leaving = ask(models, task(), 1, GREEDY, 20)
        while next(leaving)[0].phase is not Phase.WRITING:
            pass
        leaving.close()
        assert told_off.wait(10)
        told_off.clear()
        stop = threading.Event()
        states = ask(models, task(), 1, GREEDY, 20, stop)
        while next(states)[0].phase is not Phase.WRITING:
            pass
        stop.set()
        assert last(states)[0].why == "stopped"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("the prompt is too long\nfor it"), "model0: the prompt is too long for it"),
        (MemoryError(), "ran out of memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: out"), "ran out of memory"),
        (RuntimeError("inner workings"), "failed (RuntimeError); the terminal"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_model_that_fails_says_so_and_goes_on(
    error: Exception, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    raised = [error]

    def stream(prompt: Prompt, n: int, sampling: Sampling, told: Told) -> Sequence[Completion]:
        if raised:
            raise raised.pop()
        return [Completion(prompt.task_id, 0, GOOD)]

    with opened(stream) as models:
        end = last(ask(models, task(), 1, GREEDY, 20))[0]
        assert end.phase is Phase.FAILED and words in end.why and "inner" not in end.why
        assert last(ask(models, task(), 1, GREEDY, 20))[0].phase is Phase.DONE
    assert (type(error).__name__ in capfd.readouterr().err) == (not isinstance(error, ValueError))


# What is shown


def shown(text: str, phase: Phase = Phase.DONE, gold: str = "42", stop: Stop = Stop.END) -> str:
    one = Reply("tiny", phase, (Completion("t", 0, text, stop=stop),))
    return answers(task(gold=gold), [one], 1, GREEDY)


def test_claims_are_checked_as_their_sentences_end() -> None:
    writing = [shown(BAD[:n], Phase.WRITING, stop=Stop.LENGTH) for n in range(len(BAD))]
    marked = ['class="claim false"' in html for html in writing]
    assert marked == sorted(marked) and True in marked  # once marked it stays marked
    first = marked.index(True)
    assert BAD[:first].endswith("= 43.\n")  # not at "= 4", which nobody has claimed
    assert not any('class="claim false"' in shown(GOOD[:n], Phase.WRITING, stop=Stop.LENGTH) for n in range(99))
    assert "not in form" not in "".join(writing) and "json-answers" not in "".join(writing)


@pytest.mark.parametrize(
    ("text", "gold", "words"),
    [
        (GOOD, "42", "✓ right in form: 42"),
        (BAD, "42", "✗ wrong: 43"),
        (GOOD, "", "answer 42"),
        ("It is 42.", "42", "✗ no answer in form: no reasoning, no answer, outside"),
        ("It is 42.", "", "✗ not in form: no reasoning, no answer, outside (read as 42)"),
        (f"{GOOD} Yes.", "42", "✗ right, but not in form: outside"),
    ],
)
def test_the_verdict_is_in_words(text: str, gold: str, words: str) -> None:
    seen = " ".join(Seen(shown(text, gold=gold)).text.split())
    assert words in seen and "claim" in seen


def test_reasons_have_names_of_their_own() -> None:
    group = tuple(Completion("t", i, text) for i, text in enumerate([GOOD, BAD, GOOD]))
    html = answers(task(), [Reply("a", Phase.DONE, group), Reply("b", Phase.DONE, group)], 3, GREEDY)
    found = Seen(html).attributes
    names = [value for name, value in found if name == "id"]
    described = [value for name, value in found if name == "aria-describedby"]
    assert len(names) == len(set(names)) and len(described) >= 6 and set(described) <= set(names)


def test_samples_vote() -> None:
    texts = [GOOD, BAD, GOOD.replace(">42<", ">42 apples<"), "nothing", BAD.replace("43", "44")]

    def cast(gold: str) -> list[tuple[str | None, int, bool | None]]:
        made = [grade(task(gold=gold), Completion("t", i, t)) for i, t in enumerate(texts)]
        return [(v.answer, v.n, v.right) for v in votes(made)]

    assert cast("42") == [("42", 2, True), ("43", 1, False), ("44", 1, False), (None, 1, None)]
    group = tuple(Completion("t", i, t) for i, t in enumerate(texts))
    html = answers(task(gold=""), [Reply("tiny", Phase.DONE, group)], 5, Sampling(0.7))
    assert "Most say 42: 2 of 5 (40 %)" in " ".join(Seen(html).text.split())
    none = answers(task(), [Reply("tiny", Phase.DONE, (group[3], replace(group[3], sample=1)))], 2, GREEDY)
    assert "no sample has an answer in form" in Seen(none).text


def test_the_json_is_the_result() -> None:
    replies = [Reply("tiny", Phase.DONE, (Completion("t", 0, BAD, (1, 2)),), seconds=1.234)]
    found = json.loads(re.sub(r"^.*?<pre[^>]*>|</pre>.*$", "", Seen_pre(answers(task(), replies, 1, GREEDY))))
    assert found == answers_json(task(), replies, 1, GREEDY)
    (model,) = found["models"]
    (row,) = model["completions"]
    assert found["question"] == QUESTION and found["sampling"]["max_tokens"] == 400
    assert row["text"] == BAD and row["verdict"] == "wrong" and row["checks"][0]["value"] == "42"
    bare = answers_json(task(gold=""), replies, 1, GREEDY)["models"][0]["completions"][0]
    assert "verdict" not in bare and bare["answer"] == "43"


def Seen_pre(html: str) -> str:
    """The text of the page's one `pre`."""
    (inner,) = re.findall(r"<pre[^>]*>(.*?)</pre>", html, re.DOTALL)
    return Seen(inner).text


def test_a_foreign_trace_is_checked() -> None:
    seen = Seen(checked_trace("A box has 3 rows of 6.", "3 * 6 = 18\n18 * 71 = 1279", ""))
    assert "✗ 1278" in seen.text and "2 claims checked, 1 false" in seen.text
    assert "71 has no source" in seen.text and "not in form" not in seen.text
    seen = Seen(checked_trace(QUESTION, GOOD, "42"))
    assert "✓ right in form" in seen.text


def test_a_question_that_is_known_has_its_answer() -> None:
    known = tasks(3)
    assert asked(f" {known[1].question}\n", "", known) is known[1]
    assert asked(known[1].question, known[1].answer, known) is known[1]
    assert asked(known[1].question, "17 rabbits", known).answer == "17 rabbits"
    assert asked("Why?", "", known).answer == ""


@pytest.mark.parametrize("attack", HOSTILE)
def test_attacks_stay_text(attack: str, tmp_path: Path) -> None:
    text = f"<reasoning>\nStep 1: {attack} 2 + 2 = 5 {attack}.\n</reasoning>\n<answer>{attack}</answer>"
    one = Completion("t", 0, text)
    asked_ = replace(task(f"{attack} How?"), answer=attack)
    group = (one, replace(one, sample=1))
    pages = [
        answers(asked_, [Reply(attack, Phase.DONE, (one,))], 1, GREEDY),
        answers(asked_, [Reply(attack, Phase.DONE, group)], 2, GREEDY),
        answers(asked_, [Reply(attack, Phase.WRITING, (replace(one, stop=Stop.LENGTH),))], 1, GREEDY),
        answers(asked_, [Reply(attack, Phase.FAILED, group, why=attack)], 2, GREEDY),
        answers(task(attack, ""), [Reply(attack, Phase.DONE, group)], 2, GREEDY),
        checked_trace(attack, text, attack),
        heading([attack], attack),
        note(attack, wrong=True),
    ]
    allowed = {"div", "p", "section", "article", "header", "h1", "h3", "span", "b", "i", "ul", "li",
               "details", "summary", "button", "pre", "meter"}  # fmt: skip
    for html in pages:
        seen = Seen(html)
        assert set(seen.tags) <= allowed
        names = {name for name, _ in seen.attributes}
        assert not {n for n in names if n.startswith("on") or n in ("style", "src", "href", "srcset")}
        assert not UNSEEN.search(html)
        assert "49" not in seen.text or "{{" not in attack
    if not UNSEEN.search(attack):
        assert attack in Seen(pages[0]).text


def test_long_texts_are_cut_in_the_page_only() -> None:
    long = GOOD.replace("Therefore", "and so on " * 2_000 + "\nTherefore")
    html = shown(long)
    assert "more characters)" in html and len(Seen(html).text) < 2 * len(long) + 20_000


# Records


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    return Book(finished(tmp_path_factory.mktemp("runs") / "plain", n=24).root, "plain")


def test_records_are_chosen(book: Book) -> None:
    held = stages(book)
    assert list(held) == ["base", "sft", "grpo"] and len(domains(book)) > 2
    for stage, of in held.items():
        every = chosen(book, Wish(stage))
        assert len(every) == len(of.lines) == 24
        parts = [chosen(book, Wish(stage, verdict=v.value)) for v in Verdict]
        assert sum(len(p) for p in parts) == 24
        assert all(line.graded.verdict.value == v.value for v, p in zip(Verdict, parts, strict=True) for line in p)
        assert sum(len(chosen(book, Wish(stage, domain=d))) for d in domains(book)) == 24
    one = held["grpo"].lines[next(iter(held["grpo"].lines))]
    assert chosen(book, Wish("grpo", words=one.graded.task.id)) == [one]
    assert chosen(book, Wish("grpo", words="no such words")) == []
    with pytest.raises(ValueError, match="has not evaluated 'other'"):
        chosen(book, Wish("other"))


def test_records_come_in_pages(book: Book) -> None:
    seen = set()
    for page in range(4):
        html, at, pages = browse(book, Wish("sft"), page)
        assert (at, pages) == (page, 4)
        found = re.findall(r"records.jsonl, line (\d+)", html)
        assert len(found) == PAGE
        seen |= set(found)
    assert len(seen) == 24
    assert browse(book, Wish("sft"), 99)[1] == 3 and browse(book, Wish("sft"), -3)[1] == 0
    html, at, pages = browse(book, Wish("sft", words="no such words"), 3)
    assert (at, pages) == (0, 1) and "none of 24 records is like that" in html


def test_damage_is_said(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", n=6)
    append_jsonl(run.evaluation_records("test", "sft"), [{"text": "x"}])
    with pytest.raises(ValueError, match=r"records.jsonl:7: this row is no record"):
        browse(Book(run.root, "run"), Wish("sft", ANY), 0)


# What comes in


def answered(headers: dict[str, str], method: str = "POST", local: bool = True) -> tuple[int, dict[str, str], str]:
    """What the guard answers to a request, before an application that says "inside"."""

    async def inside(scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(k.encode(), v.encode()) for k, v in headers.items()]
    scope = {"type": "http", "method": method, "headers": raw}
    asyncio.run(guarded(inside, local)(scope, None, send))  # pyright: ignore[reportArgumentType]
    return (
        sent[0]["status"],
        {k.decode(): v.decode() for k, v in sent[0]["headers"]},
        sent[1]["body"].decode(),
    )


def test_requests_are_bounded_and_for_this_machine() -> None:
    here = {"host": "127.0.0.1:7860"}
    status, headers, body = answered(here | {"content-length": "100"})
    assert (status, body) == (200, "inside")
    policy = headers["content-security-policy"]
    assert "http" not in policy and "script-src-attr 'none'" in policy and "connect-src" not in policy
    assert policy.startswith("default-src 'self'")
    assert answered(here | {"content-length": str(BODY + 1)})[0] == 413
    assert answered(here)[0] == 411 and answered(here | {"content-length": "-1"})[0] == 411
    assert answered(here, "GET")[0] == 200
    for host in ("localhost:7860", "[::1]:7860", "localhost"):
        assert answered({"host": host}, "GET")[0] == 200
    assert answered({"host": "evil.example:7860"}, "GET")[0] == 421 and answered({}, "GET")[0] == 421
    assert answered({"host": "lan.example:7860"}, "GET", local=False)[0] == 200

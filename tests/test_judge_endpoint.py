"""The endpoint against a real server on loopback that misbehaves: nothing raises, nothing becomes a number
that was not answered, nothing that was paid for is lost, and the key stays where it is."""

import asyncio
import json
import logging
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from everystep.core import recipe
from everystep.core.strict import RecipeError
from everystep.core.trace import prompt
from everystep.core.types import Completion, Graded, Kind, Prompt, Sampling, Task
from everystep.score.answers_cache import Answer, open_answers
from everystep.score.budget import Ledger
from everystep.score.endpoint import Endpoint, Line, Shape, open_line
from everystep.score.judge import Judge, judge_of
from everystep.score.rubric import schema
from everystep.score.wire import Key, read_body, read_key
from everystep.verify.grade import grade
from judge_server import Reply, Script, Server, serving, sound, sound_reply, user

SECRET = "sk-test-0123456789abcdefSECRET"
FORM = schema(["coherence"])
HOW = Sampling(max_tokens=100)
GOOD = '{"rationale": "ok", "coherence": 4}'


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("JUDGE_KEY", SECRET)


def settings(server: Server, folder: Path, values: Mapping[str, Any] | None = None) -> recipe.Judge:
    own = {
        "base_url": server.url,
        "model": "stub",
        "key_variable": "JUDGE_KEY",
        "timeout": 10.0,
        "cache": str(folder / "answers.sqlite"),
    }
    return recipe.Judge(**(own | dict(values or {})))


def line(server: Server, folder: Path, values: Mapping[str, Any] | None = None) -> Line:
    """A line that does not wait long."""
    opened = open_line(settings(server, folder, values))
    opened.pause, opened.longest_pause, opened.jitter = 0.01, 0.5, random.Random(0)
    return opened


def prompts(count: int) -> list[Prompt]:
    return [Prompt(f"t{i}", f"Question {i}. Score the trace on: coherence. Reply") for i in range(count)]


def texts(opened: Line, asked: list[Prompt]) -> list[str | None]:
    groups = Endpoint(opened, "Be strict.", FORM).sample(asked, 1, HOW)
    assert [c.task_id for group in groups for c in group] == [
        p.task_id for p, group in zip(asked, groups, strict=True) if group
    ]
    return [group[0].text if group else None for group in groups]


def first(bad: Reply, times: int = 1) -> Script:
    """Bad at the first `times` requests of each prompt, then good."""
    return lambda request, before: bad if before < times else Reply(GOOD)


# What goes out


def test_what_is_asked(tmp_path: Path) -> None:
    with serving(lambda request, before: Reply(GOOD)) as server:
        opened = line(server, tmp_path)
        framed = prompt(Task("t", "", "What is 1 + 1?", "", Kind.TEXT, "", ""))
        (group,) = Endpoint(opened, "Be strict.", FORM).sample([framed], 2, Sampling(0.5, 0.9, 0, 77, 5))
        assert [(c.task_id, c.sample, c.text) for c in group] == [("t", 0, GOOD), ("t", 1, GOOD)]
        assert sorted(r["seed"] for r in server.asked) == [5, 6]
        request = server.asked[0]
        assert request["messages"] == [
            {"role": "system", "content": "Be strict."},
            {"role": "user", "content": "What is 1 + 1?"},
        ]
        assert (request["temperature"], request["top_p"], request["max_tokens"]) == (0.5, 0.9, 77)
        form = request["response_format"]
        assert form["type"] == "json_schema" and form["json_schema"]["strict"] is True
        assert next(iter(form["json_schema"]["schema"]["properties"])) == "rationale"
        assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
        with pytest.raises(ValueError, match="top_k"):
            Endpoint(opened).sample([framed], 1, Sampling(top_k=5))


def test_no_more_at_once_than_allowed(tmp_path: Path) -> None:
    with serving(lambda request, before: Reply(GOOD, wait=0.05)) as server:
        assert texts(line(server, tmp_path, {"concurrency": 5}), prompts(20)) == [GOOD] * 20
        assert server.most_at_once == 5


def test_it_works_where_an_event_loop_runs_already(tmp_path: Path) -> None:
    with serving(lambda request, before: Reply(GOOD)) as server:
        opened = line(server, tmp_path)

        async def notebook() -> list[str | None]:
            return texts(opened, prompts(2))

        assert asyncio.run(notebook()) == [GOOD, GOOD]


# What comes back

PASSING = {
    "429 with Retry-After": Reply(status=429, headers={"Retry-After": "0.3"}, body="{}"),
    "429 with a date": Reply(status=429, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, body="{}"),
    "429 with nonsense": Reply(status=429, headers={"Retry-After": "soon"}, body="slow down"),
    "408": Reply(status=408, body="{}"),
    "409": Reply(status=409, body="{}"),
    "500": Reply(status=500, body='{"error": {"message": "boom"}}'),
    "502 with a page": Reply(status=502, body="<html>Bad gateway</html>"),
    "503": Reply(status=503, body=""),
    "cut connection": Reply(GOOD, cut=True),
    "slow": Reply(GOOD, wait=1.3),
    "trickle": Reply(GOOD, trickle=0.1),
    "truncated body": Reply(body='{"choices": [{"message": {"content": "{\\"ra'),
    "empty body": Reply(body=""),
    "a page": Reply(body="<html>It works!</html>"),
    "no choices": Reply(body='{"choices": []}'),
    "another shape": Reply(body='{"choices": {"message": 5}}'),
    "a list": Reply(body="[]"),
    "null": Reply(body="null"),
    "deep": Reply(body='{"choices":' + "[" * 100_000),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again(tmp_path: Path, fault: str) -> None:
    with serving(first(PASSING[fault])) as server:
        late = fault in ("slow", "trickle")
        opened = line(server, tmp_path, {"timeout": 1.0} if late else None)
        began = time.monotonic()
        assert texts(opened, prompts(2)) == [GOOD, GOOD]
        took = time.monotonic() - began
    assert opened.ledger.answers == 2
    assert opened.ledger.calls == 2 + sum(opened.ledger.failures.values()) >= 4
    assert late or opened.ledger.calls == 4
    if fault == "429 with Retry-After":
        assert took >= 0.3


@pytest.mark.parametrize("fault", [f for f in PASSING if f not in ("slow", "trickle")])
def test_what_does_not_pass_ends_in_no_answer(tmp_path: Path, fault: str) -> None:
    bad = PASSING[fault]
    with serving(lambda request, before: bad if "Question 1." in user(request) else Reply(GOOD)) as server:
        opened = line(server, tmp_path, {"retries": 2})
        opened.longest_pause = 0.02
        assert texts(opened, prompts(3)) == [GOOD, None, GOOD]
    assert opened.ledger.calls == 5 and opened.ledger.answers == 2


ANSWERED = {
    "empty content": (Reply(""), ""),
    "no content": (Reply(None), ""),
    "parts": (Reply([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ab"),  # type: ignore
    "prose": (Reply("I think it is a 4."), "I think it is a 4."),
    "half a character": (Reply("\ud83d x"), "\ud83d x"),
}


@pytest.mark.parametrize("case", ANSWERED)
def test_an_answer_is_an_answer_whatever_it_says(tmp_path: Path, case: str) -> None:
    reply, text = ANSWERED[case]
    with serving(lambda request, before: reply) as server:
        opened = line(server, tmp_path)
        assert texts(opened, prompts(1)) == [text] and opened.ledger.calls == 1
        kept = texts(line(server, tmp_path), prompts(1))
        assert len(server.asked) == 1 and kept[0] is not None


HOPELESS = [
    (401, '{"error": {"message": "Incorrect API key provided"}}'),
    (402, "pay first"),
    (404, '{"error": {"message": "the model `stub` does not exist"}}'),
    (429, '{"error": {"message": "quota", "code": "insufficient_quota"}}'),
]


@pytest.mark.parametrize(("status", "body"), HOPELESS)
def test_what_is_hopeless_ends_the_batch(tmp_path: Path, status: int, body: str) -> None:
    with serving(lambda request, before: Reply(status=status, body=body)) as server:
        opened = line(server, tmp_path, {"concurrency": 2})
        assert texts(opened, prompts(50)) == [None] * 50
        assert len(server.asked) <= 2
    assert opened.ledger.failures["not asked"] >= 48 and opened.ledger.said.startswith(f"{status}: ")


def test_a_server_that_never_answers_is_left_alone(tmp_path: Path) -> None:
    with serving(lambda request, before: Reply(status=500, body="")) as server:
        opened = line(server, tmp_path, {"retries": 1, "concurrency": 4})
        assert texts(opened, prompts(200)) == [None] * 200
        assert len(server.asked) <= 2 * (8 + 4)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with serving(sound_reply) as server:
        pass
    opened = line(server, tmp_path, {"retries": 1})
    assert texts(opened, prompts(30)) == [None] * 30 and opened.ledger.failures["connection"] > 0


def test_a_batch_may_take_only_so_long_and_keeps_what_came(tmp_path: Path) -> None:
    with serving(lambda r, n: Reply(GOOD, wait=0 if "Question 0." in user(r) else 5)) as server:
        opened = line(server, tmp_path, {"patience": 0.7, "timeout": 60.0, "concurrency": 3})
        began = time.monotonic()
        assert texts(opened, prompts(20)) == [GOOD] + [None] * 19
        assert time.monotonic() - began < 4
    assert opened.ledger.failures["patience"] == 1 and opened.ledger.under_way == 0


# Servers know different things


def picky(request: dict[str, Any], before: int) -> Reply:
    """A server that knows no formats, no seed, no temperature, and another name for the limit."""
    for part, said in (
        ("temperature", "Unsupported value: 'temperature' does not support 0"),
        ("max_tokens", "Unsupported parameter: 'max_tokens'; use 'max_completion_tokens' instead"),
        ("seed", "unknown field `seed`"),
    ):
        if part in request:
            return Reply(status=400, body=json.dumps({"error": {"message": said}}))
    if "response_format" in request:
        return Reply(status=422, body='{"detail": "extra inputs are not permitted"}')
    return Reply(GOOD)


def test_what_a_server_does_not_know_is_left_out_and_remembered(tmp_path: Path) -> None:
    with serving(picky) as server:
        opened = line(server, tmp_path, {"concurrency": 1})
        assert texts(opened, prompts(4)) == [GOOD] * 4
        assert len(server.asked) == 5 + 1 + 3
    assert opened.shape == Shape("plain", "max_completion_tokens", temperature=False, seed=False)


def test_json_object_is_tried_before_nothing(tmp_path: Path) -> None:
    def old(request: dict[str, Any], before: int) -> Reply:
        known = request.get("response_format", {}).get("type") != "json_schema"
        return Reply(GOOD) if known else Reply(status=400, body='{"error": "response_format.type: unknown"}')

    with serving(old) as server:
        opened = line(server, tmp_path)
        assert texts(opened, prompts(1)) == [GOOD] and opened.shape.format == "json_object"


def test_a_prompt_that_a_server_refuses_in_every_form_has_no_answer(tmp_path: Path) -> None:
    def short(request: dict[str, Any], before: int) -> Reply:
        if "Question 0." in user(request):
            return Reply(status=400, body='{"error": {"message": "the context is too long"}}')
        return Reply(GOOD)

    with serving(short) as server:
        opened = line(server, tmp_path, {"concurrency": 1})
        assert texts(opened, prompts(3)) == [None, GOOD, GOOD]
        assert opened.shape == Shape()  # the refusal of one prompt teaches nothing about the others


# Counting


def test_tokens_money_and_time_are_counted(tmp_path: Path) -> None:
    with serving(lambda request, before: Reply(GOOD, wait=0.02)) as server:
        opened = line(server, tmp_path, {"input_price": 2.0, "output_price": 8.0})
        texts(opened, prompts(10))
    ledger = opened.ledger
    assert (ledger.prompt_tokens, ledger.completion_tokens, ledger.estimated) == (7000, 500, 0)
    assert ledger.money == pytest.approx(7000 * 2e-6 + 500 * 8e-6)
    counts = ledger.to_json()
    assert counts["seconds_median"] >= 0.02 and counts["seconds_p95"] >= counts["seconds_median"]
    assert Ledger().to_json()["money"] is None and Ledger().to_json()["seconds_p95"] is None


@pytest.mark.parametrize("usage", [None, 5, {}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": "9"}])
def test_tokens_that_a_server_does_not_count_are_estimated(tmp_path: Path, usage: Any) -> None:
    with serving(lambda request, before: Reply(GOOD, usage=usage)) as server:
        opened = line(server, tmp_path)
        assert texts(opened, prompts(1)) == [GOOD]
    assert opened.ledger.estimated == 1 and opened.ledger.prompt_tokens > 10


def test_a_budget_of_calls_is_never_passed(tmp_path: Path) -> None:
    with serving(first(Reply(status=500, body=""))) as server:
        opened = line(server, tmp_path, {"max_calls": 7, "concurrency": 4})
        found = texts(opened, prompts(30))
        assert len(server.asked) == opened.ledger.calls == 7
        assert 0 < sum(t is not None for t in found) <= 3
        assert texts(opened, prompts(30)) == found  # what was answered is known, nothing else is asked
    assert opened.ledger.failures["budget"] > 0


def test_a_budget_of_money_is_not_passed_by_what_is_under_way(tmp_path: Path) -> None:
    prices = {"input_price": 10.0, "output_price": 100.0, "max_money": 0.1, "concurrency": 16}
    with serving(lambda request, before: Reply(GOOD, wait=0.03)) as server:
        opened = line(server, tmp_path, prices)
        found = texts(opened, prompts(60))
    # An answer costs 0.012, and about 0.0104 was promised for it, so that what is under way can be too much.
    assert opened.ledger.money is not None and 0.08 <= opened.ledger.money <= 0.1 + 8 * 0.002
    assert 7 <= sum(t is not None for t in found) <= 9


def test_equal_prompts_are_asked_once(tmp_path: Path) -> None:
    with serving(lambda request, before: Reply(GOOD)) as server:
        same = [Prompt("a", "same"), Prompt("b", "same"), Prompt("c", "other")]
        assert texts(line(server, tmp_path), same) == [GOOD] * 3 and len(server.asked) == 2


# The cache


def test_a_second_pass_asks_nothing_and_needs_neither_server_nor_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda request, before: Reply(GOOD)) as server:
        opened = line(server, tmp_path)
        before = texts(opened, prompts(20))
        assert len(server.asked) == 20
    again = Line(opened.settings, Ledger())
    monkeypatch.delenv("JUDGE_KEY")
    assert texts(again, prompts(20)) == before
    assert (again.ledger.calls, again.ledger.cached) == (0, 20)


def test_another_question_is_another_answer(tmp_path: Path) -> None:
    with serving(lambda request, before: Reply(GOOD)) as server:
        opened = line(server, tmp_path)
        for how in (HOW, Sampling(max_tokens=101), Sampling(max_tokens=100, seed=1)):
            for system in ("a", "b"):
                for form in (FORM, None):
                    Endpoint(opened, system, form).sample(prompts(1), 1, how)
        Endpoint(line(server, tmp_path, {"model": "other"}), "a", FORM).sample(prompts(1), 1, HOW)
        assert len(server.asked) == 3 * 2 * 2 + 1


CHILD = """
import sys
from judge_server import serving
from test_judge_endpoint import Line, Endpoint, FORM, HOW, prompts, open_line
from everystep.core import recipe
opened = open_line(recipe.Judge(base_url=sys.argv[1], model="stub", cache=sys.argv[2], concurrency=4))
Endpoint(opened, "Be strict.", FORM).sample(prompts(400), 1, HOW)
"""


def test_killed_in_the_middle_no_paid_answer_is_lost(tmp_path: Path) -> None:
    with serving(lambda request, before: Reply(GOOD, wait=0.01)) as server:
        cache = tmp_path / "answers.sqlite"
        tests = str(Path(__file__).parent)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, os.environ["PYTHONPATH"]])}
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, server.url, str(cache)], env=environment, stderr=subprocess.PIPE
        )
        try:
            limit = time.monotonic() + 60
            while len(server.asked) < 60 and child.poll() is None and time.monotonic() < limit:
                time.sleep(0.005)
            child.send_signal(signal.SIGKILL)
        finally:
            child.kill()
            _, said = child.communicate()
        assert child.returncode == -signal.SIGKILL, said.decode()
        time.sleep(0.1)
        sent = len(server.asked)
        assert 60 <= sent < 400
        table = sqlite3.connect(cache)
        kept = table.execute("SELECT count(*) FROM answers").fetchone()[0]
        table.close()
        # Those under way when the process died, at most one for each of its four workers, never arrived.
        assert sent - 4 <= kept <= sent
        own = recipe.Judge(base_url=server.url, model="stub", cache=str(cache), concurrency=4)
        assert texts(open_line(own), prompts(400)) == [GOOD] * 400
        assert len(server.asked) == sent + 400 - kept


def test_a_file_that_holds_something_else_is_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    with serving(sound_reply) as server:
        (tmp_path / "answers.sqlite").write_bytes(b"my thesis" * 1000)
        with pytest.raises(ValueError, match=r"answers in .*: no file of answers"):
            line(server, tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="cannot be opened"):
            line(server, tmp_path, {"cache": str(tmp_path / "file" / "x.sqlite")})
        opened = line(server, tmp_path, {"cache": str(tmp_path / "b.sqlite")})
        (tmp_path / "b.sqlite").write_bytes(b"overwritten" * 1000)  # later, it must not stop a training
        assert texts(opened, prompts(2)) == [None, None] and opened.ledger.failures["answers or key"] == 1
        assert not server.asked


def test_answers_come_back_as_they_were_kept(tmp_path: Path) -> None:
    with open_answers(tmp_path / "a.sqlite") as kept:
        one = Answer("tëxt\x00", True, "m", 3, 4, 0.5)
        kept.put("k", one)
        kept.put("k", Answer("later"))
        assert kept.get("k") == one and kept.get("other") is None
        with open_answers(tmp_path / "a.sqlite") as other:
            assert other.get("k") == one


# The key


def test_the_key_is_nowhere_but_in_the_header(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said = json.dumps({"rationale": f"your key is {SECRET}", "coherence": 4})
    echoes = [
        Reply(status=500, body=json.dumps({"error": {"message": f"bad header Bearer {SECRET}"}})),
        Reply(status=400, body=SECRET),
        Reply(said),
    ]
    with serving(lambda request, before: echoes[min(before, 2)]) as server:
        opened = line(server, tmp_path)
        found = texts(opened, prompts(3))
        refused = line(server, tmp_path, {"cache": str(tmp_path / "other.sqlite")})
        server.script = lambda request, before: Reply(status=401, body=f"Incorrect API key: {SECRET}")
        texts(refused, prompts(1))
        assert all(h["authorization"] == f"Bearer {SECRET}" for h in server.headers)
    assert found == [said.replace(SECRET, "[key]")] * 3
    everything = [
        repr(opened),
        str(opened.ledger.to_json()),
        str(refused.ledger.to_json()),
        repr(read_key("JUDGE_KEY")),
        str(read_key("JUDGE_KEY")),
        caplog.text,
        *capsys.readouterr(),
        *(p.read_bytes().decode("latin-1") for p in tmp_path.iterdir()),
    ]
    assert refused.ledger.said == "401: Incorrect API key: [key]"
    for text in everything:
        assert SECRET not in text and "abcdefSECRET" not in text


def test_a_key_that_cannot_be_one_is_named_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(sound_reply) as server:
        for value, said in (
            ("", "is not set"),
            ("two words of it", "holds no key"),
            ("kürzel-123", "holds no key"),
        ):
            monkeypatch.setenv("JUDGE_KEY", value)
            with pytest.raises(ValueError, match=f"JUDGE_KEY {said}") as caught:
                line(server, tmp_path)
            assert not value or value not in str(caught.value)
        monkeypatch.setenv("JUDGE_KEY", f" {SECRET}\n")
        assert read_key("JUDGE_KEY").value == SECRET
    assert Key().hide("text") == "text"


@pytest.mark.parametrize(
    "values",
    [
        {"key_variable": SECRET},
        {"base_url": f"http://user:{SECRET}@host/v1"},
        {"base_url": f"http://host/v1?key={SECRET}"},
        {"api_key": SECRET},
    ],
)
def test_a_recipe_with_a_key_in_it_is_refused_without_repeating_it(values: dict[str, str]) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.validate({"name": "x", "data": {"worked": {}}, "judge": values}, "recipe x")
    assert SECRET not in str(caught.value) and "judge" in str(caught.value)


def test_bodies_that_were_no_answers_have_none() -> None:
    for body in ("", "[]", '{"choices": [5]}', '{"choices": [{"message": null}]}'):
        assert not isinstance(read_body(body, 10, 0.0, Key()), tuple)


# The whole judge over a bad line


def rows(count: int) -> list[Graded]:
    found = []
    for i in range(count):
        task = Task(f"t{i}", "math", f"How many are {i} times 12?", str(12 * i), Kind.NUMBER, "hand", "test")
        text = f"<reasoning>\nStep 1: {i} * 12 = {12 * i}.\n</reasoning>\n<answer>{12 * i}</answer>"
        found.append(grade(task, Completion(task.id, 0, text)))
    return found


def bad_in_every_way(request: dict[str, Any], before: int) -> Reply:
    """Each prompt meets two faults of its own before it is answered, some never."""
    text = user(request)
    faults: list[Callable[[], Reply]] = [
        lambda: Reply(status=429, headers={"Retry-After": "0.05"}, body="{}"),
        lambda: Reply(status=500, body=""),
        lambda: Reply(sound(text), cut=True),
        lambda: Reply(body='{"choices": [{"mess'),
        lambda: Reply(sound(text)[:-5]),
        lambda: Reply(sound(text).replace('"coherence"', '"beauty"')),
        lambda: Reply("Sure! " + sound(text) + " Anything else?"),
        lambda: Reply(""),
        lambda: Reply(sound(text), wait=1.3),
        lambda: Reply("I give it 5 of 5."),
    ]
    asked = re.search(r"How many are (\d+) times", text)
    if asked is None:  # a canary: what it meets passes
        return Reply(sound(text)) if before else Reply(status=503, body="")
    number = int(asked.group(1))
    if before >= 2 or ("<<<UNREADABLE" in text and number % 3):
        return Reply(sound(text))
    return faults[(number + 7 * before) % len(faults)]()


def test_the_judge_survives_a_line_that_is_bad_in_every_way(tmp_path: Path) -> None:
    with serving(bad_in_every_way) as server:
        one = bad_judge(server, tmp_path)
        found = one.judge(rows(60))
        sent = len(server.asked)
        for judgement in found:
            scores = [s for n, s in judgement.scores.items() if n != "correctness"]
            assert scores == [4, 4, 4] or (scores == [None] * 3 and judgement.why_not)
        assert sum(j.why_not is None for j in found) > 30
        again = bad_judge(server, tmp_path)
        assert again.judge(rows(60)) == found
        assert len(server.asked) == sent and again.ledger.calls == 0


def bad_judge(server: Server, folder: Path) -> Judge:
    return judge_of(settings(server, folder, {"concurrency": 16, "retries": 4, "timeout": 1.0}))

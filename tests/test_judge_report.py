"""`everystep judge`: the sample, its figures, and the verb, against a server and a local model."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from everystep.cli import app as cli
from everystep.core.files import write_jsonl
from everystep.core.record import record
from everystep.core.types import Completion, Graded, Kind, Sampler, Task
from everystep.evaluate.agreement import auroc, interval, quadratic_kappa
from everystep.evaluate.judged import fill, judge_records, settings_of, stratified, stratum, table
from everystep.score.budget import Ledger
from everystep.score.judge import Judge
from everystep.score.rubric import rubrics
from everystep.verify.grade import grade
from fakes import ScriptedSampler
from judge_server import Reply, serving, sound, sound_reply, user


def one(i: int, right: bool, domain: str = "math") -> Graded:
    task = Task(f"{domain}{i}", domain, f"How many are {i} times 12?", str(12 * i), Kind.NUMBER, "hand", "test")
    value = 12 * i + (not right)
    text = f"<reasoning>\nStep 1: {i} * 12 = {value}.\n</reasoning>\n<answer>{value}</answer>"
    return grade(task, Completion(task.id, 0, text))


def rows(right: int, wrong: int, domain: str = "math") -> list[Graded]:
    return [one(i, i < right, domain) for i in range(right + wrong)]


def scripted(script: Any) -> Judge:
    def connect(system: str, form: Mapping[str, Any]) -> Sampler:
        return ScriptedSampler(lambda prompt, sample: script(prompt.text))

    return Judge(connect, rubrics({}), Ledger(), blind=True)


def checker_like(prompt: str) -> str:
    """A judge that scores right work 5 and wrong work 2, by the reference it is shown."""
    reference = prompt.split("<<<REFERENCE")[1].split("\n")[1]
    answer = prompt.split("<<<ANSWER")[1].split("\n")[1]
    good = sound(prompt, 5)
    return good if reference == answer or "times 12" not in prompt else sound(prompt, 2)


# Figures


def test_kappa_against_the_definition() -> None:
    a, b = [1, 2, 3, 4, 5, 5, 1, 3], [1, 2, 4, 4, 5, 3, 2, 3]
    n = len(a)
    counts, left, right = Counter(zip(a, b, strict=True)), Counter(a), Counter(b)
    seen = sum((i - j) ** 2 * c for (i, j), c in counts.items()) / n
    chance = sum((i - j) ** 2 * left[i] * right[j] for i in left for j in right) / n**2
    assert quadratic_kappa(a, b) == pytest.approx(1 - seen / chance)
    assert quadratic_kappa([1, 5], [5, 1]) == -1.0
    assert quadratic_kappa([], []) is None
    with pytest.raises(ValueError, match="from 1 to 5"):
        quadratic_kappa([6], [1])


def test_auroc_against_the_definition() -> None:
    scores, flags = [1, 3, 3, 5, 2], [False, True, False, True, True]
    pairs = [
        (s, t) for s, f in zip(scores, flags, strict=True) if f for t, g in zip(scores, flags, strict=True) if not g
    ]
    assert auroc(scores, flags) == pytest.approx(sum((s > t) + 0.5 * (s == t) for s, t in pairs) / len(pairs))


def test_an_interval_is_seeded_and_missing_where_the_figure_mostly_is() -> None:
    def mean(at: Any) -> float:
        return float(at.mean())

    assert interval(mean, 20, seed=1) == interval(mean, 20, seed=1) != interval(mean, 20, seed=2)
    assert interval(mean, 0) is None and interval(lambda at: None, 5) is None


# The sample


def test_the_sample_has_as_many_of_each_verdict_and_domain_as_there_are() -> None:
    graded = rows(400, 30) + rows(200, 5, "science")
    chosen = stratified(graded, 50, 0)
    counts = Counter(stratum(graded[i]) for i in chosen)
    assert counts == {
        ("math", "right"): 13,
        ("science", "right"): 12,
        ("math", "wrong"): 20,
        ("science", "wrong"): 5,
    }
    assert len(set(chosen)) == 50


def test_the_sample_is_fixed_by_the_seed_and_not_by_the_order() -> None:
    graded = rows(60, 40)
    names = {graded[i].task.id for i in stratified(graded, 30, 3)}
    turned = graded[::-1]
    assert {turned[i].task.id for i in stratified(turned, 30, 3)} == names
    assert {graded[i].task.id for i in stratified(graded, 30, 4)} != names
    assert len(stratified(graded, 500, 0)) == 100 and fill(5, [9, 9]) == [3, 2]


# The summary


def test_a_judge_that_agrees() -> None:
    graded = rows(90, 10)
    found = judge_records(graded, scripted(checker_like), 40, 0)
    assert (found["records"], found["sampled"], found["judged"], found["without"]) == (100, 40, 40, {})
    assert found["strata"][0] == {
        "domain": "math",
        "verdict": "right",
        "records": 90,
        "sampled": 30,
        "judged": 30,
    }
    quality = found["criteria"]["reasoning_quality"]
    # Weighted back to the records: 0.9 · 5 + 0.1 · 2, where the sample's own mean is 4.25.
    assert quality["mean"] == pytest.approx(4.7) and quality["low"] < 4.7 < quality["high"]
    agreement = found["agreement"]
    assert agreement["n"] == 40 and agreement["kappa"]["value"] > 0.9 and agreement["binary_kappa"]["value"] == 1.0
    assert agreement["auroc"]["coherence"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert agreement["same"] == 0.75  # it says 2 where the checker says 1


def test_a_judge_that_sees_nothing_agrees_by_chance_and_gets_no_kappa_for_it() -> None:
    found = judge_records(rows(50, 50), scripted(sound), 40, 0)
    assert found["agreement"]["auroc"]["correctness"]["value"] == 0.5
    assert found["agreement"]["kappa"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert found["criteria"]["coherence"] == {"mean": 4.0, "n": 40, "low": 4.0, "high": 4.0}


def test_what_has_no_score_is_counted_and_pulls_no_mean_down() -> None:
    def broken(prompt: str) -> str:
        return "4 of 5" if any(f"are {i} times 12" in prompt for i in range(0, 100, 2)) else sound(prompt)

    found = judge_records(rows(50, 50), scripted(broken), 40, 0)
    assert found["judged"] + found["without"]["unreadable twice"] == 40 and 5 < found["judged"] < 35
    assert found["criteria"]["coherence"]["mean"] == 4.0
    assert found["criteria"]["coherence"]["n"] == found["judged"]


def test_a_judge_that_says_nothing_has_no_figures(capsys: pytest.CaptureFixture[str]) -> None:
    found = judge_records(rows(5, 5), scripted(lambda prompt: ""), 10, 0)
    assert found["judged"] == 0 and sum(found["without"].values()) == 10
    for row in found["criteria"].values():
        assert row == {"mean": None, "n": 0, "low": None, "high": None}
    assert found["agreement"]["kappa"] == {"value": None, "low": None, "high": None}
    assert found["agreement"]["same"] is None
    Console().print(table(found))
    assert "0 of 10 judged" in capsys.readouterr().out


# The verb


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "records"
    write_jsonl(folder / "a.jsonl", [record(g) for g in rows(20, 10)])
    write_jsonl(folder / "b.jsonl", [record(g) for g in rows(6, 6, "science")])
    return folder


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["judge", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_from_files_to_a_table_and_again_without_a_call(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret-0123456789")
    with serving(lambda request, before: Reply(checker_like(user(request)))) as server:
        given = ("--base-url", server.url, "--model", "stub", "--key-variable", "SOME_KEY", "--n", "20")
        code, out, err = called(capsys, str(files), *given, "--quiet", "--json")
        first = json.loads(out)
        assert code == 0 and err == "" and first["judged"] == 20
        sent = len(server.asked)
        assert sent == 20 + 12 and first["cost"]["calls"] == sent and first["cost"]["money"] is None
        code, out, err = called(capsys, str(files), *given, "--quiet")
        assert code == 0 and len(server.asked) == sent
    assert "20 of 20 judged, from 42 records" in out and "weighted kappa" in out and "cost unknown" in out
    assert "sk-secret" not in out and "reasoning_quality" in out
    assert math.isclose(first["criteria"]["coherence"]["mean"], (26 * 5 + 16 * 2) / 42)


def test_prices_and_budget_come_from_the_recipe(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(sound_reply) as server:
        file = tmp_path / "r.yaml"
        file.write_text(
            f"name: r\ndata: {{worked: {{}}}}\njudge: {{base_url: '{server.url}', model: m, input_price: 1,"
            f" output_price: 2, max_calls: 25, cache: '{tmp_path / 'own.sqlite'}'}}\n"
        )
        code, out, _ = called(capsys, str(files), "--recipe", str(file), "--json", "--quiet")
        found = json.loads(out)
        assert code == 0 and len(server.asked) == found["cost"]["calls"] == 25
        assert found["cost"]["money"] == pytest.approx(25 * (700 + 2 * 50) / 1e6)
        assert found["judged"] == 13 and found["without"] == {"no answer came": 29}
        assert settings_of(file, None, "other", None).model == "other"


def test_a_judge_that_fails_a_canary_is_said_and_is_exit_code_1(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda request, before: Reply(sound(user(request), 1))) as server:
        code, out, _ = called(capsys, str(files), "--base-url", server.url, "--model", "m", "--quiet")
    assert code == 1 and "VOID: the judge failed canary 'honest'" in " ".join(out.split()) and "0 of 42" in out


BAD = [
    (["none.jsonl"], "none.jsonl: No such file or directory"),
    (
        ["rows.jsonl", "--base-url", "http://h/v1", "--key-variable", "NOT_SET_AT_ALL"],
        "NOT_SET_AT_ALL is not set",
    ),
    (["rows.jsonl", "--base-url", "http://u:p@h/v1"], "base_url must be http(s)://host/path"),
    (["rows.jsonl", "--base-url", "http://h/v1", "--key-variable", "sk-123"], "not the key"),
    (["bad.jsonl", "--base-url", "http://h/v1"], "no record to judge; line 1: "),
    (["rows.jsonl", "--recipe", "none.yaml"], "recipe none.yaml: cannot be read"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_what_the_user_can_mend(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_jsonl(tmp_path / "rows.jsonl", [record(g) for g in rows(1, 1)])
    (tmp_path / "bad.jsonl").write_text("{}\n")
    code, out, err = called(capsys, *arguments, "--quiet")
    assert code == 2 and out == "" and said in err and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Tunix and qwix call what is deprecated
def test_the_shipped_tiny_gemma_as_judge_gives_no_scores_and_no_error(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: r\ndata: {worked: {}}\njudge: {model: tiny, max_tokens: 32, concurrency: 4}\n")
    code, out, _ = called(capsys, str(files / "a.jsonl"), "--recipe", str(file), "--n", "4", "--json", "--quiet")
    found = json.loads(out)
    assert code == 0 and found["judged"] == 0 and found["void"] is None
    assert found["without"] == {"canary 'honest' of rubric 'math' was not judged": 4}
    assert found["cost"]["calls"] == 12 and found["cost"]["money"] == 0.0
    code, out, _ = called(capsys, str(files / "a.jsonl"), "--recipe", str(file), "--n", "4", "--json", "--quiet")
    assert json.loads(out)["cost"]["calls"] == 0 and json.loads(out)["cost"]["cached"] == 12

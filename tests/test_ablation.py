"""Ablations without a model: the file and its runs, the ledger and what is found in it, the processes, the
tables."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

import run_fixtures
from everystep.cli import app as cli
from everystep.cli.ablation_queue import ablate, minutes_left, plan
from everystep.core.files import RunError, read_jsonl
from everystep.core.recipe import Grpo, load
from everystep.core.record import Record
from everystep.core.strict import RecipeError
from everystep.core.types import Stopped
from everystep.evaluate.ablation import METRICS, done_row, failed_row, figures, findings, newest, outcome
from everystep.evaluate.changes import Arm, Job, arms, digest, jobs, read_ablation
from everystep.evaluate.results import Place
from everystep.show.ablations import markdown, terminal
from everystep.show.plots import forest
from everystep.show.screen import Screen

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "recipes" / "ablations" / "tiny.yaml"
BASE = ROOT / "recipes" / "tiny.yaml"

FILE = f"""
name: small
base: {BASE}
common: [grpo.steps=8, grpo.prompts=4, grpo.group=4, grpo.micro_prompts=2]
seeds: [0, 1, 2]
equal: completions
minutes: {{shared: 2, run: 5}}
families:
  one:
    question: Which?
    reference: whole
    tested: [contract, structure]
    changes:
      half: {{set: [grpo.beta=0]}}
      less: {{set: ["reward={{parts: {{correctness: 1}}}}"]}}
  two:
    question: What?
    reference: both
    changes:
      no_sft: {{set: [grpo.start=base]}}
      only_sft: {{stage: sft}}
      group_2: {{set: [grpo.group=2]}}
      data: {{set: [sft.traces=100]}}
"""


def written(folder: Path, text: str = FILE, name: str = "small") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return written(tmp_path)


# The file


def test_equal_runs_are_one_and_what_comes_before_grpo_is_shared(small: Path) -> None:
    own = arms(read_ablation(small), small)
    assert len(own) == 3 * 8 and len({(a.family, a.change, a.seed) for a in own}) == len(own)
    first = {f"{a.family}.{a.change}": a.job for a in own if a.seed == 0}
    assert first["one.whole"] is first["two.both"]
    shared = first["two.only_sft"]
    assert shared.shares is None and shared.stages == ("base", "sft")
    for name in ("one.whole", "one.half", "one.less", "two.no_sft", "two.group_2"):
        assert first[name].shares is shared
    assert first["two.no_sft"].stages == ("base", "grpo")
    other = first["two.data"].shares
    assert other is not None and other.key != shared.key and other.recipe.sft.traces == 100
    every = jobs(own)
    assert len(every) == 3 * 8 and len({j.label for j in every}) == len({j.key for j in every}) == len(every)
    for i, job in enumerate(every):
        assert job.shares is None or job.shares in every[:i]
        assert job.recipe.seed == int(job.label.split("-s")[-1].split("-")[0])


def test_completions_are_equal_where_the_file_says_so(small: Path) -> None:
    for arm in arms(read_ablation(small), small):
        if arm.stage == "grpo":
            how = arm.job.recipe.grpo
            assert how.steps * how.prompts * how.group == 8 * 4 * 4
    text = FILE.replace("equal: completions", "equal: steps").replace("grpo.beta=0", "grpo.steps=9")
    with pytest.raises(RecipeError, match=r"one\.half: sets grpo\.steps, which `equal: steps` decides"):
        arms(read_ablation(written(small.parent, text)), small)


def test_a_recipe_is_the_same_when_the_schema_learns_a_key() -> None:
    """Its digest, that is: what the ledger's rows are found by."""
    recipe = load(BASE)
    assert digest(recipe) == digest(recipe.model_copy(update={"name": "other", "hours": 1.0}))
    assert digest(recipe) != digest(recipe.model_copy(update={"seed": 1}))
    assert "start" in Grpo.model_fields  # learned after the first runs were made, and not in what is hashed
    assert "start" not in recipe.model_dump(exclude_defaults=True)["grpo"]


def test_the_shipped_file_asks_what_it_must() -> None:
    ablation = read_ablation(TINY)
    own = [a for a in arms(ablation, TINY) if a.seed == 0]
    assert len(ablation.seeds) >= 3
    by = {a.change: a.job.recipe for a in own}
    tiny = load(BASE)
    shorter = tiny.grpo.model_copy(update={"steps": by["both"].grpo.steps})
    assert by["both"] == by["group_8"] == by["beta_0.02"] == tiny.model_copy(update={"grpo": shorter})
    assert [by[f"beta_{b}"].grpo.beta for b in ("0", "0.03", "0.1")] == [0, 0.03, 0.1]
    assert [by[f"group_{g}"].grpo.group for g in (2, 4, 8)] == [2, 4, 8]
    assert {r.grpo.prompts * r.grpo.group for r in by.values()} >= {128}
    assert by["grpo_without_sft"].grpo.start == "base"
    for part in ("structure", "process", "confidence"):
        assert part not in (by[f"no_{part}"].reward.parts or {}) and part in (by["all_parts"].reward.parts or {})
    assert len(jobs(own)) == 12


BAD = [
    (("name: small", "name: other"), "its name is 'other'; give the file and the ablation one name"),
    (("equal: completions", "equal: minutes"), "equal: Input should be 'steps' or 'completions'"),
    (("seeds: [0, 1, 2]", "seeds: [0, 0]"), "seeds names one twice"),
    (("seeds: [0, 1, 2]", "seeds: []"), "seeds"),
    (("seeds: [0, 1, 2]", "seed: [0]"), "unknown key 'seed'; did you mean 'seeds'?"),
    (("question: Which?", "queston: Which?"), "unknown key 'families.one.queston'"),
    (("reference: whole", "reference: half"), "the reference 'half' is a change too"),
    (("tested: [contract, structure]", "tested: [contract, luck]"), "families.one.tested"),
    (("tested: [contract, structure]", "tested: [contract, contract]"), "names a metric twice"),
    (("tested: [contract, structure]", "tested: []"), "families.one.tested"),
    (("half: {set: [grpo.beta=0]}", "half: [grpo.beta=0]"), "families.one.changes.half"),
    (("half: {set: [grpo.beta=0]}", "a/b: {set: [grpo.beta=0]}"), "a/b"),
    (("[grpo.beta=0]", "[grpo.bet=0]"), "one.half: recipe"),
    (("[grpo.beta=0]", "[grpo.bet=0]"), "unknown key 'grpo.bet'; did you mean 'beta'?"),
    (("[grpo.beta=0]", "[beta]"), "one.half: override 'beta': must look like a.b=value"),
    (
        ("[grpo.beta=0]", "[grpo.prompts=7]"),
        "7 x 4 completions a step do not make up the reference's 8 x 4 x 4",
    ),
    (("[grpo.beta=0]", "[grpo.steps=3]"), "sets grpo.steps, which `equal: completions` decides"),
    (("[grpo.beta=0]", "[kind=pretrain]"), "kind is pretrain, but the section pretrain is missing"),
    ((str(BASE), "nowhere.yaml"), "nowhere.yaml: cannot be read"),
    (("families:", "families: {}\nrest:"), "rest"),
    (("minutes: {shared: 2, run: 5}", "minutes: {shared: 0, run: 5}"), "minutes.shared"),
]


@pytest.mark.parametrize(("change", "words"), BAD, ids=[c[1] for c, _ in BAD])
def test_a_bad_file_is_one_line_and_exit_code_2(
    change: tuple[str, str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert change[0] in FILE
    path = written(tmp_path, FILE.replace(*change, 1))
    code = cli.main(["ablate", str(path), "--dry-run", "--dir", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and err.count("\n") == 1 and words in err, err
    assert not (tmp_path / "out").exists()


# What is found


@cache
def outcomes(share: float, seed: int, n: int = 60) -> list[dict[str, Any]]:
    """Of a run that has a share of its tasks wrong in some way."""
    gold = run_fixtures.gold_bound(run_fixtures.tasks(n, seed), "none")
    spoilt = run_fixtures.spoilt(gold, share, seed + 100) if share else gold
    return [outcome(Record(g, None, 40 + i % 3, None)) for i, g in enumerate(spoilt)]


ABOUT = {
    "run": "r",
    "minutes": {"data": 0.1, "sft": 1.0, "grpo": 4.0, "evaluate": 0.5},
    "commit": "0" * 40,
    "code": "c",
}
TRAINING = [{"step": 1, "dead_groups": 0.5, "live": 0.9, "tokens": 40.0, "kl": 0.1},
            {"step": 2, "dead_groups": 0.25, "live": 1.0, "tokens": 50.0, "kl": "nan"}]  # fmt: skip


def test_figures_of_a_run_and_what_could_not_be_measured() -> None:
    some = outcomes(0.5, 0)
    found = figures(some, TRAINING)
    assert found["n"] == 60 and found["dead_groups"] == 0.375 and found["training_tokens"] == 45.0
    assert found["contract"] == sum(o["contract"] for o in some) / 60
    assert found["claims"] == sum(o["true"] for o in some) / sum(o["checked"] for o in some)
    assert found["sound"] <= found["contract"] <= found["capability"] <= 1 and found["tokens"] == 41.0
    assert found["structure"] == pytest.approx(sum(o["structure"] for o in some) / 60)
    nothing = figures(
        [{**o, "structure": None, "process": None, "true": 0, "checked": 0, "tokens": None} for o in some]
    )
    assert [nothing[k] for k in ("structure", "process", "claims", "tokens", "dead_groups", "kl")] == [None] * 6


def kept(place: Place, arm: Arm, share: float, n: int = 60, **more: Any) -> None:
    some = outcomes(share, arm.seed, n)
    place.add(done_row(arm, some, TRAINING, {**ABOUT, **place.keep(arm, some), **more}))


def filled(small: Path, shares: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2)) -> tuple[Any, list[Arm], Place]:
    ablation = read_ablation(small)
    own, place = arms(ablation, small), Place(small.parent / "out")
    for arm in own:
        if arm.seed in seeds and arm.change in shares:
            kept(place, arm, shares[arm.change])
    return ablation, own, place


def test_what_differs_is_told_apart_and_what_does_not_is_not(small: Path) -> None:
    ablation, own, place = filled(small, {"whole": 0.1, "half": 0.1, "less": 0.9})
    one, two = findings(ablation, own, place.rows(), place.outcomes)
    assert [s.change for s in one.sides] == ["whole", "half", "less"] and one.sides[0].seeds == (0, 1, 2)
    found = {(c.change, c.metric): c for c in one.compared}
    assert len(found) == 2 * len(METRICS)
    assert found["half", "contract"].verdict == "cannot be told apart"
    assert found["half", "contract"].difference.value == 0 and found["half", "contract"].adjusted == 1
    worse = found["less", "contract"]
    assert worse.verdict == "worse" and worse.adjusted is not None and worse.adjusted < 0.05
    assert worse.difference.high is not None and worse.difference.high < 0
    assert found["less", "tokens"].verdict == "not tested" and found["less", "tokens"].adjusted is None
    p = worse.difference.p
    assert p is not None and p < worse.adjusted <= 4 * p  # Holm over two changes and two metrics
    assert two.compared == [] and two.sides[0].missing == (0, 1, 2)


def test_a_seed_counts_where_both_sides_have_it(small: Path) -> None:
    ablation, own, place = filled(small, {"whole": 0.1, "half": 0.5}, seeds=(0, 1))
    for arm in own:
        if arm.seed == 2 and arm.change == "half":
            kept(place, arm, 0.5)
    one = findings(ablation, own, place.rows(), place.outcomes)[0]
    half = next(c for c in one.compared if c.metric == "contract")
    assert len(half.difference.by_seed) == 2 and one.sides[1].seeds == (0, 1, 2)


def test_the_newest_row_counts_and_a_failed_one_is_said(small: Path) -> None:
    ablation, own, place = filled(small, {"whole": 0.1, "half": 0.5})
    half = next(a for a in own if a.change == "half" and a.seed == 1)
    place.add(failed_row(half, "ValueError: no", {"run": "r"}))
    row = newest(place.rows(), half)
    assert row is not None and row["status"] == "failed"
    one = findings(ablation, own, place.rows(), place.outcomes)[0]
    assert one.sides[1].seeds == (0, 2) and one.sides[1].failed == {1: "ValueError: no"}
    page = markdown(ablation, small, [one], place.rows(), own, "plot.svg")
    assert "half, seed 1: failed, ValueError: no" in page and "one of them" not in page
    assert "7 rows, 1 of them of runs that failed." in page


def test_rows_of_other_recipes_enter_nothing(small: Path) -> None:
    _, _, place = filled(small, {"whole": 0.1, "half": 0.5})
    written(small.parent, FILE.replace("grpo.beta=0", "grpo.beta=0.5"))
    ablation = read_ablation(small)
    own = arms(ablation, small)
    one = findings(ablation, own, place.rows(), place.outcomes)[0]
    assert one.sides[1].missing == (0, 1, 2) and one.sides[0].seeds == (0, 1, 2)
    assert "3 are of other recipes" in markdown(ablation, small, [one], place.rows(), own, "x.svg")


def test_other_tasks_cannot_be_paired_and_changed_outcomes_are_noticed(small: Path) -> None:
    ablation, own, place = filled(small, {"whole": 0.1})
    kept(place, next(a for a in own if a.change == "half"), 0.5, n=30)
    with pytest.raises(ValueError, match=r"one\.half, seed 0: was evaluated on other tasks"):
        findings(ablation, own, place.rows(), place.outcomes)
    row = place.rows()[0]
    path = place.root / row["outcomes"]
    path.write_bytes(path.read_bytes().replace(b'"contract":true', b'"contract":false', 1))
    with pytest.raises(RunError, match="is not what the ledger's row of whole was written with"):
        place.outcomes(row)


def test_tables_and_plot_are_made_of_what_was_found(small: Path) -> None:
    ablation, own, place = filled(small, {"whole": 0.1, "half": 0.3, "less": 0.9, "both": 0.1, "only_sft": 0.8})
    found = findings(ablation, own, place.rows(), place.outcomes)
    page = markdown(ablation, small, found, place.rows(), own, "plot.svg")
    less = next(c for c in found[0].compared if (c.change, c.metric) == ("less", "contract"))
    assert f"| less | contract | {100 * less.difference.value:+.1f} [" in page and "| worse |" in page
    assert "![the tested differences, with intervals](plot.svg)" in page and "`grpo.beta=0`" in page
    assert "no_sft: no run yet with seed 0, 1, 2" in page and "60 test tasks a seed" in page
    console = Console(file=StringIO(), width=100)
    console.print(terminal(found))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "whole (reference)" in said and "cannot be told apart" in said and "worse" in said
    svg = forest(found)
    assert svg == forest(found) and "less: structure" in svg
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert forest(replace_all(found)).count("less") == 0


def replace_all(found: list[Any]) -> list[Any]:
    """The same without any comparison: nothing to plot is no error."""
    return [replace(f, compared=[]) for f in found]


# The processes

CHILD = """
import os, sys, time
from pathlib import Path
from everystep.cli.ablation_queue import decided
from everystep.evaluate.ablation import done_row, failed_row
from everystep.evaluate.changes import arms, jobs, read_ablation
from everystep.evaluate.results import Place
file, root, label, what = sys.argv[1:]
own, place = arms(read_ablation(file), file), Place(Path(root))
job = next(j for j in jobs(own) if j.label == label)
with open(place.root / "begun", "a") as begun:
    print(label, file=begun)
with open(place.root / "cores", "a") as cores:
    print(*sorted(os.sched_getaffinity(0)), file=cores)
if what == "meet":  # two runs that end only if they run side by side
    me, other = ("whole", "half") if "whole" in label else ("half", "whole")
    (place.root / f"{me}{label.split('-')[1]}").touch()
    end = time.monotonic() + 60
    while me in label and not (place.root / f"{other}{label.split('-')[1]}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
if what == "sleep" and "half" in label:
    time.sleep(60)
if what == "fail" and "less" in label:
    place.add(failed_row(decided(job, own)[0], "ValueError: on purpose", {"run": label}))
    sys.exit(2)
if what == "shared" and label.startswith("shared-s1"):
    for arm in decided(job, own):
        place.add(failed_row(arm, f"in the stages of {label}: no", {"run": label}))
    sys.exit(1)
if what == "die" and "half-s1" in label:
    os.kill(os.getpid(), 9)
if what == "refuse":
    sys.exit(2)
if what == "stop" and "half" in label:
    sys.exit(75)
names = "contract capability sound format structure process true checked tokens truncated".split()
for arm in own:
    if arm.job.key == job.key:
        some = [{"id": str(i), **dict.fromkeys(names, 1)} for i in range(4)]
        place.add(done_row(arm, some, [], {"run": label, **place.keep(arm, some)}))
place.run(job).mark_done("evaluate/test/" + job.stages[-1])
"""


@pytest.fixture
def child(tmp_path: Path) -> Path:
    path = tmp_path / "child.py"
    path.write_text(CHILD)
    return path


def told(small: Path, child: Path, what: str, **more: Any) -> Place:
    ablation = read_ablation(small)
    place = Place(small.parent / "out")

    def command(job: Job) -> list[str]:
        return [sys.executable, str(child), str(small), str(place.root), job.label, what]

    ablate(ablation, arms(ablation, small), place, command, Screen(quiet=True), **more)
    return place


SHORT = FILE.replace("seeds: [0, 1, 2]", "seeds: [0, 1]").split("  two:")[0]


def begun(place: Place) -> list[str]:
    return [line.rsplit("-", 1)[0] for line in (place.root / "begun").read_text().splitlines()]


EVERY = [f"{name}-s{seed}" for seed in (0, 1) for name in ("shared", "one.whole", "one.half", "one.less")]


def test_every_run_is_done_once(tmp_path: Path, child: Path) -> None:
    small = written(tmp_path, SHORT)
    place = told(small, child, "well")
    assert begun(place) == EVERY and len(place.rows()) == 6
    told(small, child, "well")
    assert begun(place) == EVERY and len(place.rows()) == 6
    planned = plan(read_ablation(small), arms(read_ablation(small), small), place)
    assert {p.state for p in planned} == {"done"} and minutes_left(planned) == 0


def test_a_run_that_fails_is_a_row_and_the_rest_goes_on(tmp_path: Path, child: Path) -> None:
    small = written(tmp_path, SHORT)
    place = told(small, child, "fail")
    assert begun(place) == EVERY
    assert [r["status"] for r in place.rows()] == ["done", "done", "failed"] * 2
    told(small, child, "well")
    assert begun(place) == EVERY  # what failed is left alone
    told(small, child, "well", retry=True)
    assert begun(place)[len(EVERY) :] == ["one.less-s0", "one.less-s1"]
    assert len(place.rows()) == 8 and [r["status"] for r in place.rows()[6:]] == ["done", "done"]


def test_runs_whose_shared_stages_fail_are_rows_and_are_not_tried(tmp_path: Path, child: Path) -> None:
    place = told(written(tmp_path, SHORT), child, "shared")
    assert begun(place) == EVERY[:5]
    assert [r["status"] for r in place.rows()] == ["done"] * 3 + ["failed"] * 3
    assert all("in the stages of shared-s1" in r["error"] for r in place.rows()[3:])


def test_a_run_that_is_killed_is_a_row(tmp_path: Path, child: Path) -> None:
    place = told(written(tmp_path, SHORT), child, "die")
    assert begun(place) == EVERY
    failed = [r for r in place.rows() if r["status"] == "failed"]
    assert [r["change"] for r in failed] == ["half"] and failed[0]["error"] == "its process was ended by signal 9"


def test_a_run_that_cannot_be_begun_stops_everything_and_is_no_row(tmp_path: Path, child: Path) -> None:
    with pytest.raises(ValueError, match=r"shared-s0-\w+ could not be begun \(exit code 2"):
        told(written(tmp_path, SHORT), child, "refuse")
    assert Place(tmp_path / "out").rows() == []


def test_some_at_a_time_share_the_cores(tmp_path: Path, child: Path) -> None:
    """Runs that wait for each other end; none begins before the one whose stages it shares has ended."""
    place = told(written(tmp_path, SHORT), child, "meet", at_once=2)
    assert sorted(begun(place)) == sorted(EVERY) and len(place.rows()) == 6
    for seed in (0, 1):
        of = [name for name in begun(place) if name.endswith(f"s{seed}")]
        assert of[0] == f"shared-s{seed}"
    cores = {frozenset(map(int, line.split())) for line in (place.root / "cores").read_text().splitlines()}
    mine = os.sched_getaffinity(0)
    assert all(share < mine or len(mine) == 1 for share in cores) and set().union(*cores) == mine


def test_a_request_to_stop_reaches_all_that_run(tmp_path: Path, child: Path) -> None:
    small, place = written(tmp_path, SHORT), Place(tmp_path / "out")

    def stop() -> str | None:
        return "enough" if (place.root / "begun").exists() and len(begun(place)) >= 3 else None

    with pytest.raises(Stopped, match="enough; all that is done is kept"):
        told(small, child, "sleep", stop=stop, at_once=2)
    told(small, child, "well", at_once=3)
    assert len(place.rows()) == 6


def test_a_request_to_stop_reaches_the_run_in_progress(tmp_path: Path, child: Path) -> None:
    small, place = written(tmp_path, SHORT), Place(tmp_path / "out")

    def stop() -> str | None:
        return "enough" if len(place.rows()) == 1 and len(begun(place)) == 3 else None

    began = time.monotonic()
    with pytest.raises(Stopped, match="enough; all that is done is kept"):
        told(small, child, "sleep", stop=stop)
    assert time.monotonic() - began < 30 and len(place.rows()) == 1
    with pytest.raises(Stopped, match="was stopped; the same command goes on"):
        told(small, child, "stop")
    told(small, child, "well")
    assert len(place.rows()) == 6 and begun(place).count("one.whole-s0") == 1


def test_two_at_once_are_refused(tmp_path: Path, child: Path) -> None:
    small, place = written(tmp_path, SHORT), Place(tmp_path / "out")
    code = (
        f"import sys; sys.path[:0] = {[str(ROOT / 'src'), str(ROOT / 'tests')]!r}; from pathlib import Path; "
        f"from test_ablation import told; told(Path({str(small)!r}), Path({str(child)!r}), 'sleep')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and not ((place.root / "begun").exists() and len(begun(place)) == 3):
            time.sleep(0.05)
        with pytest.raises(ValueError, match="is working on this ablation"):
            told(small, child, "well")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    told(small, child, "well")  # killed at any point: the next call goes on
    assert len(place.rows()) == 6 and begun(place).count("one.whole-s0") == 1


# The verb


def test_the_list_of_runs(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(small.parent / "out")
    assert cli.main(["ablate", str(small), "--dry-run", "--json", "--dir", out]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 24 and {r["state"] for r in rows} == {"missing"} and all(r["wanted"] for r in rows)
    assert sum(r["minutes"] for r in rows) == 6 * 2 + 18 * 5
    assert rows[0]["run"].startswith("shared-s0-") and rows[1]["for"] == ["one.whole", "two.both"]
    assert rows[1]["shares"] == rows[0]["run"]
    place = Place(Path(out))
    kept(place, arms(read_ablation(small), small)[0], 0.5, n=4)
    assert cli.main(["ablate", str(small), "--dry-run", "--dir", out]) == 0
    said = capsys.readouterr().out
    assert "24 of 24 runs to do" in said and "also two.both" in said  # two.both has no row yet
    assert not list(Path(out).glob("runs"))


def test_the_tables_without_a_run(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = small.parent / "out"
    assert cli.main(["ablate", str(small), "--report-only", "--dir", str(out)]) == 2
    assert "its ledger has no row yet" in capsys.readouterr().err
    filled(small, {"whole": 0.1, "half": 0.5})
    docs = small.parent / "docs"
    code = cli.main(
        ["ablate", str(small), "--report-only", "--json", "--quiet", "--dir", str(out), "--write", str(docs)]
    )
    found = json.loads(capsys.readouterr().out)
    assert code == 0 and found[0]["compared"][0]["verdict"] in ("worse", "cannot be told apart")
    assert sorted(p.name for p in docs.iterdir()) == ["ablations-small.svg", "ablations.md"]
    before = {p.name: p.read_bytes() for p in docs.iterdir()}
    cli.main(["ablate", str(small), "--report-only", "--quiet", "--dir", str(out), "--write", str(docs)])
    capsys.readouterr()
    assert {p.name: p.read_bytes() for p in docs.iterdir()} == before
    half = next(a for a in arms(read_ablation(small), small) if a.change == "half")
    Place(out).add(failed_row(half, "no", {"run": "r"}))
    assert cli.main(["ablate", str(small), "--report-only", "--quiet", "--dir", str(out)]) == 1
    capsys.readouterr()


def test_only_a_run_that_there_is(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ablate", str(small), "--only", "nothing", "--dir", str(small.parent / "out")]) == 2
    assert "no run has this label; --dry-run lists them, e.g. shared-s0-" in capsys.readouterr().err


def test_a_torn_ledger_is_read_and_mended(small: Path) -> None:
    _, own, place = filled(small, {"whole": 0.1}, seeds=(0,))
    with open(place.ledger, "a") as file:
        file.write('{"family": "one", "chan')
    assert len(place.rows()) == 1
    place.add(failed_row(own[1], "no", {"run": "r"}))
    assert len(read_jsonl(place.ledger)[0]) == 2

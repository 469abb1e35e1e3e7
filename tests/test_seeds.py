"""Differences over seeds: against scipy and closed forms, and the coverage of the interval, by simulation."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from everystep.evaluate.seeds import (
    Seed,
    differences,
    seed_difference,
    share,
    student_p,
    student_quantile,
)


@pytest.mark.parametrize("degrees", [1, 2, 3.2, 5.6, 14, 100, 1e5])
def test_student_agrees_with_scipy(degrees: float) -> None:
    for t in (0.0, 1e-9, 0.01, 0.5, 1.0, 2.7, 9.0, 40.0, 1e4):
        theirs = 2 * reference.t.sf(t, degrees)
        assert math.isclose(student_p(t, degrees), theirs, rel_tol=1e-9, abs_tol=1e-14)
        assert student_p(-t, degrees) == student_p(t, degrees)
    for level in (0.5, 0.9, 0.95, 0.999):
        theirs = reference.t.ppf(0.5 + level / 2, degrees)
        assert math.isclose(student_quantile(level, degrees), theirs, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("call", "words"), [((student_p, 1.0, 0.0), "degrees"), ((student_quantile, 1.0, 2.0), "level")]
)
def test_student_refuses(call: tuple, words: str) -> None:
    function, *arguments = call
    with pytest.raises(ValueError, match=words):
        function(*arguments)


def test_a_share_counts_what_there_is_to_count() -> None:
    assert share([(3, 4), (0, 0), (1, 1)]) == 0.8
    assert share([]) is None and share([(0, 0)]) is None


def test_a_seeds_difference_is_that_of_the_tasks() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, 500), rng.integers(0, 2, 500)
    found = seed_difference([(x, 1) for x in a], [(x, 1) for x in b])
    assert found is not None
    assert math.isclose(found.difference, b.mean() - a.mean())
    assert math.isclose(found.variance, np.var(b - a, ddof=1) / 500)
    assert seed_difference([(0, 0)], [(1, 1)]) is None
    with pytest.raises(ValueError, match="same tasks"):
        seed_difference([(0, 1)], [])


def test_the_variance_of_a_ratio_is_that_of_many_samples() -> None:
    """Of claims: a task has none to several, so that the denominator varies too."""
    rng = np.random.default_rng(1)

    def sample() -> Seed:
        checked = rng.integers(0, 5, (2, 300))
        skill = rng.uniform(0.6, 1.0, 300)  # the same tasks: what is hard for one is hard for both
        true = rng.binomial(checked, [skill, skill * 0.95])
        pairs = [list(zip(true[i], checked[i], strict=True)) for i in (0, 1)]
        found = seed_difference(pairs[0], pairs[1])
        assert found is not None
        return found

    many = [sample() for _ in range(1500)]
    truth = np.var([s.difference for s in many], ddof=1)
    assert math.isclose(np.mean([s.variance for s in many]), truth, rel_tol=0.1)


def test_one_change_with_equal_task_noise_is_students_t_over_seeds() -> None:
    """Nothing is pooled, and where seeds differ by more than tasks explain, it is the plain t interval."""
    values = [0.01, 0.05, 0.09]
    found = differences({"x": [Seed(v, 1e-9) for v in values]})["x"]
    low, high = reference.t.interval(0.95, 2, np.mean(values), reference.sem(values))
    assert found.low is not None and found.high is not None
    assert math.isclose(found.low, low) and math.isclose(found.high, high)
    assert found.p == pytest.approx(reference.ttest_1samp(values, 0)[1])
    assert found.degrees == 2 and found.by_seed == tuple(values)


def test_seeds_that_agree_by_luck_are_not_believed() -> None:
    same = [Seed(0.02, 0.0004)] * 3
    found = differences({"x": same})["x"]
    assert found.low is not None and found.high is not None
    assert math.isclose(found.high - found.low, 2 * student_quantile(0.95, 4) * math.sqrt(0.0004 / 3))
    unsteady = {"x": same, "y": [Seed(v, 0.0004) for v in (-0.2, 0.0, 0.2)]}
    assert differences(unsteady)["x"].p == pytest.approx(student_p(0.02 / math.sqrt(0.02 / 3), 4 / 1.25))


def test_one_seed_has_no_interval_and_no_change_nothing() -> None:
    one = differences({"x": [Seed(0.1, 0.01)], "y": [Seed(v, 0.01) for v in (0.1, 0.2)], "z": []})
    assert one["x"].low is one["x"].p is None and one["x"].value == 0.1
    assert one["y"].p is not None and "z" not in one
    assert differences({}) == {}
    certain = differences({"x": [Seed(0.5, 0.0)] * 3, "y": [Seed(0.0, 0.0)] * 3})
    assert certain["x"].p == 0.0 and certain["y"].p == 1.0 and certain["x"].low == 0.5


def coverage(
    changes: int, seeds: int, between: float, unsteady: float = 1.0, tasks: int = 200, repeats: int = 1500
) -> tuple[float, float]:
    """How often the intervals of the first, and of all changes hold the truth. `between`: the deviation of
    one model over seeds in units of its deviation over tasks; `unsteady`: the first change's, in units of the
    others'.

    Right and wrong answers, task by task: a task has an ease of its own, that all models of a seed share, and
    every model a shift of its own."""
    rng = np.random.default_rng((changes, seeds, round(100 * between), round(10 * unsteady)))
    noise = between * math.sqrt(0.25 / tasks)
    held = np.zeros((repeats, changes), bool)
    for r in range(repeats):
        ease = rng.uniform(0.35, 0.95, (seeds, 1, tasks))
        shift = rng.normal(0, noise, (seeds, changes + 1, 1))
        shift[:, 1] *= unsteady
        right = rng.uniform(0, 1, (seeds, changes + 1, tasks)) < np.clip(ease + shift, 0, 1)
        family: dict[str, list[Seed]] = {}
        for k in range(1, changes + 1):
            moved = right[:, k].astype(float) - right[:, 0]
            family[str(k)] = [Seed(float(m.mean()), float(m.var(ddof=1)) / tasks) for m in moved]
        for k, found in enumerate(differences(family).values()):
            assert found.low is not None and found.high is not None
            held[r, k] = found.low <= 0 <= found.high
    return float(held[:, 0].mean()), float(held.mean())


@pytest.mark.parametrize("changes", [1, 3])
@pytest.mark.parametrize("between", [0.0, 0.5, 1.0, 3.0])
def test_the_interval_holds_the_truth_as_often_as_it_says(changes: int, between: float) -> None:
    """Whether seeds add nothing to the noise of the tasks or three times as much."""
    first, all_ = coverage(changes, 3, between)
    assert all_ > 0.935 and (all_ < 0.985 or between < 3), (first, all_)


def test_a_change_that_is_three_times_as_unsteady_is_covered_less_often() -> None:
    """What is assumed, and what it costs where it does not hold."""
    first, _ = coverage(3, 3, 3.0, unsteady=3.0)
    assert 0.80 < first < 0.95, first

"""Statistics against closed forms, published figures and scipy."""

import itertools
import math
import random

import pytest
from scipy import stats as reference

from everystep.evaluate.stats import bootstrap_mean, holm, mcnemar, wilson


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(50, 50, 0.929, 1.0), (45, 50, 0.786, 0.957), (330, 1319, 0.228, 0.274), (0, 50, 0.0, 0.071)],
)
def test_wilson_has_the_known_values(right: int, n: int, low: float, high: float) -> None:
    assert [round(x, 3) for x in wilson(right, n)] == [low, high]


def test_wilson_agrees_with_scipy_and_holds_the_proportion() -> None:
    for n in (1, 2, 7, 50, 1319):
        for right in sorted({0, 1, n // 3, n // 2, n - 1, n}):
            for level in (0.8, 0.95, 0.99):
                low, high = wilson(right, n, level)
                theirs = reference.binomtest(right, n).proportion_ci(level, method="wilson")
                assert math.isclose(low, theirs.low, abs_tol=1e-12)
                assert math.isclose(high, theirs.high, abs_tol=1e-12)
                assert 0 <= low <= right / n <= high <= 1


def test_wilson_mirrors() -> None:
    low, high = wilson(45, 50)
    other_low, other_high = wilson(5, 50)
    assert math.isclose(low, 1 - other_high)
    assert math.isclose(high, 1 - other_low)


def test_wilson_half_width_of_a_gsm8k_test_set() -> None:
    low, high = wilson(660, 1319)
    assert round((high - low) / 2, 3) == 0.027


@pytest.mark.parametrize(("right", "n", "level"), [(0, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 0.0), (1, 2, 1.0)])
def test_wilson_refuses(right: int, n: int, level: float) -> None:
    with pytest.raises(ValueError, match=r"proportion|confidence"):
        wilson(right, n, level)


@pytest.mark.parametrize(("gained", "lost", "p"), [(30, 15, 0.036), (15, 30, 0.036), (60, 40, 0.057), (0, 5, 0.062)])
def test_mcnemar_has_the_known_values(gained: int, lost: int, p: float) -> None:
    assert abs(mcnemar(gained, lost) - p) < 6e-4


def test_mcnemar_agrees_with_the_binomial_test() -> None:
    for gained in range(0, 40, 3):
        for lost in range(0, 40, 4):
            theirs = reference.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
            assert math.isclose(mcnemar(gained, lost), theirs, rel_tol=1e-9)


def test_mcnemar_is_exact_for_many_tasks_and_refuses_negative_counts() -> None:
    assert mcnemar(0, 1000) == 2.0**-999
    assert 0 < mcnemar(4000, 4792) < 1e-15
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 2)


def test_bootstrap_is_seeded_and_close_to_the_normal_interval() -> None:
    source = random.Random(3)
    values = [source.gauss(5.0, 2.0) for _ in range(400)]
    low, high = bootstrap_mean(values, seed=1)
    assert (low, high) == bootstrap_mean(values, seed=1)
    assert (low, high) != bootstrap_mean(values, seed=2)
    mean = math.fsum(values) / 400
    error = math.sqrt(math.fsum((v - mean) ** 2 for v in values)) / 400
    assert abs(low - (mean - 1.96 * error)) < 0.02
    assert abs(high - (mean + 1.96 * error)) < 0.02


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    source, covered = random.Random(0), 0
    for trial in range(200):
        values = [source.random() for _ in range(60)]
        low, high = bootstrap_mean(values, seed=trial, resamples=500, level=0.9)
        covered += low <= 0.5 <= high
    # 200 trials at 90 %: mean 180, standard deviation 4.2; percentile intervals run slightly narrow.
    assert 165 <= covered <= 193


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_bootstrap_refuses(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean(values)
    with pytest.raises(ValueError, match="resamples"):
        bootstrap_mean([1.0], resamples=10)


def test_holm_by_hand_and_in_any_order() -> None:
    assert holm([]) == []
    assert holm([0.2]) == [0.2]
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([0.5, 1.2])


def test_holm_lies_between_the_values_and_bonferroni() -> None:
    source = random.Random(5)
    for _ in range(50):
        ps = [source.random() ** 3 for _ in range(8)]
        adjusted = holm(ps)
        assert all(p <= a <= min(1.0, 8 * p) + 1e-12 for p, a in zip(ps, adjusted, strict=True))
        order = sorted(range(8), key=lambda i: ps[i])
        assert all(adjusted[i] <= adjusted[j] for i, j in itertools.pairwise(order))

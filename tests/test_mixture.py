"""The order of training: a function of tasks, weights, seed and the batch's number."""

import random
import time
from collections import Counter

import pytest

from everystep.core.types import Kind, Task, task_id
from everystep.data.mixture import CYCLE, mixture


def _task(i: int, question: str | None = None, source: str = "test", split: str = "train") -> Task:
    question = question or f"A box holds {i} pens. How many pens do 3 boxes hold?"
    answer = str(3 * i)
    solution = (f"3 * {i} = {answer} pens.", f"Therefore, {answer} pens.")
    return Task(task_id(source, question, answer), "math", question, answer, Kind.NUMBER, source, split, solution)


def _pools() -> dict[str, list[Task]]:
    return {
        "a": [_task(i, source="a") for i in range(1, 101)],
        "b": [_task(i, source="b") for i in range(1, 38)],
        "c": [_task(i, source="c") for i in range(1, 6)],
    }


WEIGHTS = {"a": 2.0, "b": 1.0, "c": 0.1}


def test_a_batch_is_a_function_of_its_number() -> None:
    one, other = mixture(_pools(), WEIGHTS, 16, 7), mixture(_pools(), WEIGHTS, 16, 7)
    straight = [one.batch(k) for k in range(60)]
    order = list(range(60))
    random.Random(0).shuffle(order)
    jumped = {k: other.batch(k) for k in order}
    assert straight == [jumped[k] for k in range(60)]
    assert all(len(b) == 16 for b in straight)
    assert one == other


def test_the_order_follows_content_and_seed_not_the_order_of_the_file() -> None:
    one = mixture(_pools(), WEIGHTS, 16, 7)
    turned = mixture({n: own[::-1] for n, own in reversed(_pools().items())}, WEIGHTS, 16, 7)
    assert [one.batch(k) for k in range(20)] == [turned.batch(k) for k in range(20)]
    assert [one.batch(k) for k in range(3)] != [mixture(_pools(), WEIGHTS, 16, 8).batch(k) for k in range(3)]


def test_the_stream_is_the_same_however_it_is_cut_into_batches() -> None:
    small, large = mixture(_pools(), WEIGHTS, 4, 1), mixture(_pools(), WEIGHTS, 12, 1)
    assert [t for k in range(30) for t in small.batch(k)] == [t for k in range(10) for t in large.batch(k)]


def test_every_task_is_seen_once_an_epoch() -> None:
    mixed = mixture(_pools(), WEIGHTS, 10, 3)
    stream = [t for k in range(200) for t in mixed.batch(k)]
    for name, own in _pools().items():
        seen = [t.id for t in stream if t.source == name]
        for start in range(0, len(seen) - len(own) + 1, len(own)):
            assert set(seen[start : start + len(own)]) == {t.id for t in own}
        if name == "a":
            assert seen[:100] != seen[100:200]


def test_weights_are_kept_everywhere_and_not_only_in_the_end() -> None:
    mixed = mixture(_pools(), WEIGHTS, 31, 0)
    counts: Counter[str] = Counter()
    for k in range(200):
        counts.update(t.source for t in mixed.batch(k))
        n = 31 * (k + 1)
        for name, weight in WEIGHTS.items():
            assert abs(counts[name] - n * weight / 3.1) <= 2 + n / CYCLE


def test_a_late_batch_costs_no_more_than_an_early_one() -> None:
    mixed = mixture({"a": [_task(i, source="a") for i in range(1, 20_001)]}, {"a": 1.0}, 16, 0)
    start = time.monotonic()
    late = mixed.batch(10**9)
    assert time.monotonic() - start < 2
    assert len(late) == 16
    assert len(mixed.orders) <= 2
    for k in range(0, 10**6, 10**5):
        mixed.batch(k)
    assert len(mixed.orders) <= 3
    assert mixed.batch(10**9) == late
    assert mixed.epoch(1250) == 1.0


def test_many_sources_and_uneven_weights() -> None:
    pools = {str(i): [_task(j, source=str(i)) for j in range(1, 4)] for i in range(40)}
    mixed = mixture(pools, {n: 10.0 ** (-int(n) / 5) for n in pools}, CYCLE, 0)
    assert sum(p.share for p in mixed.pools) == CYCLE
    assert min(p.share for p in mixed.pools) == 1
    assert {t.source for t in mixed.batch(0)} == set(pools)


@pytest.mark.parametrize(
    ("pools", "weights", "size", "message"),
    [
        ({}, {}, 4, "needs a source"),
        ({"a": [_task(1)]}, {"a": 1.0}, 0, "needs a source"),
        ({"a": []}, {"a": 1.0}, 4, "'a' has no tasks"),
        ({"a": [_task(1)]}, {}, 4, "'a' has the weight 0"),
        ({"a": [_task(1)]}, {"a": float("nan")}, 4, "'a' has the weight nan"),
        ({"a": [_task(1), _task(1)]}, {"a": 1.0}, 4, "holds a task twice"),
    ],
)
def test_mixtures_that_make_no_sense(
    pools: dict[str, list[Task]], weights: dict[str, float], size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mixture(pools, weights, size, 0)
    with pytest.raises(ValueError, match="counted from 0"):
        mixture({"a": [_task(1)]}, {"a": 1.0}, 1, 0).batch(-1)

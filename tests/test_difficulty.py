"""Laws of drawing by difficulty: likely mixed comes often, solved rarely, shares hold, states resume."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from everystep.core.types import Kind, Task, task_id
from everystep.data.difficulty import Draws


def make(count: int, source: str = "worked", level: int = 1) -> list[Task]:
    return [
        Task(
            task_id(source, f"{level} {i}", "1"),
            "math",
            f"{level} {i}",
            "1",
            Kind.NUMBER,
            source,
            "train",
            level=level,
        )
        for i in range(count)
    ]


def draws(
    tasks: dict[str, list[Task]],
    shares: dict[str, float] | None = None,
    seed: int = 0,
    mode: Any = "difficulty",
) -> Draws:
    return Draws(tasks, shares or {name: 1.0 for name in tasks}, 8, 8, seed, mode)


def play(d: Draws, rate: Callable[[Task], float], steps: int, start: int = 0) -> list[list[Task]]:
    """Draw for so many steps, each task's groups coming out by its rate."""
    out = []
    for step in range(start, start + steps):
        drawn = d.draw(step, 0, 8)
        for i, task in enumerate(drawn):
            rng = np.random.default_rng((step, i))
            d.saw(step, task, int(rng.binomial(8, rate(task))), 8)
        out.append(drawn)
    return out


@pytest.mark.parametrize(("right", "seen"), [(0.0, 0), (4.0, 8), (8.0, 8), (0.0, 8), (7.0, 8)])
def test_the_chance_of_a_mixed_group_is_that_of_the_beta_distribution(right: float, seen: int) -> None:
    """The closed form against a simulation of rates and groups."""
    tasks = make(3)
    d = draws({"worked": tasks})
    if seen:
        d.saw(5, tasks[1], int(right), seen)
    known = (right + 1) / (seen + 2)
    centre = (right + 2 * known) / (seen + 2)
    a, b = 2 * centre + right, 2 * (1 - centre) + seen - right
    rng = np.random.default_rng(0)
    passes = rng.binomial(8, rng.beta(a, b, 200_000))
    share = np.mean((passes > 0) & (passes < 8))
    assert d.mixed(5)[d.index[tasks[1].id]] == pytest.approx(share, abs=0.005)


def test_medium_tasks_come_often_and_solved_and_hopeless_ones_rarely() -> None:
    easy, medium, hard = (make(100, level=n) for n in (1, 2, 3))
    rates = {1: 0.999, 2: 0.5, 3: 0.001}
    d = draws({"worked": easy + medium + hard})
    drawn = play(d, lambda t: rates[t.level], 60)
    late = Counter(t.level for step in drawn[30:] for t in step)
    assert late[2] > 0.7 * sum(late.values())
    assert late[1] > 0 and late[3] > 0  # both can change, and only drawing them can show it


def test_inside_one_kind_the_solved_tasks_retire() -> None:
    tasks = make(200)
    solved = {t.id for t in tasks[:100]}
    d = draws({"worked": tasks})
    drawn = play(d, lambda t: 1.0 if t.id in solved else 0.5, 200)
    late = Counter(t.id in solved for step in drawn[50:] for t in step)
    assert 0 < late[True] < 0.5 * late[False]
    assert d.solved() == pytest.approx(0.5, abs=0.1)


def test_what_became_easy_is_found_out() -> None:
    """A kind that was hopeless and is now mixed comes back."""
    easy, hard = make(50, level=1), make(50, level=2)
    d = draws({"worked": easy + hard})
    play(d, lambda t: 1.0 if t.level == 1 else 0.0, 60)
    drawn = play(d, lambda t: 1.0 if t.level == 1 else 0.5, 100, start=60)
    late = Counter(t.level for step in drawn[-30:] for t in step)
    assert late[2] > 0.8 * sum(late.values())


def test_sources_keep_their_shares_whatever_their_difficulty() -> None:
    d = draws({"a": make(100, "a"), "b": make(300, "b")}, {"a": 3.0, "b": 1.0})
    drawn = play(d, lambda t: 1.0 if t.source == "a" else 0.5, 200)
    share = np.mean([t.source == "a" for step in drawn for t in step])
    assert share == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize("how", ["difficulty", "even"])
def test_a_step_never_holds_a_task_twice(how: str) -> None:
    d = draws({"worked": make(30)}, mode=how)
    for step in range(20):
        taken: set[str] = set()
        for round_ in range(3):
            drawn = d.draw(step, round_, 8, taken)
            ids = {t.id for t in drawn}
            assert not ids & taken
            assert how == "even" or len(ids) == len(drawn)  # the mixture repeats where an epoch ends
            taken |= ids
            for task in drawn:
                d.saw(step, task, 8, 8)
        assert len(taken) == 24 if how == "difficulty" else len(taken) > 7


def test_more_than_there_are_is_all_there_are() -> None:
    d = draws({"worked": make(10)})
    taken = {t.id for t in d.draw(0, 0, 8)}
    assert len(d.draw(0, 1, 8, taken)) == 2 and d.draw(0, 2, 8, {t.id for t in d.tasks}) == []
    small = draws({"worked": make(3)})  # fewer than a step holds: the mixture's order, which repeats
    assert len(small.draw(0, 0, 8)) == 8


def test_a_state_goes_on_where_it_was() -> None:
    tasks = {"a": make(40, "a"), "b": make(60, "b", level=2)}
    straight, broken = draws(tasks), draws(tasks)
    rate = lambda t: 0.3 * t.level  # noqa: E731
    one = play(straight, rate, 20)
    two = play(broken, rate, 7)
    again = draws(tasks)
    again.go_on(broken.state())
    two += play(again, rate, 13, start=7)
    assert one == two
    assert all(np.array_equal(a, again.state()[name]) for name, a in straight.state().items())


def test_a_state_from_before_dead_groups_were_counted_is_taken_up() -> None:
    d, again = draws({"worked": make(20)}), draws({"worked": make(20)})
    play(d, lambda t: 0.5, 3)
    d.died(1.0)
    assert d.dead > again.dead
    state = d.state()
    again.go_on(state)
    assert again.dead == d.dead
    again.go_on({name: array for name, array in state.items() if name != "draws/dead"})
    assert again.dead == draws({"worked": make(20)}).dead and again.step == d.step


def test_a_state_is_a_copy() -> None:
    d = draws({"worked": make(20)})
    play(d, lambda t: 0.5, 3)
    state = d.state()
    before = {name: array.copy() for name, array in state.items()}
    again = draws({"worked": make(20)})
    again.go_on(state)
    play(again, lambda t: 0.5, 3, start=3)
    play(d, lambda t: 0.9, 3, start=3)
    assert all(np.array_equal(before[name], array) for name, array in state.items())


def test_draws_depend_on_seed_step_and_round_and_not_on_the_order_of_the_tasks() -> None:
    tasks = make(50)
    ids = lambda d, *where: [t.id for t in d.draw(*where)]  # noqa: E731
    one = draws({"worked": tasks})
    assert ids(one, 3, 0, 8) == ids(draws({"worked": tasks[::-1]}), 3, 0, 8)
    assert len({tuple(ids(one, *where, 8)) for where in ((3, 0), (3, 1), (4, 0))}) == 3
    assert ids(one, 3, 0, 8) != ids(draws({"worked": tasks}, seed=1), 3, 0, 8)


def test_even_draws_see_every_task_once_before_any_twice() -> None:
    d = draws({"worked": make(40)}, mode="even")
    drawn = play(d, lambda t: 1.0, 5)
    assert len({t.id for step in drawn for t in step}) == 40

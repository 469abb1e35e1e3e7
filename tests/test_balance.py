"""Which traces are kept: laws of the choice, over made-up candidates."""

from collections import Counter
from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from everystep.data.balance import ALIKE, LEVEL, SPARE, Candidate, choose

WORDS = [f"word{i}" for i in range(15)]


def candidate(task: str, cell: str, text: str = "", rank: float = 0.0) -> Candidate:
    return Candidate(task, cell, text or f"text of {task}", (rank,))


SOME = st.lists(
    st.builds(
        candidate,
        st.sampled_from([f"t{i}" for i in range(12)]),
        st.just(""),
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join),
        st.sampled_from([0.0, 0.5, 1.0]),
    ),
    max_size=60,
).map(lambda some: [Candidate(c.task, f"cell {int(c.task[1:]) ** 2 % 5}", c.text, c.rank) for c in some])


@given(SOME, st.integers(1, 3), st.sampled_from([1.0, 1.5, 3.0]), st.integers(1, 40))
def test_laws_of_the_choice(some: list[Candidate], per_task: int, balance: float, most: int) -> None:
    choice = choose(some, per_task, balance, most)
    kept = [some[at] for at in choice.kept]
    assert set(choice.kept) | set(choice.why) == set(range(len(some)))
    assert not set(choice.kept) & set(choice.why)
    assert max(Counter(c.task for c in kept).values(), default=0) <= per_task
    assert Counter(c.cell for c in kept) == Counter({k: v for k, v in choice.after.items() if v})
    assert choice.before.keys() == choice.after.keys()
    if kept:
        assert max(choice.after.values()) <= balance * median(choice.before.values()) + 1
        assert len(kept) <= max(most, len(choice.before))
        assert min(choice.after.values()) >= 1  # no cell is given up
        smaller = [cell for cell, n in choice.after.items() if n < choice.before[cell]]
        assert all(choice.after[cell] == max(choice.after.values()) for cell in smaller)
    for task in {c.task for c in some}:  # the best of a task is given up for its level only
        own = [at for at, c in enumerate(some) if c.task == task]
        assert choice.why.get(min(own, key=lambda at: (some[at].rank, at)), LEVEL) == LEVEL


@given(SOME, st.integers(1, 3))
def test_nothing_is_given_up_where_there_is_room(some: list[Candidate], per_task: int) -> None:
    choice = choose(some, per_task, 1e9, 10**9)
    assert choice.before == choice.after and LEVEL not in choice.why.values()


def test_the_same_again_is_a_near_duplicate_and_another_way_is_not() -> None:
    first = "3 pens cost 6 so one costs 2 and ten cost 20 in all"
    again = "3 pens cost 6 so one costs 2 and ten cost 20 altogether"
    other = "ten is more than three times three so the price is a bit above 18 namely 20"
    some = [candidate("t", "c", text) for text in (first, again, other, first)]
    assert choose(some, 1, 1.0, 9).why == {1: ALIKE, 2: SPARE, 3: ALIKE}
    assert choose(some, 2, 1.0, 9).kept == (0, 2)
    apart = [candidate(f"t{i}", "c", first) for i in range(4)]  # other questions may have the same work
    assert choose(apart, 1, 1.0, 9).kept == (0, 1, 2, 3)


def test_the_best_is_kept_and_later_tasks_go_first() -> None:
    some = [candidate("a", "easy", "x y", 1.0), candidate("a", "easy", "z w", 0.0)]
    assert choose(some, 1, 1.0, 9).kept == (1,)
    some = [candidate(f"t{i}", "easy" if i < 6 else "hard", f"text {i}") for i in range(8)]
    choice = choose(some, 1, 1.0, 100)
    assert choice.after == {"easy": 4, "hard": 2} and choice.kept == (0, 1, 2, 3, 6, 7)
    assert choose(some, 1, 1.0, 5).kept == (0, 1, 2, 6, 7)  # as even as the whole allows
    assert choose([], 1, 1.0, 5).kept == ()

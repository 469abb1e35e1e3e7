"""Laws of the GRPO loop: what it learns from, the reference, refills, resumable randomness."""

import contextlib
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from everystep.core.recipe import Grpo
from everystep.core.types import Completion, Graded, Sampling, Score, Stop, Stopped, Task
from everystep.data.difficulty import Draws
from everystep.model.chunk import structure
from everystep.model.decode import Decoded, OnDone, decode
from everystep.model.lora import adapter, merged, without
from everystep.score.groups import spread
from everystep.score.mix import Mix
from everystep.score.rewards import PARTS
from everystep.train import grpo as module
from everystep.train.checkpoint import Checkpoints
from everystep.train.groups import Groups, parted, refilled, sample_groups, spare, step_seed
from everystep.train.grpo import grpo
from everystep.train.losses import PolicyBatch, reference
from everystep.train.stage_session import StageSession
from everystep.verify.grade import grade
from model_fixtures import INSTRUCTION, TUNIX, logprobs, lora, tasks, tokenizer

pytestmark = TUNIX
HOW = Grpo(steps=3, prompts=4, group=4, learning_rate=5e-3, warmup=0.0, beta=0.05, max_tokens=16)
WEIGHTS = Mix({"length": 1.0})  # a part that is never equal within a group of random texts


def scores(*totals: float | None) -> list[Score]:
    return [Score("t", i, {"p": t}, t) for i, t in enumerate(totals)]


def length(graded: Graded) -> float:
    """A reward that random text can earn: how many distinct letters it has."""
    return len(set(graded.completion.text)) / 10


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, "length", length)


def draws(how: Grpo = HOW, seed: int = 0) -> Draws:
    """Six tasks, four a step: what is drawn depends on what was."""
    return Draws({"worked": tasks()[:6]}, {"worked": 1.0}, how.prompts, how.group, seed)


def joined(parts: Sequence[PolicyBatch]) -> PolicyBatch:
    """A micro-batch's parts as one, on the host."""
    widest = {
        name: max(np.shape(getattr(part, name))[-1] for part in parts)
        for name in ("prompts", "completions", "sampled", "reference", "weight", "share")
    }

    def one(name: str) -> np.ndarray:
        arrays = [np.asarray(getattr(part, name)) for part in parts]
        if name in widest:
            arrays = [np.pad(x, ((0, 0), (0, widest[name] - x.shape[1]))) for x in arrays]
        return np.concatenate(arrays)

    return parts[0].replace(**{name: one(name) for name in (*widest, "advantages")})  # pyright: ignore


class Watched:
    """One run of three steps, with everything that can be seen of it. Given a folder, it is left after its
    first step, and begins with what is saved there."""

    def __init__(self, how: Grpo = HOW, seed: int = 0, weights: Mix | None = None, folder: Path | None = None):
        self.draws = draws(how, seed)
        session = None
        if folder is not None:
            extra = lambda: ({}, self.draws.state())  # noqa: E731
            session = StageSession(3, how.warmup, Checkpoints(folder, {}), stop=lambda: "asked", extra=extra)
            if session.resumed:
                self.draws.go_on(session.resumed.arrays)
        self.model = lora(seed=8, moved=True, layers=2)
        self.before = adapter(self.model)
        self.steps: list[tuple[int, dict[str, float], list[Graded], list[Score]]] = []
        # Of each step the micro-batches that the trainer is given.
        self.micro_batches: list[list[PolicyBatch]] = []
        step = module.Trainer.step

        def seen(trainer: Any, micro_batches: Any, rate: float) -> dict[str, float]:
            self.micro_batches.append([joined(parts) for parts in micro_batches])
            return step(trainer, micro_batches, rate)

        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Stopped):
            patch.setattr(module.Trainer, "step", seen)
            grpo(
                self.model,
                tokenizer(),
                self.draws,
                how,
                weights or WEIGHTS,
                seed,
                INSTRUCTION,
                lambda *seen: self.steps.append(seen),
                session,
            )
        self.after = adapter(self.model)


@pytest.fixture(scope="module")
def straight() -> Watched:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PARTS, "length", length)
        return Watched()


def test_every_step_is_reported_with_its_completions(straight: Watched) -> None:
    assert [s[0] for s in straight.steps] == [1, 2, 3]
    for _, metrics, graded, scored in straight.steps:
        ids = [g.task.id for g in graded]
        assert ids == [i for i in ids[::4] for _ in range(4)] and len({*ids}) == 4
        assert [g.completion.sample for g in graded] == [0, 1, 2, 3] * 4
        assert [s.parts["length"] for s in scored] == [length(g) for g in graded]
        assert metrics["reward"] == pytest.approx(np.mean([length(g) for g in graded]))
        assert metrics["truncated"] == np.mean([g.completion.stop.value == "length" for g in graded])
        assert all(math.isfinite(v) for v in metrics.values())


def test_the_first_step_starts_from_the_reference(straight: Watched) -> None:
    """KL is 0, no ratio is clipped, and sampler and trainer agree."""
    metrics = straight.steps[0][1]
    assert 0 <= metrics["kl"] < 1e-6 and metrics["pg_clipfrac"] < 1e-6 and metrics["disagreement"] < 1e-4


def test_without_a_penalty_no_divergence_is_said() -> None:
    """The reference is not computed then: a KL of 0 would be made up."""
    metrics = Watched(HOW.model_copy(update={"steps": 1, "beta": 0.0})).steps[0][1]
    assert "kl" not in metrics and {"pg_clipfrac", "entropy", "disagreement"} <= metrics.keys()


def test_the_callers_model_is_the_trained_one(straight: Watched) -> None:
    assert any(not np.array_equal(straight.before[k], straight.after[k]) for k in straight.before)


def test_noise_is_new_at_every_step(straight: Watched) -> None:
    """The same task in another step, and the same task's samples, are other texts."""
    texts = [(g.task.id, g.completion.tokens) for s in straight.steps for g in s[2]]
    assert len({task for task, _ in texts}) < 3 * 4  # some task came twice
    assert len(set(texts)) == len(texts) == 3 * 16


def test_weights_cover_the_completions_and_their_ends(straight: Watched) -> None:
    for (_, _, graded, _), (x,) in zip(straight.steps, straight.micro_batches, strict=True):
        np.testing.assert_array_equal(x.weight, x.share)  # "dapo": the loss is a mean over tokens
        weight, ids = np.asarray(x.weight), np.asarray(x.completions)
        assert weight.sum() == pytest.approx(1, rel=1e-5) and len(np.unique(weight[weight > 0])) == 1
        for row, w, g in zip(ids, weight, graded, strict=True):
            tokens = g.completion.tokens
            assert tuple(row[w > 0].tolist()) == tokens and (w[len(tokens) :] == 0).all()


def test_the_reference_is_the_adapter_that_came_in(straight: Watched) -> None:
    """In the last step as in the first, though the policy has moved. (The rate of the first update is 0.)"""
    start = lora(seed=8, moved=True, layers=2)
    for (x,) in straight.micro_batches:
        tokens = jnp.concatenate([x.prompts, x.completions], axis=1)
        ours = logprobs(start, tokens, 0, x.completions.shape[1])
        inside = np.asarray(x.share) > 0
        np.testing.assert_allclose(np.asarray(x.reference)[inside], ours[inside], atol=1e-4)
    (last,) = straight.micro_batches[-1]
    apart = np.asarray(last.reference) - np.asarray(last.sampled)
    assert np.abs(apart * (np.asarray(last.share) > 0)).max() > 1e-3


@pytest.mark.usefixtures("part")
def test_the_same_seed_is_the_same_run_bit_by_bit(straight: Watched) -> None:
    again = Watched()
    assert all(np.array_equal(again.after[k], straight.after[k]) for k in again.after)
    assert [s[1] for s in again.steps] == [s[1] for s in straight.steps]


@pytest.mark.usefixtures("part")
def test_a_run_that_is_left_and_gone_on_with_is_the_straight_run_bit_by_bit(straight: Watched, tmp_path: Path) -> None:
    """Left after every step: adapter, optimizer, rate, noise, draws and reference go on where they were."""
    parts = []
    for _ in range(3):
        parts.append(Watched(folder=tmp_path))
    assert [s[0] for part in parts for s in part.steps] == [1, 2, 3]
    assert [s[1:] for part in parts for s in part.steps] == [s[1:] for s in straight.steps]
    assert all(np.array_equal(parts[-1].after[k], straight.after[k]) for k in straight.after)


@pytest.mark.usefixtures("part")
def test_micro_batches_are_the_batch(straight: Watched) -> None:
    split = Watched(HOW.model_copy(update={"micro_prompts": 2}))
    assert [s[0] for s in split.steps] == [1, 2, 3]
    assert [len(step) for step in split.micro_batches] == [2, 2, 2]
    sums = [sum(float(np.sum(x.weight)) for x in step) for step in split.micro_batches]
    assert sums == pytest.approx([2, 2, 2], rel=1e-5)
    assert [g.completion.tokens for g in split.steps[0][2]] == [g.completion.tokens for g in straight.steps[0][2]]
    # Adam divides by the gradient's size, so where that is next to nothing, rounding is all there is.
    moved = max(float(np.abs(split.after[k] - split.before[k]).max()) for k in split.after)
    apart = np.concatenate([np.abs(split.after[k] - straight.after[k]).ravel() for k in split.after])
    assert np.quantile(apart, 0.99) < 0.02 * moved


@pytest.mark.usefixtures("part")
def test_a_reward_that_raises_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graded: Graded) -> float:
        if graded.task.id == second:
            raise ZeroDivisionError("oh")
        return 1.0

    second = draws().draw(0, 0, 4)[1].id
    monkeypatch.setitem(PARTS, "length", broken)
    with pytest.raises(ValueError, match=f"'length', task {second}, sample 0: raised ZeroDivisionError"):
        Watched()


def test_wrong_sizes_are_said_before_anything_is_done() -> None:
    with pytest.raises(ValueError, match="micro_prompts is 3, which does not divide"):
        Watched(HOW.model_copy(update={"micro_prompts": 3}))


def test_the_share_that_a_judge_has_answered_is_of_those_in_form() -> None:
    task = tasks()[0]
    form = "<reasoning>Step 1: x. Therefore, y.</reasoning><answer>1</answer>"
    graded = [
        grade(task, Completion(task.id, i, text, (1,), None, Stop.END))
        for i, text in enumerate((form, form, "none", form, form))
    ]
    said = [1.0, None, 0.0, None, 0.5]  # the third is malformed: 0, and nobody was asked
    judged = [Score(task.id, i, {"judge/a": value, "format": 0.0}, 0.0) for i, value in enumerate(said)]
    assert module.judged(graded, judged) == {"judged": 0.5}
    assert math.isnan(module.judged(graded[2:3], judged[2:3])["judged"])
    assert module.judged(graded, [Score(task.id, 0, {"format": 0.0}, 0.0)] * 5) == {}


def groups(*totals: Sequence[float], first: int = 0) -> Groups:
    chosen = list(tasks()[first : first + len(totals)])
    row = Decoded(np.zeros(1, np.int32), np.zeros(1, np.float32), True)
    return Groups(chosen, [[row] * len(t) for t in totals], [[] for _ in totals], [scores(*t) for t in totals])


def test_refills_replace_dead_groups_and_only_those() -> None:
    have = groups((1, 1), (1, 0), (0, 0), (2, 2))
    fresh = [groups((0, 0), (3, 1), first=10), groups((5, 4), (7, 6), (9, 8), first=20)]
    out = refilled(have, lambda round_, count: fresh[round_ - 1])
    assert [[s.total for s in g] for g in out.scores] == [[3, 1], [1, 0], [5, 4], [7, 6]]
    assert out.tasks == [tasks()[11], tasks()[1], tasks()[20], tasks()[21]]
    assert [spread(g).dead for g in have.scores] == [True, False, True, True]  # the caller's are untouched


def test_what_is_drawn_ahead_fills_the_batch_and_is_never_more_than_the_step() -> None:
    for prompts in (1, 3, 16, 24):
        for group in (2, 8, 12):
            counts = [spare(d / 20, prompts, group) for d in range(21)]
            assert counts[0] == 0 and counts == sorted(counts) and max(counts) <= prompts
            for d, count in enumerate(counts):
                rows = (prompts + count) * group
                assert count == prompts or count == 0 or count >= math.ceil(1.5 * d / 20 * prompts)
                assert count in (0, prompts) or 1 << (rows - 1).bit_length() < rows + group


def test_parted_groups_are_all_groups_once() -> None:
    have = groups((1, 1), (1, 0), (0, 0))
    own, ahead = parted(have, 2)
    assert (own.tasks + ahead.tasks, own.scores + ahead.scores) == (have.tasks, have.scores)
    assert len(own.rows) == len(own.graded) == 2


def test_refills_are_bounded_and_keep_the_number_of_groups() -> None:
    asked: list[tuple[int, int]] = []

    def dead(round_: int, count: int) -> Groups:
        asked.append((round_, count))
        return groups((1, 1), (2, 2), first=10)

    have = groups((1, 1), (0, 0), (1, 0))
    assert refilled(have, dead).scores == have.scores and asked == [(1, 3), (2, 3)]
    alive = groups((1, 0), (0, 1))
    assert refilled(alive, dead).scores == alive.scores and len(asked) == 2


@cache
def drawn() -> Groups:
    model = lora(seed=8, moved=True, layers=2)
    graph = structure(without(model))

    def draw(prompts: Sequence[str], n: int, sampling: Sampling, on_done: OnDone) -> list[list[Decoded]]:
        ids = [tokenizer().encode_prompt(p) for p in prompts]
        return decode(graph, merged(model), ids, n, sampling, pad=0, ends=(1, 106), on_done=on_done)

    chosen: Sequence[Task] = draws().draw(0, 0, 4)
    seed = step_seed(0, 0)
    return sample_groups(draw, chosen, HOW, WEIGHTS, tokenizer(), instruction=INSTRUCTION, seed=seed)


@pytest.mark.usefixtures("part")
def test_a_run_draws_what_sampling_draws(straight: Watched) -> None:
    tokens = [g.completion.tokens for group in drawn().graded for g in group]
    assert tokens == [g.completion.tokens for g in straight.steps[0][2]]


def test_the_reference_is_a_copy() -> None:
    model = lora(seed=8, moved=True, layers=2)
    held = reference(model, 2, 0, 1.0)
    tokens = np.random.default_rng(1).integers(4, 500, (2, 12))
    tokens[1, :7] = tokens[0, :7]
    prompts, completions = jnp.asarray(tokens[:, :7], jnp.int32), jnp.asarray(tokens[:, 7:], jnp.int32)
    before = np.asarray(held(prompts, completions))
    plain = logprobs(model, tokens, 0, 5)
    np.testing.assert_allclose(before, np.asarray(plain), atol=1e-5)
    nnx.update(model, nnx.state(lora(seed=9, layers=2), nnx.LoRAParam))
    np.testing.assert_array_equal(before, np.asarray(held(prompts, completions)))


def test_a_shape_is_compiled_once(part: None, caplog: pytest.LogCaptureFixture) -> None:
    """Three steps of two micro-batches: as many programs as there are lengths, of the update, the reference
    and the decoding, though the first call finds arrays as they were made and later ones what came back."""
    how = HOW.model_copy(update={"micro_prompts": 2})
    jax.config.update("jax_log_compiles", True)  # and not the context of that name: Tunix samples in a thread
    try:
        with caplog.at_level("WARNING", logger="jax._src.interpreters.pxla"):
            watched = Watched(how)
    finally:
        jax.config.update("jax_log_compiles", False)
    names = [m.split()[1] for m in caplog.messages if m.startswith("Compiling ")]
    parts = {x.completions.shape for step in watched.micro_batches for x in step}
    count = Counter(names)
    assert len(parts) == 1 and len(watched.steps) == 3
    programs = ("gradient", "run", "prefill", "chunk")
    assert [count[f"jit({name})"] for name in programs] == [1, 1, 1, 1], count
    assert count["jit(updated)"] <= 1, count  # not at all where a test before this one has made it

"""Laws of fine-tuning: only completions weigh, every token of a batch weighs the same, every row is seen."""

import contextlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from everystep.core.recipe import Sft
from everystep.core.trace import gold, prompt, render
from everystep.core.types import Stopped
from everystep.model.lora import adapter
from everystep.train.checkpoint import Checkpoints
from everystep.train.sft import Example, batches, examples, loss, padded_lengths, planned_steps, sft
from everystep.train.stage_session import StageSession
from model_fixtures import INSTRUCTION, TUNIX, logits, lora, tasks, tokenizer

pytestmark = TUNIX
HOW = Sft(epochs=1, batch=8, learning_rate=1e-2, warmup=0.1)


def rows(count: int = 16) -> list[Example]:
    return examples(tasks()[:count], tokenizer(), INSTRUCTION)


def uneven() -> list[Example]:
    """Eight rows whose completions have 1 to 50 tokens."""
    return [Example([2, *range(200, 265 - 3 * i)], [*range(300, 300 + 7 * i), 106]) for i in range(8)]


def test_examples_are_the_format() -> None:
    for row, task in zip(rows(), tasks(), strict=False):
        assert row.prompt[0] == tokenizer().bos and row.completion[-1] == tokenizer().ends[-1]
        assert tokenizer().decode(row.completion) == render(gold(task))
        assert tokenizer().processor.DecodeIds(row.prompt[1:]) == prompt(task, INSTRUCTION).text
    with pytest.raises(ValueError):
        examples([replace(tasks()[0], solution=None)], tokenizer(), INSTRUCTION)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_prompts_and_padding_weigh_nothing(accumulate: int) -> None:
    how = HOW.model_copy(update={"accumulate": accumulate, "batch": 8 // accumulate})
    data = {tuple(r.prompt + r.completion): len(r.prompt) for r in rows()}
    for step in batches(rows(), how, 0, tokenizer().pad, 2):
        assert len(step) == accumulate
        weights = []
        for micro in (part for parts in step for part in parts):
            for tokens, weight in zip(np.asarray(micro.tokens), np.asarray(micro.weight), strict=True):
                ids = tuple(tokens[tokens != tokenizer().pad].tolist())
                start = data[ids]
                assert (weight[:start] == 0).all() and (weight[len(ids) :] == 0).all()
                assert (weight[start : len(ids)] > 0).all()
                assert ids[-1] == tokenizer().ends[-1] and weight[len(ids) - 1] > 0
                weights += weight[weight > 0].tolist()
            assert micro.tokens.shape[1] % 8 == 0
        assert len(set(weights)) == 1 and sum(weights) == pytest.approx(accumulate, rel=1e-5)


def test_the_loss_is_the_mean_over_tokens() -> None:
    model = lora(seed=2, moved=True, layers=2)
    (step,) = batches(uneven(), HOW, 0, tokenizer().pad, 1)
    ((batch,),) = step
    value, _ = nnx.jit(lambda m, b: loss(m, b, tokenizer().pad))(model, batch)
    nats: list[float] = []
    for row in uneven():
        scores = logits(model, [row.prompt + row.completion])[0].astype(np.float64)
        log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        nats += [-log_p[len(row.prompt) + i - 1, t] for i, t in enumerate(row.completion)]
    assert float(value) == pytest.approx(float(np.mean(nats)), rel=1e-5)


def test_no_other_lengths_would_pad_less() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        longest = rng.integers(1, 80, rng.integers(1, 12)).tolist()
        made = padded_lengths(longest)
        assert made == sorted(set(made)) and len(made) <= 4 and all(n % 8 == 0 for n in made)
        tiles = sorted({-(-n // 8) * 8 for n in longest})

        def positions(lengths: Sequence[int], longest: list[int] = longest) -> int:
            return sum(min(n for n in lengths if n >= one) for one in longest)

        ways = [c for k in range(1, 5) for c in combinations(tiles, k) if c[-1] == tiles[-1]]
        assert positions(made) == min(map(positions, ways))


def test_parts_are_the_batch_each_as_long_as_it_needs() -> None:
    data = [Example([2, 5], [7] * n) for n in range(10, 74)]
    how = HOW.model_copy(update={"batch": 32, "epochs": 1.0})
    whole, halves = (batches(data, how, 0, 0, 2, parts) for parts in (1, 2))
    for ((one,),), (two,) in zip(whole, halves, strict=True):
        assert len(two) == 2 and two[0].tokens.shape[1] <= two[1].tokens.shape[1]
        rows = [[t for t in row if t] for part in two for row in np.asarray(part.tokens).tolist()]
        assert rows == [[t for t in row if t] for row in np.asarray(one.tokens).tolist()]
        total = sum(float(np.asarray(part.weight, np.float64).sum()) for part in two)
        assert total == pytest.approx(float(one.weight.sum()), rel=1e-5) == pytest.approx(1, rel=1e-5)
    assert sum(part.tokens.size for (two,) in halves for part in two) < sum(one.tokens.size for ((one,),) in whole)


@pytest.mark.parametrize("size", [1, 7, 8, 21])
def test_every_row_is_seen_once_an_epoch(size: int) -> None:
    how = HOW.model_copy(update={"batch": size, "epochs": 3.0})
    data = [Example([2, 10 + i], [106] * (1 + i % 5)) for i in range(21)]
    steps = planned_steps(len(data), how)
    made = [part for step in batches(data, how, 0, 0, steps) for micro in step for part in micro]
    seen = [int(t[1]) for part in made for t in np.asarray(part.tokens)]
    for epoch in range(3):
        assert Counter(seen[21 * epoch : 21 * (epoch + 1)]) == Counter(range(10, 31))
    assert len(seen) == steps * size


def test_batches_are_a_function_of_the_seed() -> None:
    def ids(seed: int) -> list[bytes]:
        made = batches(rows(64), HOW, seed, 0, 8)
        return [np.asarray(part.tokens).tobytes() for step in made for micro in step for part in micro]

    assert ids(1) == ids(1) != ids(2)


@pytest.mark.parametrize(
    ("count", "epochs", "batch", "accumulate", "steps"),
    [(16, 1, 8, 1, 2), (17, 1, 8, 1, 3), (16, 3, 8, 2, 3), (4, 0.1, 8, 1, 1), (100, 2.5, 10, 1, 25)],
)
def test_planned_steps(count: int, epochs: float, batch: int, accumulate: int, steps: int) -> None:
    how = Sft(epochs=epochs, batch=batch, accumulate=accumulate)
    assert planned_steps(count, how) == steps


def train(
    how: Sft, data: list[Example], dev: list[Example] | None = None, session: StageSession | None = None
) -> tuple[dict, list[tuple[int, dict]]]:
    model, seen = lora(seed=3, layers=2), []
    with contextlib.suppress(Stopped):
        sft(model, tokenizer(), data, dev or [], how, 0, lambda k, values: seen.append((k, values)), session)
    return adapter(model), seen


@pytest.mark.slow
def test_a_run_that_is_left_and_gone_on_with_is_the_straight_run_bit_by_bit(tmp_path: Path) -> None:
    """With accumulation, left at every step in turn."""
    how = HOW.model_copy(update={"epochs": 3.0, "batch": 4, "accumulate": 2, "eval_every": 2})
    data = uneven()
    straight, seen = train(how, data, data[:4])
    planned = planned_steps(len(data), how)

    def session() -> StageSession:
        return StageSession(planned, how.warmup, Checkpoints(tmp_path, {}), stop=lambda: "asked")

    parts: list[tuple[int, dict]] = []
    for _ in range(planned):
        last, some = train(how, data, data[:4], session())
        assert len(some) == 1
        parts += some
    assert parts == seen and all(np.array_equal(last[k], straight[k]) for k in straight)


@pytest.mark.slow
def test_micro_batches_are_the_batch() -> None:
    """Two halves of very different token counts give the update of the whole."""
    how = HOW.model_copy(update={"epochs": 3.0})
    before = adapter(lora(seed=3, layers=2))
    whole, a = train(how, uneven())
    halves, b = train(how.model_copy(update={"batch": 4, "accumulate": 2}), uneven())
    assert [step for step, _ in a] == [step for step, _ in b] == [1, 2, 3]
    assert a[0][1]["loss"] == pytest.approx(b[0][1]["loss"], rel=1e-5)
    moved = max(float(np.abs(whole[k] - before[k]).max()) for k in whole)
    apart = max(float(np.abs(whole[k] - halves[k]).max()) for k in whole)
    assert moved > 5e-3 and apart < 0.02 * moved


def test_the_loss_falls_and_every_step_is_reported() -> None:
    how = HOW.model_copy(update={"epochs": 15.0, "eval_every": 20})
    data = sorted(rows(64), key=lambda r: len(r.prompt) + len(r.completion))[:16]
    assert len(data) == 16
    _, seen = train(how, data, dev=data[:8])
    assert [step for step, _ in seen] == list(range(1, 31)) and planned_steps(16, how) == 30
    losses = [v["loss"] for _, v in seen]
    assert np.mean(losses[-4:]) < 0.8 * losses[0] and all(math.isfinite(x) for x in losses)
    assert [step for step, v in seen if "dev_loss" in v] == [20, 30]
    assert seen[-1][1]["dev_loss"] < losses[0]


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(ValueError, match="no worked task"):
        sft(lora(layers=2), tokenizer(), [], [], HOW, 0, lambda step, values: None)


def test_weights_are_float32() -> None:
    (((batch,),),) = batches(uneven(), HOW, 0, tokenizer().pad, 1)
    assert batch.weight.dtype == jnp.float32 and batch.tokens.dtype == jnp.int32

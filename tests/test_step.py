"""Laws of the training step: the base stays where and what it is, one compilation a shape, and the numbers of
Tunix's own trainer."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from everystep.model.gemma import Gemma
from everystep.model.lora import adapter
from everystep.model.mesh import device_mesh, place
from everystep.model.workers import ONE_WORKER, Workers
from everystep.train.checkpoint import CheckpointError
from everystep.train.sft import SftBatch, loss
from everystep.train.step import Trainer, running_mean
from everystep.train.timing import PhaseTimer, listen
from model_fixtures import TUNIX, base_arrays, lora, micro, tokenizer

pytestmark = TUNIX

RATE = 1e-2
PAD = tokenizer().pad


def placed(seed: int = 4) -> Gemma:
    model = lora(seed=seed, layers=2)
    place(model, device_mesh())  # as every stage does
    return model


def data() -> list[SftBatch]:
    rng = np.random.default_rng(0)
    tokens = [jnp.asarray(rng.integers(4, 500, (4, 32)), jnp.int32) for _ in range(3)]
    return [made(t, jnp.full((4, 32), 1 / 124, jnp.float32).at[:, 0].set(0)) for t in tokens]


def made(tokens: Any, weight: Any) -> SftBatch:
    return SftBatch(tokens, weight)  # pyright: ignore[reportCallIssue]  (the fields that flax's dataclass adds)


def trained(model: Gemma, steps: list[Any], start: dict[str, np.ndarray] | None = None) -> Trainer:
    """One update for each micro-batch."""
    out = Trainer(model, partial(loss, pad=PAD))
    if start:
        out.restore(start)
    for batch in steps:
        out.step([[batch]], RATE)
    return out


def pointers(arrays: dict[str, jax.Array]) -> dict[str, int]:
    return {k: a.unsafe_buffer_pointer() for k, a in arrays.items() if jnp.issubdtype(a.dtype, jnp.floating)}


@pytest.mark.parametrize("together", [1, 3])
def test_the_base_stays_and_the_numbers_are_tunix_s(together: int) -> None:
    """Against PeftTrainer with optax's Adam: three updates, and one update from three micro-batches."""
    ours, stock = placed(), lora(seed=4, layers=2)
    before, where = adapter(ours), pointers(base_arrays(ours))
    kept = {k: np.array(a) for k, a in base_arrays(ours).items() if k in where}
    shared = set(pointers(base_arrays(micro(layers=2))).values())
    assert set(where.values()) <= shared

    traced = [0]

    def counted(model: Gemma, batch: SftBatch) -> Any:
        traced[0] += 1  # its Python body runs only when it is traced
        return loss(model, batch, PAD)

    trainer = Trainer(ours, counted)
    batches = data()
    for k in range(0, 3, together):
        trainer.step([[batch] for batch in batches[k : k + together]], RATE)
    assert traced == [1]
    assert pointers(base_arrays(ours)) == where
    assert all(np.array_equal(kept[k], base_arrays(ours)[k]) for k in kept)
    after = adapter(ours)
    assert all(not np.array_equal(after[k], before[k]) for k in after if k.endswith("_b"))

    config = TrainingConfig(eval_every_n_steps=10**9, max_steps=3, gradient_accumulation_steps=together)
    theirs = PeftTrainer(stock, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE, b2=0.99)), config)
    theirs.with_gen_model_input_fn(lambda batch: {"batch": batch})
    theirs.with_loss_fn(lambda model, batch: loss(model, batch, PAD), has_aux=True)
    theirs.train(batches)
    for name, value in adapter(stock).items():
        np.testing.assert_allclose(after[name], value, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_a_micro_batch_in_parts_is_the_whole_one(count: int) -> None:
    """Parts of different lengths, in turns and side by side."""
    lengths = 24, 32
    rng = np.random.default_rng(1)
    rows = [np.asarray(rng.integers(4, 500, (2, n)), np.int32) for n in lengths]
    weights = [np.full(part.shape, 1 / 100, np.float32) for part in rows]
    parts = [made(jnp.asarray(t), jnp.asarray(w)) for t, w in zip(rows, weights, strict=True)]
    gap = ((0, 0), (0, lengths[1] - lengths[0]))
    tokens = np.concatenate([np.pad(rows[0], gap, constant_values=PAD), rows[1]])
    whole = made(jnp.asarray(tokens), jnp.asarray(np.concatenate([np.pad(weights[0], gap), weights[1]])))

    def after(micro_batch: list[SftBatch], workers: Workers) -> tuple[dict[str, np.ndarray], list[float]]:
        out = Trainer(placed(), partial(loss, pad=PAD), workers)
        losses = [out.step([micro_batch], RATE)["loss"] for _ in range(2)]
        return out.snapshot(), losses

    (one, one_losses), (two, two_losses) = after([whole], ONE_WORKER), after(parts, Workers(count))
    np.testing.assert_allclose(one_losses, two_losses, rtol=1e-5)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-4, err_msg=name)
    if count > 1:
        again, _ = after(parts, ONE_WORKER)
        assert all(np.array_equal(again[name], two[name]) for name in again)


def test_the_mean_of_gradients_is_kept_in_float32() -> None:
    """257 gradients of 1 and one of 2 have no sum in bfloat16 that is not 256."""
    gradients = [{"a": jnp.full(2, 1 + (n == 3), jnp.bfloat16)} for n in range(258)]
    mean = None
    for n, gradient in enumerate(gradients):
        mean = running_mean(mean, [gradient], jnp.int32(n))
    assert mean["a"].dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(mean["a"]), 259 / 258, rtol=1e-6)


def test_what_was_taken_out_and_put_back_goes_on_bit_by_bit() -> None:
    whole = trained(placed(), data()).snapshot()
    first = trained(placed(), data()[:2]).snapshot()
    second = trained(placed(seed=9), data()[2:], first).snapshot()
    assert whole.keys() == second.keys() and "optimizer/rate" in whole
    assert all(np.array_equal(whole[k], second[k]) for k in whole)
    assert any(not np.array_equal(whole[k], first[k]) for k in whole)


def test_a_snapshot_of_another_model_is_refused_and_changes_nothing() -> None:
    out = trained(placed(), [])
    before = out.snapshot()
    name = next(k for k in before if k.startswith("adapter/") and k.endswith("lora_a"))
    for wrong in (
        {k: v for k, v in before.items() if k != name},
        before | {"adapter/extra": before[name]},
        before | {name: before[name][..., :1]},
        before | {name: before[name].astype(np.float16)},
    ):
        with pytest.raises(CheckpointError, match="differs"):
            out.restore({k: v + 1 if v.dtype == np.float32 else v for k, v in wrong.items()})
        assert all(np.array_equal(before[k], v) for k, v in out.snapshot().items())
    out.restore(before | {"best/extra": before[name]})  # which is the stage's own


def test_compilation_is_counted_apart() -> None:
    jax.monitoring.clear_event_listeners()  # as Tunix's trainer does when it closes
    listen()
    timer = PhaseTimer()
    with timer.phase("update"):
        jax.jit(lambda x: jnp.sin(x) * 3 + jnp.cumsum(x))(jnp.arange(7.0)).block_until_ready()
    spent = timer.take()
    assert spent["compile"] > 0 and spent["update"] < spent["total"] - spent["compile"] + 1e-6

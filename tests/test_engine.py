"""Laws of the training step: the base stays where and what it is, one compilation a shape, Tunix's own
numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from everystep.model.lora import adapter
from everystep.model.mesh import device_mesh, place
from everystep.model.workers import Workers
from everystep.train.checkpoint import CheckpointError
from everystep.train.engine import keep_base, restore, snapshot
from everystep.train.optimizer import adapter_optimizer
from everystep.train.sft import Batch, loss
from everystep.train.timing import Ledger
from model_fixtures import TUNIX, base_arrays, lora, micro, tokenizer

pytestmark = TUNIX


RATE = 1e-2


def trainer(model: nnx.Module, optimizer: optax.GradientTransformation | None = None) -> PeftTrainer:
    config = TrainingConfig(eval_every_n_steps=10**9, max_steps=3)
    out = PeftTrainer(model, optimizer or adapter_optimizer(), config)
    pad = tokenizer().pad
    out.with_gen_model_input_fn(lambda b: {"tokens": b.tokens, "weight": b.weight, "pad": pad})
    return out.with_loss_fn(loss, has_aux=True)


def data() -> list[Batch]:
    rng = np.random.default_rng(0)
    tokens = [jnp.asarray(rng.integers(4, 500, (4, 32)), jnp.int32) for _ in range(3)]
    return [Batch(t, jnp.full((4, 32), 1 / 124, jnp.float32).at[:, 0].set(0)) for t in tokens]


def pointers(arrays: dict[str, jax.Array]) -> dict[str, int]:
    return {k: a.unsafe_buffer_pointer() for k, a in arrays.items() if jnp.issubdtype(a.dtype, jnp.floating)}


def test_the_base_stays_and_the_numbers_are_tunix_s() -> None:
    ours, stock = lora(seed=4, layers=2), lora(seed=4, layers=2)
    place(ours, device_mesh())  # as every stage does
    before, where = adapter(ours), pointers(base_arrays(ours))
    kept = {k: np.array(a) for k, a in base_arrays(ours).items() if k in where}
    shared = set(pointers(base_arrays(micro(layers=2))).values())
    assert set(where.values()) <= shared

    mine = trainer(ours)
    keep_base(mine, lambda: RATE, Ledger())
    traced = count_traces(mine)
    losses: list[float] = []
    mine._post_process_train_step = lambda aux: losses.append(float(aux[0]["loss"]))
    mine.train(data(), skip_jit=True)

    assert len(losses) == 3 and traced == [1]  # one shape, one trace
    assert pointers(base_arrays(ours)) == where
    assert all(np.array_equal(kept[k], base_arrays(ours)[k]) for k in kept)
    after = adapter(ours)
    assert all(not np.array_equal(after[k], before[k]) for k in after if k.endswith("_b"))

    theirs = trainer(stock, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE, b2=0.99)))
    theirs.train(data())
    for name, value in adapter(stock).items():
        np.testing.assert_allclose(after[name], value, atol=1e-6)


def count_traces(trainer: PeftTrainer) -> list[int]:
    """How often Tunix's step is traced: its Python body runs only then."""
    seen = [0]
    step = trainer._train_step

    def counted(model: Any, optimizer: Any, inputs: Any) -> Any:
        seen[0] += 1
        return step(model, optimizer, inputs)

    trainer._train_step = counted
    return seen


def steps(model: nnx.Module, batches: list[Batch], start: dict[str, np.ndarray] | None = None) -> PeftTrainer:
    out = trainer(model)
    keep_base(out, lambda: RATE, Ledger())
    if start:
        restore(out, start)
    out.train(batches, skip_jit=True)
    return out


@pytest.mark.parametrize("count", [1, 2])
def test_a_micro_batch_in_parts_is_the_whole_one(count: int) -> None:
    """Parts of different lengths, in turns and side by side."""
    lengths = 24, 32
    rng = np.random.default_rng(1)
    rows = [np.asarray(rng.integers(4, 500, (2, n)), np.int32) for n in lengths]
    weights = [np.full(part.shape, 1 / 100, np.float32) for part in rows]
    parts = tuple(Batch(jnp.asarray(t), jnp.asarray(w)) for t, w in zip(rows, weights, strict=True))
    gap = ((0, 0), (0, lengths[1] - lengths[0]))
    tokens = np.concatenate([np.pad(rows[0], gap, constant_values=tokenizer().pad), rows[1]])
    whole = Batch(jnp.asarray(tokens), jnp.asarray(np.concatenate([np.pad(weights[0], gap), weights[1]])))

    def after(batch: Any, side_by_side: Workers) -> tuple[dict[str, np.ndarray], list[float]]:
        out, losses = trainer(lora(seed=4, layers=2)), list[float]()
        keep_base(out, lambda: RATE, Ledger(), side_by_side)
        out._post_process_train_step = lambda aux: losses.append(sum(float(part["loss"]) for part in aux))
        out.train([batch] * 2, skip_jit=True)
        return snapshot(out), losses

    (one, one_losses), (two, two_losses) = after(whole, Workers(1)), after(parts, Workers(count))
    np.testing.assert_allclose(one_losses, two_losses, rtol=1e-5)
    assert len(two_losses) == 2
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-4, err_msg=name)
    if count > 1:
        again, _ = after(parts, Workers(1))
        assert all(np.array_equal(again[name], two[name]) for name in again)


def test_what_was_taken_out_and_put_back_goes_on_bit_by_bit() -> None:
    whole = snapshot(steps(lora(seed=4, layers=2), data()))
    first = snapshot(steps(lora(seed=4, layers=2), data()[:2]))
    second = snapshot(steps(lora(seed=9, layers=2), data()[2:], first))
    assert whole.keys() == second.keys() and any(k.endswith("/rate") for k in whole)
    assert all(np.array_equal(whole[k], second[k]) for k in whole)
    assert any(not np.array_equal(whole[k], first[k]) for k in whole)


def test_a_snapshot_of_another_model_is_refused_and_changes_nothing() -> None:
    out = trainer(lora(seed=4, layers=2))
    before = snapshot(out)
    name = next(k for k in before if k.endswith("lora_a"))
    for wrong in (
        {k: v for k, v in before.items() if k != name},
        before | {"model/extra": before[name]},
        before | {name: before[name][..., :1]},
        before | {name: before[name].astype(np.float16)},
    ):
        with pytest.raises(CheckpointError, match="differs"):
            restore(out, {k: v + 1 if v.dtype == np.float32 else v for k, v in wrong.items()})
        assert all(np.array_equal(before[k], v) for k, v in snapshot(out).items())


def test_compilation_is_counted_after_tunix_has_taken_the_listeners_off() -> None:
    """Its trainer does so whenever it closes: SFT before GRPO."""
    ledger = Ledger()
    jax.monitoring.clear_event_listeners()
    with ledger.phase("update"):
        jax.jit(lambda x: jnp.sin(x) * 3 + jnp.cumsum(x))(jnp.arange(7.0)).block_until_ready()
    spent = ledger.take()
    assert spent["compile"] > 0 and spent["update"] < spent["total"] - spent["compile"] + 1e-6

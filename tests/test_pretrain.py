"""Laws of pretraining: batches are functions of their number, held-out text stays out, and the loss falls."""

from collections.abc import Iterator

import numpy as np
import pytest

from everystep.core.recipe import Pretrain
from everystep.data.corpus import document
from everystep.model.gemma import Gemma
from everystep.model.tiny import fresh, tiny_config
from everystep.train import pretrain as module
from everystep.train.pretrain import HELD_OUT, batch, parted, pretrain
from model_fixtures import TUNIX, config, logits, tokenizer

pytestmark = TUNIX
HOW = Pretrain(steps=20, batch=8, length=32, learning_rate=1e-2, warmup=0.1, vocabulary=512)


def test_a_batch_is_a_function_of_its_number() -> None:
    first = batch(tokenizer(), HOW, 0, 5)
    assert first.shape == (8, 33) and first.dtype == np.int32
    np.testing.assert_array_equal(first, batch(tokenizer(), HOW, 0, 5))
    assert (first != batch(tokenizer(), HOW, 0, 6)).any() and (first != batch(tokenizer(), HOW, 1, 5)).any()
    assert (first[:, 0] == tokenizer().bos).all() and tokenizer().pad not in first


@pytest.mark.parametrize("start", [0, HELD_OUT])
def test_documents_asked_for_stay_in_their_range(start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows use disjoint documents, and training never comes near the held-out ones."""
    asked: list[int] = []

    def seen(seed: int, index: int) -> str:
        asked.append(index)
        return document(seed, index)

    monkeypatch.setattr(module, "document", seen)
    for k in (0, 1, 99_999):
        batch(tokenizer(), HOW, 0, k, start)
    assert len(set(asked)) == len(asked)
    assert min(asked) >= start and max(asked) < start + 2**36


def test_the_loss_falls() -> None:
    rows: list[tuple[int, dict[str, float]]] = []
    model = pretrain(
        fresh(config(window=16), seed=0),
        tokenizer(),
        HOW,
        0,
        lambda step, values: rows.append((step, values)),
        eval_every=10,
    )
    assert [step for step, _ in rows] == list(range(1, 21))
    losses = [v["loss"] for _, v in rows if "loss" in v]
    held = [v["held_out_loss"] for _, v in rows if "held_out_loss" in v]
    assert len(losses) == len(held) == 2
    assert losses[1] < losses[0] < np.log(512) and held[1] < held[0]
    assert np.abs(logits(model, [tokenizer().encode_prompt("12 + 3 = 15\n")])).max() > 0


def test_rows_of_pieces_that_were_never_shown_are_parted() -> None:
    """Side by side before, apart after, others untouched; the same again from the same seed."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(64, 32)).astype(np.float32)
    table[40:] = 3 + 0.01 * table[40:]
    shown = np.arange(64) < 40

    def cosine(rows: np.ndarray) -> np.ndarray:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows @ rows.T)[~np.eye(len(rows), dtype=bool)]

    out = parted(table, shown, 0)
    assert out.dtype == np.float32 and (out[:40] == table[:40]).all() and (parted(table, shown, 0) == out).all()
    assert cosine(table[40:]).min() > 0.99
    assert np.abs(cosine(out[40:] - table[40:].mean(axis=0))).max() < 0.8
    reach = np.linalg.norm(out[40:] - table[40:].mean(axis=0), axis=1)
    assert reach == pytest.approx(np.linalg.norm(table[:40] - table[:40].mean(axis=0), axis=1).mean(), rel=1e-4)
    for all_or_none in (np.ones(64, bool), np.zeros(64, bool)):
        assert (parted(table, all_or_none, 0) == table).all()


def leaves(model: Gemma) -> Iterator[np.ndarray]:
    from flax import nnx

    return (np.asarray(leaf.get_value()) for _, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param)))


def test_fresh_weights_are_alive() -> None:
    """Tunix's own initial MLP is zero, where gradients stay zero; ours has variance 1 / fan-in everywhere."""
    model = fresh(config(), seed=0)
    for array in leaves(model):
        assert array.ndim == 1 or 0.5 < array.std() * np.sqrt(32) < 1.5 or array.std() * np.sqrt(64) < 1.5
        assert array.ndim == 1 or (array != 0).any()
    assert sum(a.size for a in leaves(fresh(tiny_config(1024), 0))) == pytest.approx(1.3e6, rel=0.1)

"""Laws of adapters: nothing changes until training moves them, the base is shared, files round-trip or are
refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from everystep.model.gemma import Gemma
from everystep.model.logprobs import token_logprobs
from everystep.model.lora import adapter, fused, load_adapter, merged, save_adapter, set_adapter, without
from model_fixtures import TUNIX, base_arrays, config, logits, lora, micro, texts, tokenizer

pytestmark = TUNIX
ABOUT = {"stage": "sft", "seed": 3}


def seen(model: object) -> np.ndarray:
    return logits(model, [tokenizer().encode_prompt(texts(4)[0])])  # type: ignore[arg-type]


def test_a_fresh_adapter_changes_no_logit_and_a_moved_one_does() -> None:
    base, model = seen(micro()), lora(seed=5)
    np.testing.assert_array_equal(seen(model), base)
    arrays = adapter(model)
    assert len(arrays) == 2 * 6 * 6  # q, kv, o, gate, up, down of six layers, a and b each
    assert all((v == 0).all() == k.endswith("_b") for k, v in arrays.items())
    assert np.abs(seen(lora(seed=5, moved=True)) - base).max() > 0.1


def test_merged_weights_give_the_adapted_models_logits() -> None:
    model = lora(seed=5, moved=True)
    plain = nnx.merge(nnx.graphdef(without(model)), merged(model))
    np.testing.assert_allclose(seen(plain), seen(model), atol=2e-5)
    ours, base = base_arrays(plain), base_arrays(micro())
    changed = [k for k in base if ours[k].unsafe_buffer_pointer() != base[k].unsafe_buffer_pointer()]
    assert len(changed) == 6 * 6 and not any("norm" in k or "embed" in k for k in changed)
    fresh = nnx.merge(nnx.graphdef(without(micro())), merged(micro()))
    np.testing.assert_allclose(seen(fresh), seen(micro()), atol=1e-5)


def test_a_fused_policy_has_the_same_numbers_and_gradients() -> None:
    """Also for a fresh adapter, where half of the gradients are zero."""
    pad, rows = tokenizer().pad, np.array([tokenizer().encode_prompt(texts(4)[0])], np.int32)
    weight = np.random.default_rng(0).normal(size=(1, 20)).astype(np.float32)
    for moved in (True, False):
        graph, factors, rest = nnx.split(lora(seed=5, moved=moved, layers=2), nnx.LoRAParam, ...)

        def value(factors: Any, whole: bool, graph: Any = graph, rest: Any = rest) -> Any:
            model = nnx.merge(graph, factors, rest)
            return (token_logprobs(fused(model) if whole else model, jnp.asarray(rows), pad, 20) * weight).sum()

        (a, plain), (b, ours) = (
            jax.jit(jax.value_and_grad(value), static_argnums=1)(factors, whole) for whole in (False, True)
        )
        np.testing.assert_allclose(a, b, rtol=1e-5)
        for x, y in zip(jax.tree.leaves(plain), jax.tree.leaves(ours), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-4 * max(1.0, float(np.abs(x).max())))


@pytest.mark.parametrize("kv", [1, 2])
def test_a_plain_model_has_the_same_logits(kv: int) -> None:
    """Also with as many keys as queries, which Tunix keeps in one array."""
    model = Gemma(replace(config(layers=2), num_kv_heads=kv), rngs=nnx.Rngs(3))
    plain = nnx.merge(nnx.graphdef(without(model)), nnx.state(model))
    assert [x.layers[0].attn.plain for x in (plain, model)] == [True, False]  # pyright: ignore
    rows = [tokenizer().encode_prompt(t)[:20] for t in texts(3)]
    for ours, theirs in zip(logits(plain, rows), logits(model, rows), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_only_a_small_policy_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lora(seed=5, layers=2)
    assert fused(model) is not model and not nnx.to_flat_state(nnx.state(fused(model), nnx.LoRAParam))
    assert fused(micro(layers=2)) is micro(layers=2)  # without an adapter
    again = lora(seed=5, layers=2)
    again.remat = True
    assert fused(again) is again
    monkeypatch.setattr("everystep.model.lora._SMALL", 100)
    assert fused(model) is model


def test_the_base_is_shared_and_the_adapter_is_copied() -> None:
    model = lora(seed=5)
    ours, base = base_arrays(model), base_arrays(micro())
    same = [k for k in base if ours[k].unsafe_buffer_pointer() == base[k].unsafe_buffer_pointer()]
    assert sorted(same) == sorted(base)
    taken = adapter(model)
    first = next(iter(taken))
    taken[first][...] = 7
    assert not (adapter(model)[first] == 7).any()


def test_a_seed_is_an_adapter() -> None:
    a, b, c = adapter(lora(seed=5)), adapter(lora(seed=5)), adapter(lora(seed=6))
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert any(not np.array_equal(a[k], c[k]) for k in a)


def test_a_file_holds_the_adapter(tmp_path: Path) -> None:
    model, other = lora(seed=5, moved=True), lora(seed=6)
    content = save_adapter(tmp_path / "a.safetensors", adapter(model), ABOUT)
    assert content == (tmp_path / "a.safetensors").read_bytes()
    assert content == save_adapter(tmp_path / "b.safetensors", adapter(model), ABOUT)
    arrays, about = load_adapter(tmp_path / "a.safetensors")
    assert about == ABOUT
    set_adapter(other, arrays)
    assert all(np.array_equal(adapter(other)[k], v) for k, v in adapter(model).items())
    np.testing.assert_array_equal(seen(other), seen(model))


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    model = lora(seed=5)
    right = adapter(lora(seed=6, moved=True))
    before = adapter(model)
    last = sorted(right)[-1]
    wrong = [
        {k: v for k, v in right.items() if k != last},
        right | {"layers.9.mlp.up_proj.kernel_lora_a": right[last]},
        right | {last: right[last][..., :-1]},
        right | {last: right[last].T},
        {},
    ]
    for arrays in wrong:
        with pytest.raises(ValueError, match="does not fit") as caught:
            set_adapter(model, arrays)
        assert "\n" not in str(caught.value)
    assert all(np.array_equal(adapter(model)[k], v) for k, v in before.items())


def test_broken_files_are_refused(tmp_path: Path) -> None:
    whole = save_adapter(tmp_path / "a.safetensors", adapter(lora()), ABOUT)
    for content in (
        whole[:-5],
        whole[:100],
        b"",
        b"not safetensors at all",
        whole.replace(b'{\\"stage', b'x\\"stage'),
    ):
        assert content != whole
        (tmp_path / "broken.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"broken\.safetensors: cannot be read") as caught:
            load_adapter(tmp_path / "broken.safetensors")
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="cannot be read"):
        load_adapter(tmp_path / "nowhere.safetensors")

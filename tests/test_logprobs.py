"""Log-probabilities over parts of the vocabulary: value and gradient are the plain ones, memory is not."""

import math
import re
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tunix.models.gemma3.model import RematConfig

from everystep.core.types import Sampling
from everystep.model import logprobs as module
from everystep.model.chunk import Settings, chunk, prefill, row_keys, structure
from everystep.model.config import Config
from everystep.model.decode import decode
from everystep.model.gemma import Gemma
from everystep.model.kv_cache import moved
from everystep.model.logprobs import chosen_logprobs, group_logprobs, token_logprobs
from everystep.model.lora import adapter as adapter_arrays
from everystep.model.lora import add_lora, merged, set_adapter, without
from everystep.model.tiny import fresh
from model_fixtures import TUNIX, config, lora, micro

pytestmark = TUNIX
ROWS, TIME, WIDTH, PIECES = 3, 7, 16, 96


def given(dtype: Any = jnp.float32, scale: float = 1.0) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(scale * rng.normal(size=(ROWS, TIME, WIDTH)), dtype)
    table = jnp.asarray(rng.normal(size=(PIECES, WIDTH)), dtype)
    tokens = jnp.asarray(rng.integers(0, PIECES, (ROWS, TIME)), jnp.int32)
    return hidden, table, tokens, jnp.asarray(rng.normal(size=(ROWS, TIME)), jnp.float32)


def plainly(hidden: np.ndarray, table: np.ndarray, tokens: np.ndarray, temperature: float, cap: float | None) -> Any:
    """By the definition, in float64."""
    scores = hidden.astype(np.float64) @ table.astype(np.float64).T
    scores = (scores if cap is None else cap * np.tanh(scores / cap)) / temperature
    top = scores.max(-1, keepdims=True)
    out = scores - top - np.log(np.exp(scores - top).sum(-1, keepdims=True))
    return np.take_along_axis(out, tokens[..., None], -1)[..., 0]


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("part", [1, 8, 48, 96])
def test_value_and_gradient_do_not_depend_on_the_parts(part: int, temperature: float, cap: float | None) -> None:
    hidden, table, tokens, weight = given()

    def loss(hidden: Any, table: Any, part: int) -> Any:
        each = chosen_logprobs(hidden, table, tokens, part, temperature, cap)
        return (each * weight).sum(), each

    grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), static_argnums=2)
    (_, each), ours = grad(hidden, table, part)
    _, whole = grad(hidden, table, PIECES)
    expected = plainly(np.asarray(hidden), np.asarray(table), np.asarray(tokens), temperature, cap)
    np.testing.assert_allclose(np.asarray(each), expected, atol=1e-5, rtol=1e-6)
    for a, b in zip(ours, whole, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5, rtol=1e-5)


def test_gradients_are_differences() -> None:
    """Against central differences of the definition in float64, by every coordinate of one position."""
    hidden, table, tokens, weight = given()
    ours = jax.grad(lambda h: (chosen_logprobs(h, table, tokens, 8, 0.7, 5.0) * weight).sum())(hidden)
    h, t, k = np.asarray(hidden, np.float64), np.asarray(table), np.asarray(tokens)
    for i in range(WIDTH):
        moved = [h.copy(), h.copy()]
        moved[0][1, 2, i] += 1e-5
        moved[1][1, 2, i] -= 1e-5
        up, down = ((plainly(m, t, k, 0.7, 5.0) * np.asarray(weight)).sum() for m in moved)
        assert float(ours[1, 2, i]) == pytest.approx((up - down) / 2e-5, abs=2e-4)


@pytest.mark.parametrize("scale", [1e3, 0.0])
def test_extremes_stay_finite(scale: float) -> None:
    """Logits of thousands, and all equal."""
    hidden, table, tokens, _ = given(scale=scale)
    each, back = jax.vjp(lambda h: chosen_logprobs(h, table, tokens, 8), hidden)
    assert np.isfinite(each).all() and np.isfinite(back(jnp.ones_like(each))[0]).all()
    if scale == 0:
        np.testing.assert_allclose(each, -math.log(PIECES), rtol=1e-6)


def test_bfloat16_is_summed_in_float32() -> None:
    """What bfloat16 costs is the rounding of the inputs; 96 parts do not add to it."""
    hidden, table, tokens, weight = given(jnp.bfloat16)
    whole = jax.grad(lambda h: (chosen_logprobs(h, table, tokens, PIECES) * weight).sum())(hidden)
    parts = jax.grad(lambda h: (chosen_logprobs(h, table, tokens, 1) * weight).sum())(hidden)
    exact = jax.grad(lambda h: (chosen_logprobs(h, *map(_wide, (table,)), tokens, PIECES) * weight).sum())(
        _wide(hidden)
    )
    assert parts.dtype == jnp.bfloat16
    off = [np.abs(np.asarray(x, np.float32) - np.asarray(exact)).max() for x in (parts, whole)]
    assert off[0] <= max(off[1], 0.02)
    each = chosen_logprobs(hidden, table, tokens, 8)
    expected = plainly(*(np.asarray(_wide(x)) for x in (hidden, table)), np.asarray(tokens), 1.0, None)
    assert each.dtype == jnp.float32
    np.testing.assert_allclose(each, expected, atol=1e-4)


def _wide(x: Any) -> Any:
    return x.astype(jnp.float32)


@pytest.mark.parametrize(
    ("pieces", "positions", "expected"),
    [
        (1024, 128 * 160, 1024),  # the tiny model: the whole vocabulary at once
        (262_144, 64, 262_144),
        (262_144, 16 * 1024, 4096),
        (256_000, 16 * 1024, 4000),
        (262_208, 16 * 1024, 3856),
        (262_144, 10**9, 1),
    ],
)
def test_parts_divide_the_vocabulary(pieces: int, positions: int, expected: int) -> None:
    assert module._part(pieces, positions) == expected and pieces % expected == 0


@pytest.fixture(scope="module")
def wide() -> tuple[Any, Any]:
    """Gemma 3's vocabulary over a narrow model, without its weights."""
    shape: Config = replace(config(), num_embed=262_144)

    def make() -> Gemma:
        return add_lora(Gemma(shape, rngs=nnx.Rngs(0)), 4, 8.0, 0)

    return nnx.split(nnx.eval_shape(make))


@pytest.mark.parametrize("which", ["rows", "groups"])
def test_no_array_has_positions_and_the_vocabulary(wide: tuple[Any, Any], which: str) -> None:
    """In the program of loss and gradient at 16 rows of 1,024 tokens, whose logits would be 17 GB."""
    graph, state = wide
    prompts, rows = jax.ShapeDtypeStruct((4, 512), jnp.int32), jax.ShapeDtypeStruct((16, 512), jnp.int32)
    whole = jax.ShapeDtypeStruct((16, 1024), jnp.int32)

    def loss(adapter: Any, rest: Any, *tokens: Any) -> Any:
        model = nnx.merge(graph, adapter, rest)
        each = token_logprobs(model, *tokens, 0, 1023) if which == "rows" else group_logprobs(model, *tokens, 0)
        return each.sum()

    adapter, rest = nnx.split_state(state, nnx.LoRAParam, ...)
    tokens = (whole,) if which == "rows" else (prompts, rows)
    program = jax.jit(jax.grad(loss)).lower(adapter, rest, *tokens).compile()
    shapes = {s for s in re.findall(r"\b(?:f32|bf16|f16|s32|pred)\[([\d,]+)\]", program.as_text())}
    sizes = [[int(n) for n in s.split(",")] for s in shapes]
    assert [262_144, 32] in sizes  # the embedding: the program was read
    assert max(math.prod(s) for s in sizes if s != [262_144, 32]) <= 1 << 26
    assert program.memory_analysis().temp_size_in_bytes < 3 << 30


def test_decoding_has_no_array_of_positions_by_the_vocabulary() -> None:
    """In prefill and chunk at 64 rows of 512 positions and more: one position a row has logits at a time."""
    model = nnx.eval_shape(lambda: Gemma(replace(config(layers=2), num_embed=262_144), rngs=nnx.Rngs(0)))
    graph, state, rows = structure(model), nnx.state(model), 64
    ids = jax.ShapeDtypeStruct((rows, 512), jnp.int32)
    first = prefill.lower(graph, state, ids, 0)
    past, logits = jax.eval_shape(partial(prefill, graph, pad=0), state, ids)
    past = jax.eval_shape(lambda p: {k: moved(layers, jnp.int32(0), 768) for k, layers in p.items()}, past)
    done, shift, number = (jax.ShapeDtypeStruct(*of) for of in (((rows,), bool), ((rows,), "int32"), ((), "int32")))
    keys = jax.eval_shape(row_keys, *(jax.ShapeDtypeStruct(s, "uint32") for s in ((), (rows,), (rows,))))
    starts, warm = dict.fromkeys(past, number), jax.ShapeDtypeStruct((), jnp.float32)
    how = Settings(False, 0, 1.0, (1, 106), 0)
    then = chunk.lower(graph, state, None, (past, logits, done), keys, shift, starts, warm, how)
    for program in (first, then):
        text = program.compile().as_text()
        shapes = {s for s in re.findall(r"\b(?:f32|bf16|f16|s32|u32|pred)\[([\d,]+)\]", text)}
        sizes = [[int(n) for n in s.split(",")] for s in shapes]
        wide = [s for s in sizes if 262_144 in s and s != [262_144, 32]]
        assert [rows, 262_144] in wide or [rows, 1, 262_144] in wide
        assert max(math.prod(s) for s in wide) <= rows * 262_144 * 2  # a random number has two words


def test_layers_that_are_computed_again_change_no_number() -> None:
    """Gradients with remat are those without; and such a model decodes."""
    plain = lora(seed=5, moved=True, layers=2)
    graph, adapter, rest = nnx.split(plain, nnx.LoRAParam, ...)
    shape = replace(config(layers=2), remat_config=RematConfig.DECODER)
    again = add_lora(nnx.merge(nnx.graphdef(fresh(shape, seed=1)), nnx.state(micro(layers=2))), 4, 8.0, None)
    other, _, _ = nnx.split(again, nnx.LoRAParam, ...)
    rng = np.random.default_rng(1)
    prompts = jnp.asarray(rng.integers(4, 500, (2, 32)), jnp.int32)
    rows = jnp.asarray(rng.integers(4, 500, (4, 16)), jnp.int32)

    def grad(graph: Any) -> Any:
        def loss(adapter: Any) -> Any:
            return group_logprobs(nnx.merge(graph, adapter, rest), prompts, rows, 0, 0.7).sum()

        return jax.jit(jax.value_and_grad(loss))(adapter)

    (one, ours), (two, theirs) = grad(graph), grad(other)
    assert float(one) == pytest.approx(float(two), rel=1e-6)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-4, rtol=1e-4)
    set_adapter(again, adapter_arrays(plain))
    ids, how = [[2, 7, 9, 30], [2, 8]], Sampling(temperature=0.0, max_tokens=20)
    texts = [decode(structure(without(m)), merged(m), ids, 1, how, pad=0, ends=(1, 106)) for m in (plain, again)]
    assert [g[0].tokens.tolist() for g in texts[0]] == [g[0].tokens.tolist() for g in texts[1]]

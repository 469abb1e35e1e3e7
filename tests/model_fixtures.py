"""A micro Gemma and its tokenizer, made once for all tests of model/ and train/: real Tunix, small enough for
one core. Compiled programs are shared through a cache on disk."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece
from flax import nnx

from everystep.core.trace import prompt
from everystep.core.types import Task
from everystep.data import worked
from everystep.data.corpus import tokenizer_lines
from everystep.model.config import Config
from everystep.model.gemma import Gemma
from everystep.model.logprobs import attention, token_logprobs
from everystep.model.lora import adapter, add_lora, set_adapter
from everystep.model.tiny import fresh
from everystep.model.tokenizer import Tokenizer, train_tokenizer

VOCABULARY = 512
INSTRUCTION = "none"

# A module's `pytestmark`: Tunix and qwix call what flax and jax have deprecated, which is no error of ours.
TUNIX = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]

# The same compiled programs as the commands of the tests use (conftest.py).
jax.config.update("jax_compilation_cache_dir", str(Path(os.environ["XDG_CACHE_HOME"]) / "everystep" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@cache
def tokenizer_model() -> bytes:
    return train_tokenizer(tokenizer_lines(0, documents=300), VOCABULARY)


@cache
def tokenizer() -> Tokenizer:
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(tokenizer_model())
    turn = processor.PieceToId("<end_of_turn>")
    return Tokenizer(processor, processor.pad_id(), processor.bos_id(), (processor.eos_id(), turn), VOCABULARY)


def config(window: int = 8, layers: int = 6) -> Config:
    """Five local layers and a global one. The window is shorter than any sequence of these tests. What is not
    about attention has less to compile with fewer layers, which are local ones."""
    return Config(
        num_layers=layers,
        num_embed=VOCABULARY,
        embed_dim=32,
        hidden_dim=64,
        num_heads=2,
        head_dim=16,
        num_kv_heads=1,
        sliding_window_size=window,
        local_base_frequency=10_000,
        global_base_frequency=1_000_000,
        param_dtype=jnp.float32,
    )


def micro(window: int = 8, layers: int = 6) -> Gemma:
    """Random weights, sharp enough that greedy choices are no ties. Shared: nothing may train it in place."""
    return _micro(window, layers)


@cache
def _micro(window: int, layers: int) -> Gemma:
    return fresh(config(window, layers), seed=1)


def lora(seed: int = 0, moved: bool = False, layers: int = 6) -> Gemma:
    """A new policy over the shared base, with fresh adapters; `moved`: with non-zero ones."""
    graph, factors, rest = _lora(seed, layers)
    model: Gemma = nnx.merge(graph, jax.tree.map(jnp.copy, factors), rest)  # a step gives its buffers away
    if moved:
        rng = np.random.default_rng(seed)
        set_adapter(model, {k: v + rng.normal(0, 0.1, v.shape).astype(v.dtype) for k, v in adapter(model).items()})
    return model


@cache
def _lora(seed: int, layers: int) -> Any:
    return nnx.split(add_lora(micro(layers=layers), rank=4, alpha=8.0, seed=seed), nnx.LoRAParam, ...)


def base_arrays(model: nnx.Module) -> dict[str, jax.Array]:
    """The arrays that are no adapter's, by dotted path."""
    _, _, rest = nnx.split(model, nnx.LoRAParam, ...)
    return {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(rest)}


def logits(model: Gemma, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Logits of rows of one length, by one plain forward pass. (At least 112 positions are computed, so that
    there are few shapes; what comes later changes nothing.)"""
    length = len(rows[0])
    tokens = jnp.asarray(np.array([[*row, *[0] * (112 - length)] for row in rows], np.int32))
    positions, mask = attention(jnp.ones(tokens.shape, bool))
    return np.asarray(_logits(model, tokens, positions, mask), np.float32)[:, :length]


@nnx.jit  # one operation at a time, each is a program to be compiled
def _logits(model: Gemma, tokens: Any, positions: Any, mask: Any) -> Any:
    return model(tokens, positions, None, mask)[0]


def logprobs(model: Gemma, tokens: Any, pad: int, count: int, temperature: float = 1.0) -> np.ndarray:
    """The trainer's log-probabilities of the last `count` tokens of each row."""
    return np.asarray(_logprobs(model, jnp.asarray(tokens, jnp.int32), pad, count, temperature))


_logprobs = nnx.jit(token_logprobs, static_argnums=(2, 3, 4))


@cache
def tasks() -> tuple[Task, ...]:
    """Worked tasks of the two low levels."""
    return tuple(worked.task(7, i, levels=(1, 2)) for i in range(64))


def texts(count: int) -> list[str]:
    """Prompts of different lengths."""
    found = sorted((prompt(t, INSTRUCTION).text for t in tasks()), key=len)
    step = len(found) // count
    return found[::step][:count]

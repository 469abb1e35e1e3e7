"""Our Gemma against the reference implementation: random checkpoints that `transformers` wrote, computed by
it with torch. Weights are large, so that soft caps bend and greedy choices are no ties; windows are shorter
than the texts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from everystep.core.types import Sampling
from everystep.model.chunk import structure
from everystep.model.decode import decode, left_pad
from everystep.model.gemma import Gemma
from everystep.model.io.load import Base, load
from everystep.model.logprobs import attention, group_logprobs, token_logprobs
from model_files import gemma2_tokenizer_model
from model_fixtures import TUNIX, VOCABULARY, tokenizer_model

pytestmark = [*TUNIX, pytest.mark.slow]
PAD, WINDOW, NEW = 0, 12, 64
LENGTHS = (5, 40, 23, 16)
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "sliding_window": WINDOW,
    "max_position_embeddings": 512,
    "attn_implementation": "eager",
}


def imported() -> Any:
    """torch, where it is; not imported before a test needs it."""
    return pytest.importorskip("torch", reason="needs torch: pip install torch==2.13.0")


def gemma2() -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    # query_pre_attn_scalar is not the head's width, and caps are low enough to bend what these weights give
    config = Gemma2Config(
        **SHAPE,
        num_hidden_layers=4,
        query_pre_attn_scalar=20,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=8.0,
    )
    return Gemma2ForCausalLM(config)


def gemma3() -> Any:
    """One head of keys and values, as the 270M and the 1B have it."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    shape: dict[str, Any] = SHAPE | {"num_key_value_heads": 1}
    return Gemma3ForCausalLM(Gemma3TextConfig(**shape, num_hidden_layers=6, query_pre_attn_scalar=32))


def gemma3_multimodal() -> Any:
    """As the 4B: text weights under a prefix of their own beside a vision tower, far positions stretched."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )

    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    }
    text = Gemma3TextConfig(**SHAPE, num_hidden_layers=6, query_pre_attn_scalar=20, rope_parameters=rope)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    vision = SiglipVisionConfig(**sizes, image_size=28, patch_size=14)
    config = Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=VOCABULARY - 1
    )
    return Gemma3ForConditionalGeneration(config)


def wild(model: Any, seed: int) -> Any:
    """Random weights of about the size that trained ones have by their effect, and norms that are not one."""
    torch = imported()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(0.3 * noise if value.ndim == 1 else noise * 1.5 / value.shape[-1] ** 0.5)
            assert "norm" in name or value.ndim > 1 or "bias" in name or "vision" in name
    return model.eval()


MODELS = {"gemma2": gemma2, "gemma3": gemma3, "gemma3_multimodal": gemma3_multimodal}


@pytest.fixture(scope="module", params=MODELS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Base]]:
    """Their model, and ours read from the folder they wrote, in several parts."""
    torch = imported()
    torch.set_num_threads(1)
    theirs = wild(MODELS[request.param](), seed=7)
    folder: Path = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    made = gemma2_tokenizer_model() if request.param == "gemma2" else tokenizer_model()
    (folder / "tokenizer.model").write_bytes(made)
    yield theirs, load(str(folder), dtype="float32")


def prompts() -> list[list[int]]:
    rng = np.random.default_rng(3)
    return [[2, *rng.integers(4, VOCABULARY - 1, n - 1).tolist()] for n in LENGTHS]


def their_logits(theirs: Any, rows: np.ndarray) -> np.ndarray:
    """Logits of rows padded on either side."""
    torch = imported()
    mask = torch.tensor(rows != PAD)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        out = theirs(input_ids=torch.tensor(rows, dtype=torch.long), attention_mask=mask.long(), position_ids=positions)
    return out.logits.float().numpy()


def our_logits(ours: Gemma, rows: np.ndarray) -> np.ndarray:
    positions, mask = attention(jnp.asarray(rows != PAD))
    return np.asarray(ours(jnp.asarray(rows, jnp.int32), positions, None, mask)[0])


def test_the_made_checkpoints_are_hard_enough(both: tuple[Any, Base]) -> None:
    """Caps and windows change the numbers: a forward pass without them would fail the tests below."""
    _, base = both
    rows, config = left_pad(prompts(), 40, PAD), base.model.config
    real = rows != PAD
    usual = our_logits(base.model, rows)

    def changed(**values: Any) -> float:
        other = Gemma(replace(config, **values), rngs=nnx.Rngs(0))

        nnx.update(other, nnx.state(base.model))
        return float(np.abs(our_logits(other, rows) - usual)[real].max())

    assert changed(sliding_window_size=512) > 0.01
    assert changed(pattern="G") > 0.01
    if config.family == "gemma2":
        assert changed(attention_cap=None) > 0.01 and changed(logits_cap=None) > 0.01
        assert changed(query_scalar=32) > 0.01


@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_agree(both: tuple[Any, Base], side: str) -> None:
    theirs, base = both
    rows = left_pad(prompts(), 40, PAD)
    if side == "right":
        rows = np.array([np.roll(row, -int((row == PAD).sum())) for row in rows])
    real = rows != PAD
    ours, expected = our_logits(base.model, rows), their_logits(theirs, rows)
    assert expected[real].std() > 0.5
    np.testing.assert_allclose(ours[real], expected[real], atol=1e-4, rtol=0)


def test_prefill_and_decoding_continue_as_they_do(both: tuple[Any, Base]) -> None:
    """64 greedy tokens of a left-padded batch; theirs by generation with their own cache, and by a full pass
    over what we wrote."""
    torch = imported()
    theirs, base = both
    rows = left_pad(prompts(), 40, PAD)
    how = Sampling(temperature=0.0, max_tokens=NEW)

    got = decode(structure(base.model), nnx.state(base.model), prompts(), 1, how, pad=PAD, ends=(VOCABULARY + 1,))
    ours = np.array([group[0].tokens for group in got])
    assert ours.shape == (len(LENGTHS), NEW)
    with torch.no_grad():
        made = theirs.generate(
            input_ids=torch.tensor(rows, dtype=torch.long),
            attention_mask=torch.tensor(rows != PAD).long(),
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=None,
            suppress_tokens=[PAD],
            pad_token_id=PAD,
        )
    assert ours.tolist() == made[:, rows.shape[1] :].tolist()
    whole = their_logits(theirs, np.concatenate([rows, ours], axis=1))[:, rows.shape[1] - 1 : -1]
    logprobs = whole - np.log(np.exp(whole - whole.max(-1, keepdims=True)).sum(-1, keepdims=True))
    logprobs -= whole.max(-1, keepdims=True)
    picked = np.take_along_axis(logprobs, ours[..., None], -1)[..., 0]
    np.testing.assert_allclose(np.array([g[0].logprobs for g in got]), picked, atol=1e-4, rtol=0)


def test_log_probabilities_and_gradients_are_torchs(both: tuple[Any, Base]) -> None:
    """Of given completions at a temperature, every row whole and with a prompt shared by its group; gradients
    of their sum by one matrix of each half of every layer."""
    torch = imported()
    theirs, base = both
    left, rng = left_pad(prompts(), 40, PAD), np.random.default_rng(5)
    right = rng.integers(4, VOCABULARY - 1, (2 * len(LENGTHS), 20)).astype(np.int32)
    right[1, 7:] = right[4, 12:] = PAD
    whole, real = np.concatenate([np.repeat(left, 2, axis=0), right], axis=1), right != PAD

    tokens, mask = torch.tensor(whole, dtype=torch.long), torch.tensor(whole != PAD)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = theirs(input_ids=tokens, attention_mask=mask.long(), position_ids=positions).logits[:, 39:-1]
    picked = torch.log_softmax(logits / 0.7, -1).gather(-1, tokens[:, 40:, None])[..., 0]
    theirs.zero_grad()
    (picked * torch.tensor(real)).sum().backward()
    expected = picked.detach().numpy()

    graph, state = nnx.split(base.model)

    def plain(state: Any) -> Any:
        each = token_logprobs(nnx.merge(graph, state), jnp.asarray(whole), PAD, 20, 0.7)
        return (each * real).sum(), each

    def shared(state: Any) -> Any:
        return group_logprobs(nnx.merge(graph, state), jnp.asarray(left), jnp.asarray(right), PAD, 0.7)

    (_, each), gradient = jax.jit(jax.value_and_grad(plain, has_aux=True))(state)
    np.testing.assert_allclose(np.asarray(each)[real], expected[real], atol=1e-4, rtol=0)
    np.testing.assert_allclose(np.asarray(jax.jit(shared)(state))[real], expected[real], atol=1e-4, rtol=0)
    flat = dict(nnx.to_flat_state(gradient))
    layers = next(m for n, m in theirs.named_modules() if n.endswith("layers") and "vision" not in n)
    for i, layer in enumerate(layers):
        for module, path in (
            (layer.mlp.gate_proj, ("mlp", "gate_proj", "kernel")),
            (layer.self_attn.o_proj, ("attn", "attn_vec_einsum", "w")),
        ):
            their = module.weight.grad.numpy().T
            our = np.asarray(flat["layers", i, *path].get_value()).reshape(their.shape)
            np.testing.assert_allclose(our, their, atol=1e-3 * np.abs(their).max(), rtol=0)

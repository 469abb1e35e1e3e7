"""Real checkpoints: sharded, of mixed dtypes, of three families; to which device, in which dtype; and what is
said of one that cannot be loaded."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import SingleDeviceSharding
from safetensors.numpy import load_file, save_file

from everystep.core.types import Sampling
from everystep.model.chunk import structure
from everystep.model.config import config_json, read_config
from everystep.model.decode import decode
from everystep.model.io.layout import layout
from everystep.model.io.load import fingerprint, load, save
from everystep.model.logprobs import attention
from everystep.model.lora import adapter, add_lora, merged, save_adapter, set_adapter
from model_files import (
    GEMMA2,
    GEMMA3,
    HEAD,
    MIXED,
    gemma2_tokenizer_model,
    named,
    rounded,
    tokenizer_json,
    write,
)
from model_fixtures import TUNIX, VOCABULARY, lora, micro, tokenizer, tokenizer_model

pytestmark = TUNIX
INDEX = "model.safetensors.index.json"
PART = "model-00002-of-00003.safetensors"
VISION = {
    "vision_tower.vision_model.embeddings.patch_embedding.bias": np.zeros(3, np.float32),
    "multi_modal_projector.mm_soft_emb_norm.weight": np.zeros(3, np.float32),
}
# What the hub's file of the 4B holds of its text half; the rest is left to the reader.
SPARSE = {
    "model_type": "gemma3",
    "text_config": {
        **{k: v for k, v in GEMMA3.items() if k not in ("rope_theta", "rope_local_base_freq", "eos_token_id")},
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    write(folder, GEMMA3, named(GEMMA3), parts=3, dtypes=MIXED)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "m")
    return tmp_path / "m"


def parameters(model: Any) -> dict[str, np.ndarray]:
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {".".join(map(str, path)): np.asarray(leaf.get_value()) for path, leaf in flat}


@pytest.mark.parametrize("config", [GEMMA3, GEMMA2], ids=["gemma3", "gemma2"])
def test_parts_of_mixed_dtypes_come_together(tmp_path: Path, config: dict[str, Any]) -> None:
    """Keys and values of a layer lie in different files and have different dtypes; every number arrives where
    it belongs, one by one."""
    given = named(config)
    write(tmp_path, config, given, parts=3, dtypes=MIXED)
    stored = {k: rounded(v, MIXED[i % 3]) for i, (k, v) in enumerate(given.items())}
    places = json.loads((tmp_path / INDEX).read_text())["weight_map"]
    at = "model.layers.3."
    assert places[at + "self_attn.k_proj.weight"] != places[at + "self_attn.v_proj.weight"]
    got = parameters(load(str(tmp_path)).model)
    assert all(v.dtype == np.float32 for v in got.values())
    layer, q = "layers.3.", stored[at + "self_attn.q_proj.weight"]
    assert got[layer + "attn.q_einsum.w"][2, 5, 3] == q[2 * HEAD + 3, 5]
    assert got[layer + "attn.kv_einsum.w"][0, 1, 5, 3] == stored[at + "self_attn.k_proj.weight"][HEAD + 3, 5]
    assert got[layer + "attn.kv_einsum.w"][1, 1, 5, 3] == stored[at + "self_attn.v_proj.weight"][HEAD + 3, 5]
    assert got[layer + "attn.attn_vec_einsum.w"][2, 3, 5] == stored[at + "self_attn.o_proj.weight"][5, 2 * HEAD + 3]
    for name in ("gate_proj", "up_proj", "down_proj"):
        np.testing.assert_array_equal(got[f"{layer}mlp.{name}.kernel"], stored[f"{at}mlp.{name}.weight"].T)
    norms = {
        "pre_attention_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "pre_ffw_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    }
    for ours, theirs in norms.items():
        np.testing.assert_array_equal(got[f"{layer}{ours}.scale"], stored[f"{at}{theirs}.weight"])
    np.testing.assert_array_equal(got["embedder.input_embedding"], stored["model.embed_tokens.weight"])
    np.testing.assert_array_equal(got["final_norm.scale"], stored["model.norm.weight"])
    assert sum(v.size for v in got.values()) == sum(v.size for v in given.values())


def test_a_gemma_2_is_read_as_one(tmp_path: Path) -> None:
    write(tmp_path, {**GEMMA2, "query_pre_attn_scalar": 6}, named(GEMMA2))
    base = load(str(tmp_path))
    c = base.model.config
    assert (c.attention_cap, c.logits_cap, c.query_scalar, c.normalised) == (50.0, 30.0, 6, False)
    assert [c.local(i) for i in range(4)] == [True, False, True, False]
    assert c.local_base_frequency == c.global_base_frequency == 10_000
    assert base.tokenizer.ends == (1, 107)
    assert not any("_norm.scale" in k and "query" in k for k in parameters(base.model))
    (tmp_path / "config.json").write_text(json.dumps(config_json(c)))
    assert read_config(tmp_path) == c


@pytest.mark.parametrize(
    "config",
    [GEMMA2, {**GEMMA3, "num_key_value_heads": GEMMA3["num_attention_heads"]}],
    ids=["gemma2", "as many keys as queries"],
)
def test_adapters_fit_and_what_is_saved_is_what_was_read(tmp_path: Path, config: dict[str, Any]) -> None:
    given = named(config)
    write(tmp_path / "a", config, given)
    base = load(str(tmp_path / "a"))
    save(base.model, (tmp_path / "a" / "tokenizer.model").read_bytes(), tmp_path / "b")
    again = load_file(tmp_path / "b" / "model.safetensors")
    assert again.keys() == given.keys() and all(np.array_equal(again[k], given[k]) for k in given)
    assert read_config(tmp_path / "b") == base.model.config
    model, rng = add_lora(base.model, 2, 4.0, 0), np.random.default_rng(0)
    moved = {k: v + rng.normal(0, 0.1, v.shape).astype(v.dtype) for k, v in adapter(model).items()}
    set_adapter(model, moved)
    assert len(moved) == 2 * config["num_hidden_layers"] * (5 if "qkv" in str(sorted(moved)) else 6)
    tokens = jnp.asarray(rng.integers(4, 500, (2, 12)))
    positions, mask = attention(tokens != 0)
    with_adapter = model(tokens, positions, None, mask)[0]
    plain = nnx.merge(nnx.graphdef(base.model), merged(model))(tokens, positions, None, mask)[0]
    np.testing.assert_allclose(np.asarray(with_adapter), np.asarray(plain), atol=2e-4)
    assert np.abs(np.asarray(base.model(tokens, positions, None, mask)[0] - plain)).max() > 0.05


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_of_a_multimodal_model_the_text_is_read_and_the_rest_is_said(
    tmp_path: Path, made: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    at = "model." if prefix.startswith("model.") else ""
    extra = {at + k: v for k, v in VISION.items()} | {"lm_head.weight": named(GEMMA3)["model.embed_tokens.weight"]}
    write(tmp_path, SPARSE, named(GEMMA3, prefix) | extra)
    base = load(str(tmp_path))
    (said,) = [r.getMessage() for r in caplog.records if r.name.startswith("everystep")]
    assert "2 vision tensors are left out" in said
    c = base.model.config
    assert (c.global_scale_factor, c.global_base_frequency, c.local_base_frequency) == (
        8.0,
        1_000_000,
        10_000,
    )
    ours, text = parameters(base.model), named(GEMMA3)
    np.testing.assert_array_equal(ours["final_norm.scale"], text["model.norm.weight"])
    (tmp_path / "config.json").write_text(json.dumps(config_json(c)))
    assert read_config(tmp_path) == c  # as a text-only model, the stretched positions kept


def test_the_configs_of_transformers_5_are_read(tmp_path: Path) -> None:
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    kinds = [*["sliding_attention"] * 5, "full_attention"]
    old = {k: v for k, v in GEMMA3.items() if k not in ("rope_theta", "rope_local_base_freq")}
    (tmp_path / "config.json").write_text(json.dumps(old | {"rope_parameters": rope, "layer_types": kinds}))
    c = read_config(tmp_path)
    assert (c.global_scale_factor, c.global_base_frequency, c.local_base_frequency) == (
        8.0,
        1_000_000,
        10_000,
    )
    new2 = {k: v for k, v in GEMMA2.items() if k != "rope_theta"} | {
        "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"},
        "layer_types": ["sliding_attention", "full_attention"] * 3,
    }
    (tmp_path / "config.json").write_text(json.dumps(new2))
    assert read_config(tmp_path).global_base_frequency == 10_000


@pytest.mark.slow
def test_bfloat16_is_a_dtype_all_the_way(made: Path) -> None:
    """Weights, adapter, logits and a decoded row; near the float32 ones, and the adapter can be merged."""
    half, whole = load(str(made), dtype="bfloat16"), load(str(made))
    assert {v.dtype for v in parameters(half.model).values()} == {jnp.bfloat16.dtype}
    model = add_lora(half.model, 2, 4.0, 0)
    assert {v.dtype for v in adapter(model).values()} == {jnp.bfloat16.dtype}
    tokens = jnp.asarray(np.random.default_rng(2).integers(4, 500, (1, 20)))
    positions, mask = attention(tokens != 0)
    a = np.asarray(model(tokens, positions, None, mask)[0], np.float32)
    b = np.asarray(whole.model(tokens, positions, None, mask)[0], np.float32)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
    how, plain = Sampling(temperature=0.0, max_tokens=4), nnx.state(half.model)
    rows = decode(structure(half.model), plain, [[2, 9, 9]], 1, how, pad=0, ends=(1,))
    assert np.isfinite(rows[0][0].logprobs).all()
    assert jax.tree.leaves(merged(model))[0].dtype == jnp.bfloat16


def test_parameters_go_where_they_are_told(made: Path) -> None:
    there, asked = SingleDeviceSharding(jax.devices()[0]), dict[str, tuple[int, ...]]()

    def placement(path: tuple[Any, ...], shape: tuple[int, ...]) -> SingleDeviceSharding:
        asked[".".join(map(str, path))] = shape
        return there

    model = load(str(made), placement=placement).model
    assert asked == {k: v.shape for k, v in parameters(model).items()}
    assert load(str(made), placement=there).model.final_norm.scale.get_value().committed


def test_a_tokenizer_json_gives_the_same_ids(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()
    (folder / "tokenizer.json").write_text(tokenizer_json())
    theirs, ours = load(str(folder)).tokenizer, tokenizer()
    assert (theirs.pad, theirs.bos, theirs.ends, theirs.size) == (0, 2, (1, 106), VOCABULARY)
    texts = [
        "<start_of_turn>user\nWhat is 12 + 345?<end_of_turn>\n<start_of_turn>model\n",
        "<reasoning>\nStep 1: 3 × 4 = 12\n</reasoning>\n<answer>12</answer>",
        "  two  spaces, and\tmarks: \u20ac \U0001f600 é",
        "<image_soft_token>",
        "",
    ]
    for text in texts:
        ids = ours.encode(text)
        assert theirs.encode(text) == ids and max(ids, default=0) < VOCABULARY
        assert theirs.decode(ids) == ours.decode(ids) == text.partition("<end_of_turn>")[0]
        assert theirs.encode_completion(text) == ours.encode_completion(text)
        full = ours.encode_completion(text)
        assert theirs.decode_with_ends(full) == ours.decode_with_ends(full)


# What the published models' `config.json` hold of what we read, and their numbers of parameters.
PUBLISHED: dict[str, tuple[dict[str, Any], int | None]] = {
    "gemma3_270m": (
        dict(vocab_size=262144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18,
             num_attention_heads=4, num_key_value_heads=1, sliding_window=512),
        268_098_176,
    ),
    "gemma3_1b_it": (
        dict(vocab_size=262144, hidden_size=1152, intermediate_size=6912, num_hidden_layers=26,
             num_attention_heads=4, num_key_value_heads=1, sliding_window=512),
        999_885_952,
    ),
    "gemma3_4b_it": (
        dict(hidden_size=2560, intermediate_size=10240, num_hidden_layers=34, sliding_window=1024,
             model_type="gemma3_text", rope_scaling={"factor": 8.0, "rope_type": "linear"}),
        None,
    ),
    "gemma2_2b": (
        dict(vocab_size=256000, hidden_size=2304, intermediate_size=9216, num_hidden_layers=26,
             num_attention_heads=8, num_key_value_heads=4, sliding_window=4096),
        2_614_341_888,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_are_the_models_tunix_knows(tmp_path: Path, name: str) -> None:
    """Every field of Tunix's own table of sizes (but for unused rows of the embedding), and the number of
    parameters."""
    from tunix.models.gemma import model as tunix2
    from tunix.models.gemma3 import model as tunix3

    shape, size = PUBLISHED[name]
    if name == "gemma2_2b":
        raw = GEMMA2 | shape | {"head_dim": 256, "query_pre_attn_scalar": 256}
        known: Any = tunix2.ModelConfig.gemma2_2b()
    else:
        whole = {**GEMMA3, **shape, "head_dim": 256, "query_pre_attn_scalar": 256}
        raw = {"model_type": "gemma3", "text_config": shape} if "rope_scaling" in shape else whole
        known = getattr(tunix3.ModelConfig, name)()
    (tmp_path / "config.json").write_text(json.dumps(raw))
    ours = read_config(tmp_path)
    for field in ("num_layers", "embed_dim", "hidden_dim", "num_heads", "num_kv_heads", "head_dim"):
        assert getattr(ours, field) == getattr(known, field), field
    assert ours.sliding_window_size == known.sliding_window_size and ours.query_scalar == 256
    assert 0 <= abs(ours.num_embed - known.num_embed) <= 128
    if name == "gemma2_2b":
        assert (ours.attention_cap, ours.logits_cap) == (
            known.attn_logits_soft_cap,
            known.final_logit_softcap,
        )
    else:
        for field in ("local_base_frequency", "global_base_frequency", "global_scale_factor"):
            assert getattr(ours, field) == getattr(known, field), field
    if size is not None:
        assert sum(int(np.prod(shape)) for _, shape in layout(ours).values()) == size


SHARDED = """
import sys
import jax, numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from everystep.model.io.load import load

mesh = Mesh(np.array(jax.devices()).reshape(4, 1), ("fsdp", "tp"))
def placement(path, shape):
    axis = next((i for i, n in enumerate(shape) if n % 4 == 0), None)
    return NamedSharding(mesh, PartitionSpec(*[None] * (axis or 0), "fsdp" if axis is not None else None))

plain = dict(nnx.to_flat_state(nnx.state(load(sys.argv[1]).model)))
for path, leaf in nnx.to_flat_state(nnx.state(load(sys.argv[1], placement=placement).model)):
    value = leaf.get_value()
    assert len(value.sharding.device_set) == 4, path
    assert value.addressable_shards[0].data.size * 4 == value.size, path
    np.testing.assert_array_equal(np.asarray(value), np.asarray(plain[path].get_value()))
print("same")
"""


def test_parameters_are_split_over_devices(made: Path) -> None:
    """On four virtual devices, in a process of its own: each holds a quarter of every parameter."""
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "ignore", "-c", SHARDED, str(made)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=280)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


@pytest.mark.slow
def test_the_host_never_holds_more_than_a_part_above_the_model(root: Path) -> None:
    """Measured by the kernel in a process of its own; most of the memory would be seen twice otherwise."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux's own count of a process's peak")
    command = [sys.executable, str(root / "bench" / "load_memory.py"), "--shape", "small", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["model"] > 100e6 and found["part"] < 0.7 * found["model"]
    assert found["grew"] > 0.9 * found["model"], "a measurement that sees nothing"
    assert found["above"] < found["part"]


def run_of(root: Path, base: str, stage: str, seed: int) -> None:
    """A run directory with what loading reads of it."""
    root.mkdir(exist_ok=True)
    recipe = {"model": {"name": base, "lora": {"rank": 4, "alpha": 8.0}}}
    (root / "recipe.json").write_text(json.dumps(recipe))
    (root / "checkpoints" / stage).mkdir(parents=True)
    save_adapter(root / "checkpoints" / stage / "adapter.safetensors", adapter(lora(seed, moved=True)), {})


@pytest.mark.slow
def test_a_run_is_its_base_with_its_last_adapter(tmp_path: Path) -> None:
    save(micro(), tokenizer_model(), tmp_path / "base")
    root = tmp_path / "run"
    run_of(root, str(tmp_path / "base"), "sft", 1)
    after_sft = parameters(load(str(root)).model)
    prints = {fingerprint(str(root)), fingerprint(str(tmp_path / "base"))}
    run_of(root, str(tmp_path / "base"), "grpo", 2)
    prints.add(fingerprint(str(root)))
    assert len(prints) == 3
    flat = nnx.to_flat_state(merged(lora(2, moved=True)))
    expected = {".".join(map(str, path)): np.asarray(leaf.get_value()) for path, leaf in flat}
    for name, value in parameters(load(str(root)).model).items():
        np.testing.assert_array_equal(value, expected[name])
    for name, value in parameters(load(f"{root}:sft").model).items():
        np.testing.assert_array_equal(value, after_sft[name])
    upper = tmp_path / "upper"
    run_of(upper, str(root), "sft", 1)
    w = "layers.0.mlp.gate_proj.kernel"
    assert not np.array_equal(parameters(load(str(upper)).model)[w], expected[w])
    with pytest.raises(ValueError, match="'rl' has left no adapter"):
        load(f"{root}:rl")
    run_of(upper, str(upper), "grpo", 1)
    with pytest.raises(ValueError, match="more than 8 runs on top of each other"):
        load(str(upper))


def edit(path: Path, change: Any) -> None:
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def parts(folder: Path, change: Any) -> None:
    held = load_file(folder / PART)
    change(held)
    save_file(held, folder / PART)


def first(held: dict[str, Any]) -> str:
    return sorted(k for k in held if "mlp" in k)[0]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / PART).unlink(), f"{PART} is missing, which {INDEX} names"),
        (lambda f: (f / PART).write_bytes((f / PART).read_bytes()[:-9]), f"{PART} cannot be read"),
        (lambda f: (f / PART).write_bytes((f / PART).read_bytes()[:5]), f"{PART} cannot be read"),
        (lambda f: (f / INDEX).write_text("{"), f"{INDEX} cannot be read"),
        (lambda f: (f / INDEX).write_text("{}"), f"{INDEX} cannot be read"),
        (
            lambda f: edit(f / INDEX, lambda t: t["weight_map"].update(a="../x.safetensors")),
            "'../x.safetensors' is no plain file name",
        ),
        (lambda f: parts(f, lambda h: h.pop(first(h))), "which the index puts there"),
        (
            lambda f: edit(f / INDEX, lambda t: t["weight_map"].pop("model.norm.weight")),
            "1 tensors are missing, the first is model.norm.weight",
        ),
        (
            lambda f: parts(f, lambda h: h.update({first(h): h[first(h)].astype(np.int8)})),
            "is of dtype I8; only float32, float16 and bfloat16",
        ),
        (lambda f: (f / INDEX).unlink(), "no model.safetensors and no index.*nothing says what is in it"),
        (
            lambda f: edit(f / "config.json", lambda c: c.update(model_type="gemma")),
            "model_type is 'gemma', only",
        ),
        (
            lambda f: edit(f / "config.json", lambda c: c.update(layer_types=["full_attention"] * 6)),
            "layer_types",
        ),
        (
            lambda f: edit(f / "config.json", lambda c: c.update(use_bidirectional_attention=True)),
            "only causal",
        ),
        (lambda f: edit(f / "config.json", lambda c: c.update(rope_parameters={})), "no line"),
        (lambda f: edit(f / "config.json", lambda c: c.update(rope_parameters={"x": 1})), "lacks 'sliding"),
        (lambda f: edit(f / "config.json", lambda c: c.update(model_type="gemma3")), "lacks 'text_config'"),
        (lambda f: edit(f / "config.json", lambda c: c.update(model_type="gemma2")), "Gemma 2|is supported"),
        (lambda f: (f / "tokenizer.model").unlink(), "no tokenizer.model and no tokenizer.json"),
        (
            lambda f: ((f / "tokenizer.model").unlink(), (f / "tokenizer.json").write_text("{}")),
            "tokenizer.json cannot be read",
        ),
        (
            lambda f: (shutil.rmtree(f), (f / "flax").mkdir(parents=True), (f / "flax/_METADATA").touch()),
            "a Flax checkpoint without tokenizer.model",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder: Path, spoil: Any, says: str) -> None:
    spoil(folder)
    if says == "no line":  # an empty table means the usual keys
        load(str(folder))
        return
    with pytest.raises(ValueError, match=says) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_another_familys_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(gemma2_tokenizer_model())
    with pytest.raises(ValueError, match=r"ends at the ids \(1, 107\), a Gemma 3 at \(1, 106\)"):
        load(str(folder))

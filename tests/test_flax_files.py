"""Checkpoints in DeepMind's own layout: the model of Hugging Face's, number by number, or one line."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from tunix.models.gemma3.params import map_from_upstream_checkpoint

from everystep.model.io.flax_files import as_folder, flax_name, shape_of_arrays
from everystep.model.io.layout import layout
from everystep.model.io.load import fingerprint, load
from everystep.model.io.published import KNOWN
from everystep.model.io.source import Source, find
from model_files import GEMMA2, GEMMA3, HEAD, HEADS, KV, WIDTH, gemma2_tokenizer_model, named, write
from model_fixtures import TUNIX, tokenizer_model

pytestmark = TUNIX
NORMS = {
    "pre_attention_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "pre_ffw_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def upstream(config: dict[str, Any], dtype: Any = np.float32) -> dict[str, dict[str, np.ndarray]]:
    """The tensors of `named` as DeepMind's checkpoints have them, written down here by hand."""
    hf = {k.removeprefix("model."): v.astype(dtype) for k, v in named(config).items()}
    tree = {
        "transformer/embedder": {"input_embedding": hf["embed_tokens.weight"]},
        "transformer/final_norm": {"scale": hf["norm.weight"]},
    }
    for i in range(config["num_hidden_layers"]):
        ours, theirs = f"transformer/layer_{i}/", f"layers.{i}."
        q, k, v, o = (hf[f"{theirs}self_attn.{x}_proj.weight"] for x in "qkvo")
        gate, up, down = (hf[f"{theirs}mlp.{x}_proj.weight"] for x in ("gate", "up", "down"))
        both = np.stack([gate, up])
        gemma3 = config["model_type"] == "gemma3_text"
        tree |= {
            ours + "attn/q_einsum": {"w": q.reshape(HEADS, HEAD, WIDTH).swapaxes(1, 2)},
            ours + "attn/kv_einsum": {"w": np.stack([x.reshape(KV, HEAD, WIDTH).swapaxes(1, 2) for x in (k, v)])},
            ours + "attn/attn_vec_einsum": {"w": o.T.reshape(HEADS, HEAD, WIDTH)},
            ours + "mlp/gating_einsum": {"w": both if gemma3 else both.swapaxes(1, 2)},
            ours + "mlp/linear": {"w": down.T},
        }
        tree |= {ours + a: {"scale": hf[f"{theirs}{b}.weight"]} for a, b in NORMS.items()}
        if gemma3:
            tree |= {
                f"{ours}attn/_{a}_norm": {"scale": hf[f"{theirs}self_attn.{a[0]}_norm.weight"]}
                for a in ("query", "key")
            }
    return tree


def nested(tree: dict[str, Any]) -> dict[str, Any]:
    """The same with a level for every part of a name."""
    out: dict[str, Any] = {}
    for name, leaf in tree.items():
        at = out
        for part in name.split("/"):
            at = at.setdefault(part, {})
        at.update(leaf)
    return out


def saved(folder: Path, tree: dict[str, Any], config: dict[str, Any], one_by_one: dict[str, Any] | None = None) -> Path:
    """As Kaggle has it: the checkpoint in a folder of its own, the tokenizer beside it; and a config.
    `one_by_one`: a tree whose arrays lie in folders of their own, as Orbax wrote them before."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=one_by_one is None)
    with ocp.Checkpointer(handler) as writer:
        writer.save((folder / "gemma-it").resolve(), args=ocp.args.PyTreeSave(one_by_one or tree))
    gemma2 = config["model_type"] == "gemma2"
    made = gemma2_tokenizer_model() if gemma2 else tokenizer_model()
    (folder / "tokenizer.model").write_bytes(made)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "everystep" / "flax"


def parameters(folder: Path) -> dict[tuple[Any, ...], np.ndarray]:
    flat = nnx.to_flat_state(nnx.state(load(str(folder)).model, nnx.Param))
    return {path: np.asarray(leaf.get_value()) for path, leaf in flat}


@pytest.mark.parametrize("config", [GEMMA3, GEMMA2], ids=["gemma3", "gemma2"])
@pytest.mark.parametrize("form", [dict, nested])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16], ids=["float32", "bfloat16"])
def test_it_is_the_model_of_the_other_layout(
    tmp_path: Path, config: dict[str, Any], form: Callable[[Any], Any], dtype: Any
) -> None:
    write(tmp_path / "hf", config, named(config), dtypes=(dtype,))
    saved(tmp_path / "kaggle", form(upstream(config, dtype)), config)
    theirs, ours = parameters(tmp_path / "hf"), parameters(tmp_path / "kaggle")
    assert theirs.keys() == ours.keys()
    for path, value in theirs.items():
        np.testing.assert_array_equal(ours[path], value, err_msg=str(path))


def test_tunix_reads_the_same_numbers_from_it(tmp_path: Path) -> None:
    """Tunix's own reader of this layout, which fills the same module."""
    tree = upstream(GEMMA3)
    ours = parameters(saved(tmp_path / "kaggle", tree, GEMMA3))
    theirs = nnx.traversals.flatten_mapping(map_from_upstream_checkpoint(tree))
    assert set(theirs) == set(ours)
    for path, value in theirs.items():
        np.testing.assert_array_equal(ours[path], value, err_msg=str(path))


def test_it_is_written_once_and_again_where_it_has_changed(tmp_path: Path, cache: Path) -> None:
    folder = saved(tmp_path / "kaggle", upstream(GEMMA3), GEMMA3)
    checkpoint = folder / "gemma-it"
    first = as_folder(checkpoint)
    assert find(str(folder)) == find(str(checkpoint)) == Source(first)
    before = {p.name: p.stat().st_mtime_ns for p in first.iterdir()}
    assert as_folder(checkpoint) == first
    assert {p.name: p.stat().st_mtime_ns for p in first.iterdir()} == before
    assert fingerprint(str(folder)) == fingerprint(str(first))
    other = upstream(GEMMA3)
    other["transformer/final_norm"]["scale"] = other["transformer/final_norm"]["scale"] + 1
    shutil.rmtree(folder)
    second = as_folder(saved(folder, other, GEMMA3) / "gemma-it")
    assert second != first and sorted(cache.iterdir()) == sorted([first, second])


def test_what_is_seen_with_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seeing = {
        "SigLiPFromPatches_0/siglip_encoder/embedding": {"kernel": np.zeros((2, 2), np.float32)},
        "transformer/embedder/mm_input_projection": {"w": np.zeros((2, 2), np.float32)},
    }
    with caplog.at_level(logging.WARNING, logger="everystep"):
        ours = parameters(saved(tmp_path / "kaggle", upstream(GEMMA3) | seeing, GEMMA3))
    assert "2 vision arrays are left out" in caplog.text
    assert len(ours) == len(parameters(saved(tmp_path / "plain", upstream(GEMMA3), GEMMA3)))


@pytest.mark.parametrize("name", KNOWN)
def test_a_published_shape_is_known_by_its_arrays(name: str) -> None:
    config = KNOWN[name]
    shapes: dict[str, tuple[int, ...]] = {flax_name(path): shape for path, shape in layout(config).values()}
    assert shape_of_arrays(shapes) == config


def without(tree: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in tree.items() if k != "transformer/layer_3/mlp/linear"}


def turned(tree: dict[str, Any]) -> dict[str, Any]:
    return tree | {"transformer/layer_3/mlp/linear": {"w": tree["transformer/layer_3/mlp/linear"]["w"].T}}


def whole(tree: dict[str, Any]) -> dict[str, Any]:
    return {k: {n: np.zeros(v.shape, np.int8) for n, v in leaf.items()} for k, leaf in tree.items()}


@pytest.mark.parametrize(
    ("change", "spoil", "says"),
    [
        (without, None, "layer_3/mlp/linear/w is missing, which a Gemma of this shape has"),
        (
            lambda t: t | {"lora/a": {"w": np.zeros(2, np.float32)}},
            None,
            "1 arrays have no place .* lora/a/w",
        ),
        (
            turned,
            None,
            "layer_3/mlp/linear/w has shape .16, 24., which does not make model.layers.3.mlp.down",
        ),
        (whole, None, "is of type int8, which is not known here"),
        (dict, lambda f: (f / "tokenizer.model").unlink(), "a Flax checkpoint without tokenizer.model"),
        (
            dict,
            lambda f: (f / "config.json").unlink(),
            "6 layers of width 16 are no Gemma that is known here",
        ),
        (
            dict,
            lambda f: (f / "gemma-it" / "_METADATA").write_text("{"),
            "no Orbax checkpoint that can be read",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(
    tmp_path: Path, cache: Path, change: Any, spoil: Any, says: str
) -> None:
    folder = saved(tmp_path / "kaggle", change(upstream(GEMMA3)), GEMMA3)
    if spoil:
        spoil(folder)
    with pytest.raises(ValueError, match=says) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    assert not cache.exists() or not list(cache.iterdir())


def test_a_torn_one_is_one_line(tmp_path: Path, cache: Path) -> None:
    """In a process of its own: Orbax leaves tasks behind that speak up when they are collected."""
    folder = saved(tmp_path / "kaggle", upstream(GEMMA3), GEMMA3)
    for path in (folder / "gemma-it" / "d").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    command = [sys.executable, "-m", "everystep", "eval", str(folder), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith(f"everystep: model {folder}") and "cannot be read" in last
    assert "which does not make" not in last  # that is another fault
    assert not list(cache.iterdir())


def test_numbers_that_are_torn_are_not_called_a_wrong_shape(tmp_path: Path, cache: Path) -> None:
    """One array's own file, in the form without a common store: its shape can be read, its numbers cannot."""
    folder = saved(tmp_path / "kaggle", {}, GEMMA3, one_by_one=upstream(GEMMA3))
    (chunk,) = (folder / "gemma-it" / "transformer/final_norm.scale").glob("[0-9]*")
    chunk.write_bytes(chunk.read_bytes()[:9])
    with pytest.raises(ValueError, match="final_norm/scale cannot be read") as caught:
        load(str(folder))
    assert "\n" not in str(caught.value) and not list(cache.iterdir())

"""Laws of model folders: what is saved is loaded bit by bit, and whatever is wrong is said in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from everystep.model.io.load import load, read_config, save
from model_fixtures import TUNIX, base_arrays, logits, micro, texts, tokenizer, tokenizer_model

pytestmark = TUNIX


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save(micro(), tokenizer_model(), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    shutil.copytree(saved, tmp_path / "m")
    return tmp_path / "m"


def test_what_is_saved_is_loaded_bit_by_bit(saved: Path) -> None:
    base = load(str(saved))
    ids = [tokenizer().encode_prompt(texts(4)[0])]
    assert base.folder == saved and base.tokenizer.encode("12 + 3") == tokenizer().encode("12 + 3")
    ours, theirs = base_arrays(micro()), base_arrays(base.model)
    parameters = {".".join(map(str, p)) for p, _ in nnx.to_flat_state(nnx.state(micro(), nnx.Param))}
    assert all(np.array_equal(ours[k], theirs[k]) for k in parameters)
    np.testing.assert_array_equal(logits(base.model, ids), logits(micro(), ids))


def test_the_config_comes_back(saved: Path) -> None:
    assert read_config(saved) == micro().config


def test_half_precision_files_are_read_as_float32(folder: Path) -> None:
    import ml_dtypes

    tensors = load_file(folder / "model.safetensors")
    save_file({k: v.astype(ml_dtypes.bfloat16) for k, v in tensors.items()}, folder / "model.safetensors")
    value = load(str(folder)).model.final_norm.scale.get_value()
    assert value.dtype == np.float32


def edit(folder: Path, changes: dict[str, Any]) -> None:
    raw = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in raw.items() if v is not ...}, default=str))


def tensors(folder: Path, **changes: np.ndarray | None) -> None:
    now = load_file(folder / "model.safetensors") | {k.replace("__", "."): v for k, v in changes.items()}
    save_file({k: v for k, v in now.items() if v is not None}, folder / "model.safetensors")


NORM = "model__norm__weight"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: shutil.rmtree(f), "not a folder"),
        (lambda f: (f / "config.json").unlink(), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe{}"), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_text("[1]"), "must hold an object"),
        (lambda f: edit(f, {"model_type": "llama"}), "model_type is 'llama'"),
        (lambda f: edit(f, {"hidden_size": ...}), "lacks 'hidden_size'"),
        (lambda f: edit(f, {"hidden_size": None}), "config.json|shape"),
        (lambda f: edit(f, {"rope_theta": "many"}), "wrong kind"),
        (lambda f: edit(f, {"hidden_size": 48}), "has shape"),
        (lambda f: edit(f, {"num_hidden_layers": 7}), "tensors are missing"),
        (lambda f: edit(f, {"num_hidden_layers": 5}), "no place in the model"),
        (lambda f: edit(f, {"vocab_size": 400}), "the tokenizer has 512 pieces"),
        (lambda f: edit(f, {"attention_bias": True}), "attention_bias"),
        (lambda f: edit(f, {"query_pre_attn_scalar": 0}), "query_pre_attn_scalar"),
        (lambda f: edit(f, {"sliding_window_pattern": 4}), "sliding_window_pattern"),
        (lambda f: edit(f, {"rope_scaling": {"rope_type": "yarn", "factor": 8.0}}), "rope_scaling"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]),
            "cannot be",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot be read"),
        (lambda f: tensors(f, **{NORM: None}), "1 tensors are missing, the first is model.norm.weight"),
        (lambda f: tensors(f, **{NORM: np.ones(31, np.float32)}), "model.norm.weight has shape"),
        (lambda f: tensors(f, **{"model__more": np.ones(3, np.float32)}), "model.more"),
        (lambda f: (f / "tokenizer.model").unlink(), "no tokenizer.model"),
        (lambda f: (f / "tokenizer.model").write_bytes(b"nothing"), "tokenizer.model cannot be read"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder: Path, spoil: Any, says: str) -> None:
    spoil(folder)
    with pytest.raises(ValueError, match=says) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_an_untied_head_that_is_tied_after_all_is_no_error(folder: Path) -> None:
    tensors(folder, lm_head__weight=load_file(folder / "model.safetensors")["model.embed_tokens.weight"])
    load(str(folder))


def test_a_name_that_is_nothing() -> None:
    with pytest.raises(ValueError, match="'gemma9': not a folder; give 'tiny' or a folder"):
        load("gemma9")

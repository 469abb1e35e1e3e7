"""Small bases in the forms that real ones have, and runs that have left an adapter on them, for the tests of
exports."""

import json
from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from everystep.core import recipe as recipes
from everystep.core.recipe import Recipe
from everystep.core.run import Run, open_run
from everystep.model.io.load import save
from everystep.model.lora import adapter, save_adapter
from model_fixtures import lora, micro, tokenizer_model

RANK, ALPHA = 4, 8.0  # of `model_fixtures.lora`


def base_folder(folder: Path, dtype: str = "float32", shards: int = 1, prefix: str = "model.") -> Path:
    """The micro Gemma as a folder; in bfloat16 its norms stay float32, as in some published files. Another
    `prefix` makes it the text half of a model that also sees."""
    save(micro(), tokenizer_model(), folder)
    tensors = {k.replace("model.", prefix, 1): v for k, v in load_file(folder / "model.safetensors").items()}
    config = json.loads((folder / "config.json").read_text())
    if dtype == "bfloat16":
        config["torch_dtype"] = dtype
        tensors = {k: v if "norm" in k else v.astype(ml_dtypes.bfloat16) for k, v in tensors.items()}
    if prefix != "model.":
        config = {"model_type": "gemma3", "text_config": config, "vision_config": {"model_type": "siglip"}}
        name = "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight"
        tensors[name] = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors"
        own = names[i::shards]
        save_file({n: tensors[n] for n in own}, folder / file)
        files |= dict.fromkeys(own, file)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return folder


def recipe_on(base: Path | str, formats: Sequence[str] = ()) -> Recipe:
    tree = {
        "name": "exported",
        "model": {"name": str(base), "prompt": "format", "lora": {"rank": RANK, "alpha": ALPHA}},
        "data": {"worked": {}},
        "export": [*formats],
    }
    return recipes.validate(tree, "test")


def arrays(seed: int = 5) -> dict[str, np.ndarray]:
    return adapter(lora(seed=seed, moved=True))


def trained(root: Path, base: Path | str, stage: str = "grpo", seed: int = 5, dtype: type = np.float32) -> Run:
    """A run directory whose stage has left an adapter that changes every module."""
    with open_run(root, recipe_on(base)) as run:
        run.adapter(stage).parent.mkdir(parents=True, exist_ok=True)
        found = {k: v.astype(dtype) for k, v in arrays(seed).items()}
        save_adapter(run.adapter(stage), found, {"stage": stage})
        run.mark_done(stage, {"minutes": 1.0, "steps": 7, "kept": 5})
    return run

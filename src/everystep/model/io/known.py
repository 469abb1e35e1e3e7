"""The shape that a model's name stands for, so that it can be planned for without a download.

The published shapes are in `published.py`; how a `config.json` is read is `config.py`, what a name may be
otherwise `source.py`.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from everystep.core.run import Run
from everystep.model.config import Config, read_config
from everystep.model.io.published import KNOWN
from everystep.model.io.source import TINY

_SIZE = re.compile("|".join(rf"{re.escape(key)}(?![0-9a-z])" for key in KNOWN), re.IGNORECASE)
_DEEP = 8  # runs on runs on …


def shape_of(name: str, dtype: Any = jnp.bfloat16) -> Config:
    """The shape of the model `name`, from what is on this machine or from `KNOWN`: nothing is fetched.

    A folder, a run directory and "tiny" are read; a hub id or Kaggle handle is known by its size. Raises
    ValueError, one line, for others.

    >>> shape_of("google/gemma-3/transformers/gemma-3-1b-it/1").num_layers
    26
    """
    for _ in range(_DEEP):
        path = Path(name.rpartition(":")[0] if re.search(r":\w+$", name) else name)
        if name == "tiny" or not Run(path).recipe_resolved.is_file():
            break
        try:  # a run: its base
            name = str(json.loads(Run(path).recipe_resolved.read_bytes())["model"]["name"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"model {path}: its recipe.json cannot be read ({error})") from None
    if name == "tiny" or (name and Path(name).is_dir()):
        return read_config(TINY if name == "tiny" else Path(name), dtype)
    found = _SIZE.search(name)
    if not found:
        raise ValueError(
            f"model {name!r}: not a folder here, and its shape is not known; known are {', '.join(KNOWN)} "
            "(as in google/gemma-3-1b-it), or give the folder that holds its config.json"
        )
    return dataclasses.replace(KNOWN[found[0].lower()], param_dtype=dtype)

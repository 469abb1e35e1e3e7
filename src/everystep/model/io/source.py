"""What a model's name stands for: a folder on this machine, and the adapters of runs on top of it.

A name is "tiny", a folder, a run directory, a Hugging Face id or a Kaggle handle; the last two are
downloaded, or found where they were downloaded before. What the folder holds is `load.py`'s business.
"""

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

from everystep.core.run import TRAINED, Run

TINY = Path(__file__).resolve().parents[1] / "assets" / "tiny"
# What is fetched of a repository: no second copy of the weights in another format.
_WANTED = ["config.json", "generation_config.json", "*.safetensors", "model.safetensors.index.json"]
_WANTED += ["tokenizer.model", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
_PART = r"[A-Za-z0-9][\w.-]*"
_HUB = re.compile(rf"{_PART}/{_PART}(@[\w./-]+)?")
_KAGGLE = re.compile(rf"(kaggle:)?{_PART}(/{_PART}){{3}}(/\d+)?")
_DEEP = 8  # runs on runs on …


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that a run has left, and the scale it was trained with: alpha / rank."""

    file: Path
    rank: int
    alpha: float


@dataclass(frozen=True, slots=True)
class Source:
    """A model folder, and the adapters that belong on top of it, the first one first."""

    folder: Path
    adapters: tuple[Adapter, ...] = ()


def find(name: str) -> Source:
    """The source that `name` stands for:

    - `tiny`: the model that ships with the package
    - a folder with `config.json`, or one that holds a Flax (Orbax) checkpoint as Kaggle has them
    - a run directory, for its base with the adapter of its last stage; `RUN:sft` for another stage's
    - `google/gemma-3-1b-it`, or with `@` and a revision: a repository of the Hugging Face hub
    - `google/gemma-3/transformers/gemma-3-1b-it`, perhaps with a version after it: a Kaggle handle
      (`kaggle:` before it where a folder of that name is in the way)

    Raises ValueError, one line, where there is nothing of that name or it cannot be had.

    >>> find("tiny").folder.name, find("tiny").adapters
    ('tiny', ())
    """
    return _find(name, _DEEP)


def _find(name: str, deep: int) -> Source:
    if name == "tiny":
        return Source(TINY)
    path, _, stage = name.rpartition(":") if re.search(r":\w+$", name) else (name, "", "")
    if Run(Path(path)).recipe_resolved.is_file() and not (Path(path) / "config.json").is_file():
        return _run(Run(Path(path)), stage, deep)
    if name and Path(name).is_dir():
        return Source(_checked(Path(name), name))
    if _KAGGLE.fullmatch(name):
        return Source(_checked(_from_kaggle(name.removeprefix("kaggle:")), name))
    if _HUB.fullmatch(name):
        return Source(_checked(_from_hub(name), name))
    raise ValueError(
        f"model {name!r}: not a folder; give 'tiny' or a folder with config.json, model.safetensors, "
        "a run directory, a Hugging Face id such as google/gemma-3-1b-it, or a Kaggle handle such as "
        "google/gemma-3/transformers/gemma-3-1b-it"
    )


def _run(run: Run, stage: str, deep: int) -> Source:
    """A run's base with the adapter of one of its stages."""
    if not deep:
        raise ValueError(f"model {run.root}: more than {_DEEP} runs on top of each other")
    try:
        model = json.loads(run.recipe_resolved.read_bytes())["model"]
        base, rank, alpha = str(model["name"]), int(model["lora"]["rank"]), float(model["lora"]["alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"model {run.root}: its recipe.json cannot be read ({error})") from None
    files = [run.adapter(s) for s in ([stage] if stage else reversed(TRAINED))]
    there = [file for file in files if file.is_file()]
    if not there:
        said = f"stage {stage!r} has" if stage else "run has"
        raise ValueError(f"model {run.root}: the {said} left no adapter; let it come to an end first")
    below = _find(base, deep - 1)
    return Source(below.folder, (*below.adapters, Adapter(there[0], rank, alpha)))


def _checked(folder: Path, name: str) -> Path:
    """The folder, where it is in Hugging Face's layout; that folder of it, where it is in DeepMind's."""
    if any(folder.glob("*.safetensors")):
        return folder
    inside = [folder, *sorted(p for p in folder.glob("*") if p.is_dir())]
    checkpoint = next((p for p in inside if (p / "_METADATA").is_file()), None)
    if checkpoint is None:
        return folder
    from everystep.model.io.flax_files import as_folder  # with it comes JAX, which no other name needs

    try:
        return as_folder(checkpoint)
    except OSError as error:
        raise ValueError(f"model {name}: cannot be written as a folder ({error})") from None


@functools.cache
def _from_hub(name: str) -> Path:
    """The folder of a hub repository, downloaded where it is not there yet. Cached: one process works with
    one snapshot."""
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, revision = name.partition("@")
    page = f"https://huggingface.co/{repository}"
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_WANTED))
    except GatedRepoError:
        why = f"its licence has not been accepted by your account: open {page}, accept it, then set HF_TOKEN"
    except RevisionNotFoundError:
        why = f"there is no revision {revision!r}"
    except RepositoryNotFoundError:
        why = "no folder of that name here, and no such repository on the hub (or HF_TOKEN may not see it)"
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        why = "no folder of that name here, the hub cannot be reached, and no download of it is in the cache"
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        why = f"the hub answered with status {status}; try again later"
    except (OSError, httpx.HTTPError) as error:
        why = f"it could not be downloaded ({type(error).__name__}: {_line(error)})"
    raise ValueError(f"model {name}: {why}")


@functools.cache
def _from_kaggle(handle: str) -> Path:
    """The folder of a Kaggle model, downloaded where it is not there yet."""
    import kagglehub
    import requests
    from kagglehub.exceptions import (
        BackendError,
        CredentialError,
        DataCorruptionError,
        KaggleApiHTTPError,
        NotFoundError,
        UnauthenticatedError,
    )

    owner, model = handle.split("/")[:2]
    page = f"https://www.kaggle.com/models/{owner}/{model}"
    try:
        return Path(kagglehub.model_download(handle))
    except (KaggleApiHTTPError, UnauthenticatedError, CredentialError) as error:
        response = getattr(error, "response", None)
        if response is not None and response.status_code == 404:
            why = f"Kaggle has no model of that handle; see {page}"
        else:
            why = (
                f"Kaggle does not give it out: open {page}, accept its licence, then set KAGGLE_USERNAME and "
                "KAGGLE_KEY (in a notebook: add the model as an input)"
            )
    except (NotFoundError, BackendError, DataCorruptionError) as error:
        why = f"Kaggle could not give it ({_line(error)})"
    except (requests.RequestException, OSError) as error:
        why = f"Kaggle cannot be reached, and no download of it is in the cache ({type(error).__name__})"
    except ValueError as error:
        why = f"not a Kaggle handle ({_line(error)})"
    raise ValueError(f"model {handle}: {why}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

"""A parcel on its way to the Hugging Face hub, by the hub's own client.

All files go in one commit: what is there afterwards is the whole export or nothing of it. Of an error only
what the server said is repeated, never a client's own words, which may hold a header.
"""

import os
import re
import sys
from pathlib import Path

import httpx
from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import (
    DeviceCodeError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    OIDCError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars, logging, validate_repo_id

from everystep.ship.bundle import Parcel
from everystep.ship.words import PushError, quoted

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What may lie beside an export in its repository: nothing that anybody loads.
_BESIDE = re.compile(r"\.gitattributes|LICEN[CS]E\S*|[^/]+\.(md|txt|png|jpg|svg)", re.IGNORECASE)
_GET_ONE = (
    "make one that may write at https://huggingface.co/settings/tokens, then set HF_TOKEN, or run `hf auth login`"
)


def check(parcel: Parcel, name: str, license_name: str | None) -> None:
    """Raises ValueError, one line, for a name that no repository can have."""
    try:
        if not _NAME.fullmatch(name):
            raise HFValidationError
        validate_repo_id(name)
    except HFValidationError:
        raise PushError(f"{name!r}: is no name on the hub; give OWNER/NAME, e.g. ann/gemma-steps") from None
    if license_name is not None:
        raise PushError("--license: is for Kaggle; on the hub the licence is the one that the card names")


def address(name: str) -> str:
    """The page of a repository."""
    return f"{constants.ENDPOINT}/{name}"


def account() -> str | None:
    """Where a token lies, without asking anybody whose it is; None where there is none."""
    if os.environ.get("HF_OIDC_RESOURCE"):
        return "a token by HF_OIDC_RESOURCE"
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(variable, "").strip():
            return f"a token in {variable}"
    saved = Path(constants.HF_TOKEN_PATH)
    return "the token of `hf auth login`" if saved.is_file() and saved.read_bytes().strip() else None


def push(parcel: Parcel, name: str, public: bool, license_name: str | None, quiet: bool) -> str:
    """Upload a parcel into the repository `name`, made where it is not there yet; the address of its page.

    Raises ValueError, one line, where the hub, the account or what is there already does not allow it.
    """
    if quiet or not sys.stderr.isatty():
        disable_progress_bars()
    logging.set_verbosity_error()  # it warns of every attempt
    began, token = False, None
    try:
        token = get_token()
        if token is None:
            raise PushError(f"{address(name)}: no token of Hugging Face is here; {_GET_ONE}")
        api = HfApi(token=token)
        _may_write(api, name)
        try:
            there = api.model_info(name)
        except RepositoryNotFoundError:
            api.create_repo(name, private=not public, repo_type="model")
        else:
            _fits(parcel, name, public, bool(there.private), [s.rfilename for s in there.siblings or ()])
        began = True
        additions = [CommitOperationAdd(file, parcel.folder / file) for file in parcel.files]
        api.create_commit(name, additions, commit_message=parcel.title)
    except PushError:
        raise
    except (OIDCError, DeviceCodeError):
        why = f"no token could be had; {_GET_ONE}"
    except (HfHubHTTPError, httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError) as error:
        why = _why(error, began, token)
    except ValueError as error:
        if str(error).startswith(("Invalid metadata in README.md", "LFS batch API")):
            why = f"the hub does not take it{quoted(str(error), token)}; mend that, then the same command again"
        else:
            why = "its client does not understand the hub's answer, or the token; look at HF_ENDPOINT, HF_TOKEN"
    else:
        return address(name)
    raise PushError(f"{address(name)}: {why}")


def _may_write(api: HfApi, name: str) -> None:
    """Raises PushError where the account plainly may not write to the owner of `name`."""
    who = api.whoami()
    names = [str(one.get("name")) for one in (who, *(who.get("orgs") or ()))]
    if name.split("/")[0].lower() not in {n.lower() for n in names}:
        raise PushError(f"{address(name)}: {name.split('/')[0]} is somebody else; give a name of {' or '.join(names)}")
    access = (who.get("auth") or {}).get("accessToken") or {}
    if access.get("role") == "read":
        raise PushError(f"{address(name)}: the token of {names[0]} may only read; {_GET_ONE}")


def _fits(parcel: Parcel, name: str, public: bool, private: bool, files: list[str]) -> None:
    """Raises PushError where a repository that is there already would not become this export."""
    if public == private:
        is_, ask = ("private", "--private") if private else ("public", "--public")
        raise PushError(
            f"{address(name)}: is there already and is {is_}; give {ask}, another name, or change that on its page"
        )
    strange = sorted(f for f in files if f not in parcel.files and not _BESIDE.fullmatch(f))
    if strange:
        raise PushError(
            f"{address(name)}: holds {strange[0]}, which is not of this export, and would be loaded with it; "
            "give another name, or delete it on its page"
        )


def _why(error: Exception, began: bool, token: str | None) -> str:
    """What to do about an error of the hub's client."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # of a thread that uploads
    said, status = "", None
    if isinstance(error, HfHubHTTPError):
        status, said = error.response.status_code, quoted(error.server_message, token)
    elif found := re.search(r"\(([45]\d\d) ", str(error)):  # of the uploader for large files
        status = int(found[1])
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; unset it"
    if status == 401:
        return f"the hub refuses the token{said}; {_GET_ONE}"
    if status == 403:
        return f"the token's owner may not write there{said}; {_GET_ONE}, or give another name"
    if status == 409:
        return f"the name is taken{said}; give another, or the same command again"
    if status == 429:
        return f"too many requests{said}; wait some minutes, then the same command again"
    if status is not None:
        return f"the hub answered with status {status}{said}; try again later"
    if began:
        return (
            f"the connection broke ({type(error).__name__}); there is the whole export or nothing of it: "
            "the same command again"
        )
    return f"the hub cannot be reached ({type(error).__name__}); nothing was sent"

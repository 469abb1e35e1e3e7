"""A parcel on its way to Kaggle, by Kaggle's own client.

A push adds a version to a variation of a model; models and variations that are not there yet are made, always
private. Of an error only what the server said is repeated, never a client's own words, which may hold a
header.
"""

import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import kagglehub
import requests
from kagglehub.clients import build_kaggle_client
from kagglehub.config import get_kaggle_credentials
from kagglehub.exceptions import BackendError, CredentialError, UnauthenticatedError
from kagglehub.gcs_upload import MAX_FILES_TO_UPLOAD
from kagglehub.handle import parse_model_handle
from kagglesdk.models.types.model_api_service import ApiGetModelRequest
from kagglesdk.models.types.model_enums import ModelFramework

from everystep.ship.bundle import Parcel
from everystep.ship.words import PushError, quoted

_PART = r"[A-Za-z0-9][\w.-]*"
_HANDLE = re.compile(rf"{_PART}(/{_PART}){{3}}")
_GET_ONE = (
    "make one at https://www.kaggle.com/settings/api, then set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY"
)


def check(parcel: Parcel, name: str, license_name: str | None) -> None:
    """Raises ValueError, one line, for a handle that no model can have, or more files than Kaggle's client
    uploads one by one."""
    try:
        known = _HANDLE.fullmatch(name) is not None
        framework = parse_model_handle(name).framework_enum() if known else None
    except ValueError:
        framework = ModelFramework.MODEL_FRAMEWORK_UNSPECIFIED
    if framework is None:
        raise PushError(
            f"{name!r}: is no handle of Kaggle's; give OWNER/MODEL/FRAMEWORK/VARIATION without a version, "
            "e.g. ann/gemma-steps/transformers/1b"
        )
    if framework is ModelFramework.MODEL_FRAMEWORK_UNSPECIFIED:
        raise PushError(
            f"{name!r}: {name.split('/')[2]!r} is no framework of Kaggle's; give transformers, pyTorch, "
            "flax, jax or other"
        )
    if len(parcel.files) > MAX_FILES_TO_UPLOAD:
        raise PushError(
            f"{parcel.folder}: has {len(parcel.files)} files; Kaggle's client packs more than "
            f"{MAX_FILES_TO_UPLOAD} into one archive, which nothing loads: export with a larger --shard"
        )


def address(name: str) -> str:
    """The page of a variation."""
    return parse_model_handle(name).to_url()


def account() -> str | None:
    """Whose token is here, as far as it can be told without asking; None where there is none."""
    try:
        found = get_kaggle_credentials()
    except ValueError:
        return "a kaggle.json that cannot be read"
    if found is None:
        return None
    return f"a key of {found.username}" if found.username else "a token"


def push(parcel: Parcel, name: str, public: bool, license_name: str | None, quiet: bool) -> str:
    """Upload a parcel as a version of the variation `name`; the address of its page.

    Raises ValueError, one line, where Kaggle, the account or what is there already does not allow it.
    """
    began, secrets = False, ()
    try:
        held = get_kaggle_credentials()
        if held is None:
            raise PushError(f"{address(name)}: no token of Kaggle is here; {_GET_ONE}")
        secrets = (held.key, held.api_key)
        with _hushed(quiet):
            _fits(name, public)
            began = True
            kagglehub.model_upload(
                name,
                str(parcel.folder),
                license_name or ("Gemma" if parcel.gemma else "Apache 2.0"),
                parcel.title,
            )
    except PushError:
        raise
    except ConnectionAbortedError:
        why = "the connection broke during the upload; no version was made of it: the same command again"
    except (UnauthenticatedError, CredentialError):
        why = f"Kaggle refuses the token; {_GET_ONE}"
    except BackendError as error:
        why = (
            f"Kaggle refuses it{quoted(str(error), *secrets)}; is the owner yours, and the licence one of "
            "Kaggle's (--license)?"
        )
    except (requests.RequestException, OSError) as error:
        why = _why(error, began, secrets)
    except ValueError:
        why = f"its client does not understand Kaggle's answer, or the token; {_GET_ONE}"
    else:
        return address(name)
    raise PushError(f"{address(name)}: {why}")


def _fits(name: str, public: bool) -> None:
    """Raises PushError where a version of a model would be seen by others than it is asked for."""
    owner, model = name.split("/")[:2]
    asked = ApiGetModelRequest()
    asked.owner_slug, asked.model_slug = owner, model
    try:
        with build_kaggle_client() as client:
            private = client.models.model_api_client.get_model(asked).is_private
    except requests.HTTPError as error:
        # 403 is also Kaggle's answer for a model that is not there.
        if error.response is None or error.response.status_code not in (403, 404):
            raise
        if public:
            raise PushError(
                f"{address(name)}: is not there yet, and Kaggle's client makes new models private; push it "
                "without --public, look at it, and make it public on its page"
            ) from None
        return
    if public == private:
        is_, ask = ("private", "--private") if private else ("public", "--public")
        raise PushError(
            f"{address(name)}: the model is there already and is {is_}; give {ask}, another name, or change "
            "that on its page"
        )


@contextmanager
def _hushed(quiet: bool) -> Iterator[None]:
    """While Kaggle's client works: nothing of it on stdout (where it prints headers in its test environment),
    its bars on a terminal only, and an end where a connection breaks.

    It tries a broken upload again, but takes any answer but one for the whole file, and goes on as if the
    file were there when all attempts have failed. It only tells of that in its log.
    """
    log, uploads = logging.getLogger("kagglehub"), logging.getLogger("kagglehub.gcs_upload")
    levels = log.level, uploads.level
    with ExitStack() as held:
        held.enter_context(redirect_stdout(io.StringIO()))
        if quiet or not sys.stderr.isatty():
            held.enter_context(redirect_stderr(io.StringIO()))
        log.setLevel(logging.ERROR)
        uploads.setLevel(logging.INFO)
        uploads.addFilter(_end_where_broken)
        try:
            yield
        finally:
            uploads.removeFilter(_end_where_broken)
            log.setLevel(levels[0])
            uploads.setLevel(levels[1])


def _end_where_broken(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith("Network issue"):
        raise ConnectionAbortedError
    return False


def _why(error: Exception, began: bool, secrets: tuple[str | None, ...]) -> str:
    """What to do about an error of Kaggle's client."""
    response: Any = getattr(error, "response", None)
    if response is None:
        if began:
            return f"the connection broke ({type(error).__name__}); see its page, then the same command again"
        return f"Kaggle cannot be reached ({type(error).__name__}); nothing was sent"
    try:
        body = response.json()
    except ValueError:
        body = None
    said = quoted(body.get("message") if isinstance(body, dict) else None, *secrets)
    status = response.status_code
    if status == 401:
        return f"Kaggle refuses the token{said}; {_GET_ONE}"
    if status == 403:
        return f"the token's owner may not write there{said}; give a name of your own, or do what its page asks"
    if status == 404:
        return f"Kaggle has no such owner or model{said}; give a name of your own"
    if status == 429:
        return f"too many requests{said}; wait some minutes, then the same command again"
    return f"Kaggle answered with status {status}{said}; try again later"

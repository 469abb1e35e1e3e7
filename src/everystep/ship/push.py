"""Publishing an export by the hubs' own clients: which folder may go, where to, and what an error means.

Only a folder that `everystep export` has made, compared with its policy and left unchanged is let through. Of an
error only what the server said is repeated, without the token.
"""

import hashlib
import json
import logging
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from everystep.core.run import TRAINED, Run

FORMATS = ("hf", "peft", "tunix")
MARK, CARD, NOTICE = "export.json", "README.md", "NOTICE"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?<!\.git)")
_HANDLE = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*){3}")
# What may lie beside an export in a repository of the hub: nothing that anybody loads.
_BESIDE = re.compile(r"\.gitattributes|LICEN[CS]E\S*|[^/]+\.(md|txt|png|jpg|svg)", re.IGNORECASE)
_HUB_TOKEN = "make one that may write at https://huggingface.co/settings/tokens, then set HF_TOKEN"
_KAGGLE_TOKEN = (
    "make one at https://www.kaggle.com/settings/api, then set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY"
)
_STATUS = {
    401: "the token is refused{said}; {token}",
    403: "the token's owner may not write there{said}; {token}, or give a name of your own",
    404: "there is no such owner{said}; give a name of your own",
    409: "the name is taken{said}; give another, or the same command again",
    429: "too many requests{said}; wait some minutes, then the same command again",
}


class PushError(ValueError):
    """A push that was refused or broke off; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder that may be published. `files`: every file by its name below the folder, with its size in bytes;
    `title`: what it is, in one line; `gemma`: whether Gemma's terms go with it."""

    folder: Path
    kind: str
    title: str
    gemma: bool
    files: dict[str, int]


@dataclass(frozen=True, slots=True)
class Target:
    """`token`: how to get one. `page`: the address of a name, ValueError where the name cannot be. `account`: what
    is found here of a token, None for nothing; it asks nobody. `upload`: sends (bundle, name, public, licence)."""

    token: str
    page: Callable[[str], str]
    account: Callable[[], str | None]
    upload: Callable[[Bundle, str, bool, str | None], None]


def bundle(where: Path, kind: str | None = None, stage: str | None = None) -> Bundle:
    """The export that `where` is (a folder), or holds (a run: of its last exported stage, as "hf" where nothing
    else is asked for), every file held against its SHA-256 in `export.json`. ValueError, one line, otherwise."""
    folder = where
    if not (where / MARK).is_file() and Run(where).recipe_resolved.is_file():
        stages = [s for s in reversed(TRAINED) if any((where / "export" / s / f / MARK).is_file() for f in FORMATS)]
        folder = where / "export" / (stage or next(iter(stages), TRAINED[-1])) / (kind or FORMATS[0])
    elif stage is not None:
        raise ValueError(f"{where}: is no run; without --stage, or give the run")
    again = "make it again: everystep export RUN --force"
    if not (folder / MARK).is_file() or folder.name.startswith("."):
        there = sorted(p.parent.relative_to(where).as_posix() for p in where.rglob(MARK) if "/." not in str(p))
        have = f"; there are {', '.join(there)}" if there and where.is_dir() else ""
        raise ValueError(f"{folder}: is no finished export{have}; make one: everystep export RUN")
    try:
        about = json.loads((folder / MARK).read_bytes())
        found, hashes = about["agreement"], {str(k): str(v) for k, v in about["files"].items()}
        compared = 0 <= found["logits"] <= found["tolerance"] and found["tokens"] > 0
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{folder / MARK}: is damaged, or says nothing of a comparison; {again}") from None
    if not compared or about.get("format") not in FORMATS:
        raise ValueError(f"{folder / MARK}: does not say that it was compared with its policy; {again}")
    if kind not in (None, about["format"]):
        raise ValueError(f"{folder}: is exported as {about['format']}, not as {kind}; give the other folder")
    sizes = _unchanged(folder, hashes, again)
    gemma = about.get("base") != "tiny"
    for name in (CARD, NOTICE) if gemma else (CARD,):
        if name not in sizes:
            raise ValueError(f"{folder}: has no {name}, which must go with it; {again}")
    title = f"{about.get('run')} after {about.get('stage')}, step {about.get('step')} ({about['format']})"
    return Bundle(folder, about["format"], " ".join(title.split())[:200], gemma, sizes)


def _unchanged(folder: Path, hashes: dict[str, str], again: str) -> dict[str, int]:
    """Name and size of every file, where they are exactly those of `hashes`, and `export.json`."""
    there = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()}
    mark = there.pop(MARK)
    if gone := sorted(hashes.keys() - there):
        raise ValueError(f"{folder}: lacks {gone[0]}, which its {MARK} names; {again}")
    if more := sorted(there.keys() - hashes):
        raise ValueError(f"{folder}: holds {more[0]}, which is not of the export; move it elsewhere")
    for name, path in sorted(there.items()):
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != hashes[name]:
                raise ValueError(f"{folder}: {name} is not the one that was compared; {again}")
    return {name: path.stat().st_size for name, path in sorted({**there, MARK: mark}.items())}


def _hub_page(name: str) -> str:
    if not _HUB_NAME.fullmatch(name) or "--" in name:
        raise PushError(f"{name!r}: is no name on the hub; give OWNER/NAME, e.g. ann/gemma-steps")
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{name}"


def _hub_account() -> str | None:
    from huggingface_hub import get_token

    return "a token of Hugging Face" if get_token() else None


def _hub(bundle: Bundle, name: str, public: bool, license_name: str | None) -> None:
    """All files in one commit: what is there afterwards is the whole export or nothing of it."""
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it warns of every attempt
    secret = get_token()
    try:
        api = HfApi(token=secret)
        api.create_repo(name, private=not public, exist_ok=True)
        there = api.model_info(name)
        _same_sight(public, bool(there.private))
        files = [s.rfilename for s in there.siblings or ()]
        if strange := sorted(f for f in files if f not in bundle.files and not _BESIDE.fullmatch(f)):
            raise PushError(f"holds {strange[0]}, which is not of this export and would be loaded with it")
        additions = [CommitOperationAdd(file, bundle.folder / file) for file in bundle.files]
        api.create_commit(name, additions, commit_message=bundle.title)
    except HfHubHTTPError as error:
        raise _refused(error.response.status_code, error.server_message, _HUB_TOKEN, secret) from None
    except ValueError as error:
        if str(error).startswith(("Invalid metadata in README.md", "LFS batch API")):
            raise PushError(f"the hub does not take it{_quoted(str(error), secret)}") from None
        raise
    except OfflineModeIsEnabled:
        raise PushError("HF_HUB_OFFLINE is set; unset it") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError) as error:
        # Threads that upload, and the uploader for large files, wrap what the server said.
        if found := re.search(r"\b([45]\d\d) ", f"{error} {error.__cause__}"):
            raise _refused(int(found[1]), None, _HUB_TOKEN) from None
        raise PushError(f"the connection failed ({type(error).__name__}); nothing of it is there") from None


def _kaggle_page(name: str) -> str:
    if not _HANDLE.fullmatch(name):
        raise PushError(f"{name!r}: is no handle of Kaggle's; give OWNER/MODEL/FRAMEWORK/VARIATION without a version")
    from kagglehub.handle import parse_model_handle

    handle: Any = parse_model_handle(name)
    try:
        known = not handle.framework_enum().name.endswith("UNSPECIFIED")
    except ValueError:
        known = False
    if not known:
        raise PushError(f"{name!r}: {name.split('/')[2]!r} is no framework of Kaggle's; give e.g. transformers")
    return handle.to_url()


def _kaggle_account() -> str | None:
    from kagglehub.config import get_kaggle_credentials

    found = get_kaggle_credentials()
    return None if found is None else f"a key of {found.username}" if found.username else "a token of Kaggle"


def _kaggle(bundle: Bundle, name: str, public: bool, license_name: str | None) -> None:
    """One more version of a variation. Kaggle's client makes models that are not there yet, always private."""
    import kagglehub
    import requests
    from kagglehub.clients import build_kaggle_client
    from kagglehub.config import get_kaggle_credentials
    from kagglehub.exceptions import BackendError, CredentialError, UnauthenticatedError
    from kagglehub.gcs_upload import MAX_FILES_TO_UPLOAD
    from kagglesdk.models.types.model_api_service import ApiGetModelRequest

    if len(bundle.files) > MAX_FILES_TO_UPLOAD:
        raise PushError(
            f"has {len(bundle.files)} files; Kaggle's client packs more than {MAX_FILES_TO_UPLOAD} into one "
            "archive, which nothing loads: export with a larger --shard"
        )
    held: Any = get_kaggle_credentials()
    secrets = (held.key, held.api_key)
    licence = license_name or ("Gemma" if bundle.gemma else "Apache 2.0")
    asked = ApiGetModelRequest()
    asked.owner_slug, asked.model_slug = name.split("/")[:2]
    uploads = logging.getLogger("kagglehub.gcs_upload")
    level = uploads.level
    uploads.setLevel(logging.INFO)
    uploads.addFilter(_broken)
    try:
        # It prints headers in its test environment, and bars where nobody sees them.
        with redirect_stdout(StringIO()), redirect_stderr(sys.stderr if sys.stderr.isatty() else StringIO()):
            try:
                with build_kaggle_client() as client:
                    private = client.models.model_api_client.get_model(asked).is_private
            except requests.HTTPError as error:
                if error.response is None or error.response.status_code not in (403, 404):
                    raise  # 403 is also its answer for a model that is not there
                private = True
            _same_sight(public, private)
            kagglehub.model_upload(name, str(bundle.folder), licence, bundle.title)
    except (UnauthenticatedError, CredentialError):
        raise _refused(401, None, _KAGGLE_TOKEN) from None
    except BackendError as error:
        raise PushError(f"Kaggle refuses it{_quoted(str(error), *secrets)}; is the licence one of Kaggle's?") from None
    except requests.HTTPError as error:
        answer: Any = error.response
        said = answer.json().get("message") if answer.content[:1] == b"{" else None
        raise _refused(answer.status_code, said, _KAGGLE_TOKEN, *secrets) from None
    except (requests.RequestException, OSError) as error:
        raise PushError(f"the connection failed ({type(error).__name__}); no version was made of it") from None
    finally:
        uploads.removeFilter(_broken)
        uploads.setLevel(level)


def _broken(record: logging.LogRecord) -> bool:
    """Kaggle's client goes on as if a file were there when all attempts have failed; only its log tells."""
    if str(record.msg).startswith("Network issue"):
        raise ConnectionAbortedError
    return False


def _same_sight(public: bool, private: bool) -> None:
    if public == private:
        is_, ask = ("private", "--private") if private else ("public", "--public")
        raise PushError(f"is there already, or would be made, and is {is_}; give {ask} or another name")


def _refused(status: int, said: str | None, token: str, *secrets: str | None) -> PushError:
    line = _STATUS.get(status, f"the server answered with status {status}{{said}}; try again later")
    return PushError(line.format(said=_quoted(said, *secrets), token=token))


def _quoted(said: str | None, *secrets: str | None) -> str:
    """What a server said, as one short line in parentheses, without the secrets; "" where it said nothing."""
    for secret in secrets:
        said = said and said.replace(secret or "\0", "…")
    return f" ({' '.join(said.split())[:200]})" if said and said.strip() else ""


def push(to: Target, bundle: Bundle, name: str, public: bool, license_name: str | None) -> str:
    """Upload a bundle; the address of its page. Raises PushError, one line with that address."""
    page = to.page(name)
    try:
        if to.account() is None:
            raise PushError(f"no token is here; {to.token}")
        to.upload(bundle, name, public, license_name)
    except PushError as error:
        raise PushError(f"{page}: {error}") from None
    except ValueError:
        raise PushError(f"{page}: its client does not understand the answer, or the token") from None
    return page


TARGETS = {
    "hf": Target(_HUB_TOKEN, _hub_page, _hub_account, _hub),
    "kaggle": Target(_KAGGLE_TOKEN, _kaggle_page, _kaggle_account, _kaggle),
}

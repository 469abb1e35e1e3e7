"""What comes back over the wire: the answer in a response, or a failure with what can be done about it; and
the key, which goes out and must never come back.

Everything that a server says passes through `Key.hide` before it is kept or shown.
"""

import email.utils
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everystep.score.answers_cache import Answer

AGAIN = frozenset({408, 409, 425, 429})  # and all of 5xx: the same request may fare better later
HOPELESS = frozenset({401, 402, 404, 405, 410})  # no other request will fare better
REFUSED = frozenset({400, 415, 422})  # another form of the request may fare better
_SHOWN = 200  # characters of what a server says about a failure
_LIKE_A_KEY = re.compile(r"\b(?:sk|pk|gsk|xai|rk)[-_][A-Za-z0-9_*.-]{6,}|\bBearer\s+\S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Key:
    """A secret that shows itself to nobody by accident. `value` is None where the endpoint needs none."""

    value: str | None = field(default=None, repr=False)

    def hide(self, text: str) -> str:
        """The text without the key."""
        return text.replace(self.value, "[key]") if self.value else text


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer. `again`: the same request may be repeated, after `wait` seconds where the server says so;
    `refused`: the form of the request was; `over`: no other request will fare better."""

    kind: str
    said: str = ""
    again: bool = False
    refused: bool = False
    over: bool = False
    wait: float | None = None


def read_key(variable: str | None) -> Key:
    """The key in an environment variable; no key where no variable is named.

    Raises ValueError, which names the variable and never its value, where it is not set or holds what is
    no key.
    """
    if variable is None:
        return Key()
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ValueError(f"judge.key_variable: the environment variable {variable} is not set")
    if not re.fullmatch(r"[!-~]{8,}", value):
        raise ValueError(f"judge.key_variable: {variable} holds no key (it has spaces, or is too short)")
    return Key(value)


def read_body(body: str, expected: int, seconds: float, key: Key) -> tuple[Answer, bool] | Failure:
    """The answer in the body of a response with status 200, and whether the server has counted its tokens;
    where it has not, the prompt has `expected` and the answer one for three bytes.

    A body that is cut, no JSON, or without a choice is a failure that may fare better the next time. An
    answer without text is an answer: it was paid for.
    """
    try:
        tree = json.loads(body)
        choice = tree["choices"][0]
        content = choice["message"].get("content")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return Failure("body", "the response is no chat completion", again=True)
    if isinstance(content, list):  # some servers send parts
        content = "".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
    text = key.hide(content) if isinstance(content, str) else ""
    usage = tree.get("usage") if isinstance(tree.get("usage"), dict) else {}
    counts = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    counted = min(counts) >= 0
    prompt, completion = counts if counted else (expected, len(text.encode("utf-8", "replace")) // 3 + 1)
    model = key.hide(str(tree.get("model") or ""))[:_SHOWN]
    cut = choice.get("finish_reason") == "length"
    return Answer(text, cut, model, prompt, completion, seconds), counted


def _count(value: Any) -> int:
    """The value if it can be a number of tokens, else -1."""
    return value if type(value) is int and 0 <= value < 10**9 else -1


def read_status(status: int, body: str, headers: Mapping[str, str], key: Key) -> Failure:
    """The failure that a response with another status is. `said` begins with the status."""
    said = f"{status}: {quote(body, key)}"
    kind = str(status)
    if status in HOPELESS or "insufficient_quota" in body[:10_000]:
        return Failure(kind, said, over=True)
    if status in REFUSED:
        return Failure(kind, said, refused=True)
    again = status in AGAIN or status >= 500
    return Failure(kind, said, again=again, wait=retry_after(headers, time.time()) if again else None)


def quote(text: str, key: Key) -> str:
    """The beginning of what a server says, on one line, without the key or anything that looks like one.

    >>> quote('{"error": {"message": "Incorrect API key provided: sk-12345678"}}', Key("secret-key"))
    'Incorrect API key provided: [key]'
    """
    text = key.hide(text[:10_000])
    try:
        tree: Any = json.loads(text)
        error = tree.get("error", tree)
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, RecursionError, AttributeError):
        pass
    text = _LIKE_A_KEY.sub("[key]", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_SHOWN]


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that a server asks to wait, from `Retry-After` (seconds, or a date) or `retry-after-ms`;
    None where it does not say, or says what cannot be read.

    >>> retry_after({"retry-after": "1.5"}, 0.0), retry_after({"retry-after": "soon"}, 0.0)
    (1.5, None)
    >>> retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 20.0)
    40.0
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
            except (ValueError, TypeError, OverflowError, OSError):
                continue
        if seconds == seconds and seconds < float("inf"):
            return max(0.0, seconds)
    return None

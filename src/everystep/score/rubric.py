"""Rubrics: what a judge is asked, and how its answer is read.

A rubric is a file: criteria with five described levels, and canary traces whose scores a sound judge cannot
get wrong. This module turns it into a system prompt, a prompt and a JSON schema, and turns the text that
comes back into scores, or into the reason why it cannot be used. Who answers is not its business.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FOLDER = Path(__file__).parent / "rubrics"
CORRECTNESS = "correctness"  # the one criterion that a checker can often decide
RATIONALE = "rationale"
LEVELS = (1, 2, 3, 4, 5)
# Which rubric a task of a domain is judged by; "generic" is for all others.
BY_DOMAIN = {
    "math": "math",
    "science": "science",
    "reasoning": "reasoning",
    "creative": "creative_summary",
    "summary": "creative_summary",
    "creative_summary": "creative_summary",
}
LONGEST = 20_000  # characters of a judge's answer that are looked at
_BLOCKS = 40  # places in an answer at which a JSON object is looked for

# Marks by which chat templates of the usual families would end a turn, were they let through. Gemma's own
# are `trace.prompt`'s business.
_TURNS = re.compile(r"<[|｜][^<>|｜\s]{1,40}[|｜]>|\[/?INST\]|<</?SYS>>|</?s>|</?(?:think|system|assistant|user)>")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE)
# Only before words: "- 5" can be a number, and "* 5" the rest of a product.
_LINE_MARK = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|(?:[-*+•▪‣–]|>)[ \t]+(?=[^\W\d]|[*_\"'`]))+", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$", re.MULTILINE)
_BOLD = re.compile(r"(?<![\w)*])(\*\*|__)(?=\S)([^\n]{1,300}?)(?<=\S)\1(?![\w(*])")
_ITALIC = re.compile(r"(?<![\w)*])\*(?=[A-Za-z])([^*\n]{1,300}?)(?<=[\w.,:!?])\*(?![\w(*])")
_LINK = re.compile(r"!?\[([^\]\n]{0,200})\]\([^)\s]{1,500}\)")
_HTML = re.compile(r"</?(?:b|i|u|em|strong|mark|code|pre|br|p|span|div|h[1-6]|ul|ol|li)[ \t]*/?>", re.IGNORECASE)
_BRACKETS = re.compile(r"<{3,}|>{3,}")


class Asked(BaseModel):
    """A criterion: the question, and what each score from 5 down to 1 means."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    asks: str
    levels: dict[int, str]


class Canary(BaseModel):
    """A trace with bounds on the scores that a sound judge gives it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    steps: list[str]
    answer: str
    at_most: dict[str, int] = {}
    at_least: dict[str, int] = {}


class Canaries(BaseModel):
    """The question that all canaries of a rubric answer, its reference answer, and the traces by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    question: str
    reference: str
    traces: dict[str, Canary] = Field(min_length=1)


class Rubric(BaseModel):
    """A rubric as its file has it; `name` is the file's."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    about: str
    criteria: dict[str, Asked] = Field(min_length=1)
    canaries: Canaries


def load_rubric(name: str) -> Rubric:
    """The rubric of that name, or in the YAML file of that path.

    Raises ValueError, one line, where there is none, for a file that is no rubric, a criterion without
    exactly five levels, a name that is no identifier, and a canary that bounds an unknown criterion.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        rubric = Rubric.model_validate({"name": path.stem} | (tree if isinstance(tree, dict) else {}))
    except OSError:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
        raise ValueError(f"rubric {name!r}: not found; give a .yaml file, or one of {known}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"rubric {path}: {place}: {first['msg']}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"rubric {path}: not valid YAML: {' '.join(str(error).split())[:200]}") from None
    for key, criterion in rubric.criteria.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", key) or key == RATIONALE:
            raise ValueError(f"rubric {path}: {key!r} cannot name a criterion; use lower case and _")
        if sorted(criterion.levels) != list(LEVELS):
            raise ValueError(f"rubric {path}: {key} must describe the levels 1 to 5, has {list(criterion.levels)}")
    for key, canary in rubric.canaries.traces.items():
        unknown = [c for c in (*canary.at_most, *canary.at_least) if c not in rubric.criteria]
        if unknown or not (canary.at_most or canary.at_least):
            raise ValueError(f"rubric {path}: canary {key!r} bounds {unknown or 'nothing'}; name a criterion")
    return rubric


def system_prompt(rubric: Rubric, criteria: Sequence[str]) -> str:
    """What the judge is told before it sees anything: its task, the rules, the criteria with their levels,
    and the form of its answer."""
    described = "\n\n".join(
        f"{name}: {rubric.criteria[name].asks}\n"
        + "\n".join(f"  {level}: {rubric.criteria[name].levels[level]}" for level in reversed(LEVELS))
        for name in criteria
    )
    form = ", ".join([f'"{RATIONALE}": "..."', *(f'"{name}": N' for name in criteria)])
    told = (FOLDER / "system.txt").read_text(encoding="utf-8").strip()
    for place, text in (("about", rubric.about), ("criteria", described), ("form", f"{{{form}}}")):
        told = told.replace(f"{{{place}}}", text)
    return told


def user_prompt(
    question: str,
    reference: str,
    steps: Sequence[str],
    answer: str,
    *,
    rubric: Rubric,
    criteria: Sequence[str],
    seed: int,
    verdict: str | None = None,
) -> str:
    """What is to be judged, each part between delimiters that no part can hold.

    The delimiters bear a code, the hash of seed and content, so that equal content asks in equal words (and
    can be found again); wherever that code occurs in the content it is replaced by a space. `verdict`:
    what the checker says about the answer, None to keep it from the judge.
    """
    numbered = "\n".join(f"{i}. {plain(step, rubric)}" for i, step in enumerate(steps, 1)) or "(no steps)"
    parts = {
        "QUESTION": plain(question, rubric),
        "REFERENCE": plain(reference, rubric) or "(none)",
        "TRACE": numbered,
        "ANSWER": plain(answer, rubric) or "(no answer)",
    }
    code = nonce("\x1f".join(parts.values()), seed)
    blocks = [f"<<<{name} {code}>>>\n{text.replace(code, ' ')}\n<<<END {code}>>>" for name, text in parts.items()]
    if verdict is not None:
        blocks.append(f"A checker has compared the final answer with the reference: it is {verdict}.")
    blocks.append(f"Score the trace on: {', '.join(criteria)}. Reply with the JSON object only.")
    return "\n\n".join(blocks)


def repair_prompt(asked: str, answer: str, why: str, *, rubric: Rubric, seed: int) -> str:
    """The second and last call for an answer that cannot be read: the same prompt, what came back as data,
    and what is wrong with it."""
    text = plain(answer[:2_000], rubric)
    code = nonce(asked + "\x1f" + text, seed)
    return (
        f"{asked}\n\nYou have answered this before, and the answer could not be read ({why}):\n\n"
        f"<<<UNREADABLE {code}>>>\n{text.replace(code, ' ')}\n<<<END {code}>>>\n\n"
        "Answer again, with the JSON object only."
    )


def nonce(content: str, seed: int) -> str:
    """A code of 16 hex digits that belongs to this content and seed."""
    return hashlib.sha256(f"{seed}\x1f{content}".encode("utf-8", "replace")).hexdigest()[:16]


def plain(text: str, rubric: Rubric) -> str:
    """Text as a judge shall see it: without markdown and HTML emphasis, invisible characters, marks of chat
    templates, runs of angle brackets, or JSON keys of the judge's own answer. Mathematics stays as it is.

    >>> plain("## **Key step:**\\n- so 2**3 = 8 and `x = 4 * 2`\\n- 5", load_rubric("math"))
    'Key step:\\nso 2**3 = 8 and x = 4 * 2\\n- 5'
    """
    text = "".join(c if unicodedata.category(c) not in ("Cf", "Cc", "Cs", "Co") or c in "\n\t" else " " for c in text)
    text = _TURNS.sub(" ", text)
    text = _RULE.sub("", _FENCE.sub("", text))
    text = _LINE_MARK.sub("", text)
    text = _ITALIC.sub(r"\1", _BOLD.sub(r"\2", text))
    text = _HTML.sub(" ", _LINK.sub(r"\1", text)).replace("`", "")
    for key in (RATIONALE, *rubric.criteria):
        text = text.replace(f'"{key}"', key)
    return _BRACKETS.sub(" ", text).strip()


def schema(criteria: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of an answer: the rationale first (servers generate keys in this order), then a score
    for each criterion, and nothing else."""
    score = {"type": "integer", "enum": list(LEVELS)}
    return {
        "type": "object",
        "properties": {RATIONALE: {"type": "string"}} | {name: dict(score) for name in criteria},
        "required": [RATIONALE, *criteria],
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class Read:
    """An answer as read: a score from 1 to 5 for each criterion, and why."""

    scores: dict[str, int]
    rationale: str


def read_answer(text: str, criteria: Sequence[str]) -> Read:
    """The scores in a judge's answer: its one JSON object, alone or with prose around it.

    Raises ValueError, saying what is wrong, for text without exactly one such object, an object with keys
    missing, unknown or given twice, or a score that is not a whole number from 1 to 5. Nothing is guessed.

    >>> read_answer('Sure: {"rationale": "Both steps hold.", "coherence": 5}', ["coherence"]).scores
    {'coherence': 5}
    >>> read_answer('{"rationale": "Fine.", "coherence": "5"}', ["coherence"])
    Traceback (most recent call last):
    ValueError: "coherence" must be a whole number from 1 to 5, is '5'
    """
    found = _objects(text[:LONGEST].rpartition("</think>")[2])
    if len(found) != 1:
        raise ValueError("it holds no JSON object" if not found else f"it holds {len(found)} JSON objects, not one")
    pairs = found[0]
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError("a key occurs twice")
    value = dict(pairs)
    missing = [key for key in (RATIONALE, *criteria) if key not in value]
    unknown = [key for key in keys if key != RATIONALE and key not in criteria]
    if missing or unknown:
        what = [f"{', '.join(missing)} missing"] if missing else []
        raise ValueError("; ".join([*what, *([f"{_short(', '.join(unknown))} not asked for"] if unknown else [])]))
    if not isinstance(value[RATIONALE], str) or not value[RATIONALE].strip():
        raise ValueError(f'"{RATIONALE}" must be text that says why')
    for name in criteria:
        score = value[name]
        if type(score) is not int or score not in LEVELS:
            raise ValueError(f'"{name}" must be a whole number from 1 to 5, is {_short(repr(score))}')
    return Read({name: value[name] for name in criteria}, value[RATIONALE].strip())


def rubrics(chosen: Mapping[str, str]) -> dict[str, Rubric]:
    """The rubrics by domain; "" is the one for all other domains. `chosen`: domain → name or file, over
    what is usual; "other" for all other domains. Raises what `load_rubric` raises."""
    names = BY_DOMAIN | {"": "generic"} | {("" if k == "other" else k): v for k, v in chosen.items()}
    loaded = {name: load_rubric(name) for name in sorted(set(names.values()))}
    return {domain: loaded[name] for domain, name in names.items()}


class _Pairs(list[tuple[str, Any]]):
    """A JSON object before it becomes a dict, which would hide keys given twice."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs)


def _objects(text: str) -> list[_Pairs]:
    """The outermost JSON objects in a text, from left to right."""
    found: list[_Pairs] = []
    at = 0
    for _ in range(_BLOCKS):
        at = text.find("{", at)
        if at < 0:
            break
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        found.append(value)
    return found


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."

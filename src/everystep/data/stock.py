"""The text of a stock model as plain pieces: Markdown, LaTeX, list numbers and small talk taken off.

No number is changed and nothing is judged: what cannot be made plain without a guess is refused with the
reason. What becomes of the pieces is `data.rewrite`'s business.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from everystep.core.types import Trace
from everystep.data.jsonl import CONTROL_CHARACTER, CONTROL_TOKEN
from everystep.verify.latex import unwrap
from everystep.verify.numbers import plain

LONGEST = 8_000  # characters of a text; verification examines no more than 12,000
LONGEST_LINE = 1_200
_ROUNDS = 10  # of braces inside braces

_MARKUP = re.compile(r"</?[A-Za-z][^<>\n]{0,40}>|<<")  # "<<2+3=5>>" are notes of GSM8K's own solutions
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_RULER = re.compile(r"[ \t]*([-*_=])(?:[ \t]?\1){2,}[ \t]*")
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]+")
_BULLET = re.compile(r"[ \t]*(?:[-*•–][ \t]+|>[ \t]?)+")
_ITEM = re.compile(
    r"[ \t]*(?:\*\*)?(?:(?:step[ \t]{1,3})(\d{1,2})(?:\*\*)?[ \t]?[-–—.):]|[(\[]?(\d{1,2})(?:\*\*)?[.)\]])"
    r"(?:\*\*)?(?:[ \t]+|$)",
    re.IGNORECASE,
)
_BOLD_LINE = re.compile(r"[ \t]*(\*\*|__)(?!\1).*\1[:.]?[ \t]*")
_BOLD = re.compile(r"(?<![\w)])(?:\*\*|__)|(?:\*\*|__)(?![\w(])")  # `2**3` is a power
_ITALIC = re.compile(r"(?<![\w*])\*([A-Za-z](?:[^*\n]{0,80}[A-Za-z.!?,:])?)\*(?![\w*])")
_CONTENT = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it|sf)|operatorname|mbox)\s?\{([^{}]*)\}")
_FRACTION = re.compile(r"(\w?)\\[dt]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}")
_ROOT = re.compile(r"\\sqrt\s?\{([^{}]*)\}")
_INDEX = re.compile(r"_\{(\w{1,10})\}")
_SIMPLE = re.compile(r"[\w.,%$]+")
_DELIMITER = re.compile(r"(?<!\\)\\[\[\]()]|\$\$")
_SENTENCE = re.compile(r"(?<=[.!?])(?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)[ ]+(?=[A-Z0-9$(]|[a-z] ?=)")
_OPENING = re.compile(
    r"(?:sure|okay|ok|alright|certainly|of course|great|let's|let us|here's|here is|here are|solution"
    r"|reasoning|explanation|step[- ]by[- ]step)\b",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"(?:i hope|hope this|hope that|let me know|would you like|do you want|feel free|is there anything)\b",
    re.IGNORECASE,
)
_GOES_ON = "=≈<>≤≥+×·÷/^"  # what a line that goes on with the one before begins with
_OPEN = "=≈<>≤≥+-×·*÷/^(,"  # what a line that is not finished ends with


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a completion cannot be used, by a short name that is counted, and the evidence."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line in plain text; `heading`: it announces what follows."""

    text: str
    heading: bool = False


@dataclass(frozen=True, slots=True)
class Stock:
    """A text as units, each the lines of one step-to-be, and the numbers of all that stands in the text but
    its list numbers and step marks."""

    units: tuple[tuple[Line, ...], ...]
    numbers: Counter[str]


def numbers(text: str) -> Counter[str]:
    """Every number of a text as it is written, without its sign.

    >>> sorted(numbers("1,200 - 3.50 = $1{,}196.50.").items())
    [('1,196.50', 1), ('1,200', 1), ('3.50', 1)]
    """
    return Counter(_NUMBER.findall(plain(text.replace("{,}", ","))))


def read(text: str, trace: Trace) -> Stock | Unfit:
    """A completion's text, with its trace as `trace.parse` read it, as plain units."""
    if len(text) > LONGEST:
        return Unfit("too long", f"{len(text)} characters")
    if not trace.faults:  # in our form already: the work is what stands in its block
        text = "\n".join(step.text for step in trace.steps)
        given = [(step.text, True) for step in trace.steps]
        marks: Counter[str] = Counter()
    else:
        marks = Counter(str(step.number) for step in trace.steps if step.number is not None)
        given = [(step.text, step.number is not None) for step in trace.steps]
    if unfit := _hostile(text):
        return unfit
    try:
        if any(marked for _, marked in given):
            units = [_lines(part) for part, _ in given]
        else:
            units, marks = _listed(text)
    except _NotPlain as refused:
        return refused.unfit
    units = [unit for unit in units if unit]
    if len(units) == 1 and len(units[0]) == 1:
        units = [[Line(sentence)] for sentence in sentences(units[0][0].text)]
    found = numbers(text)
    if marks - found:  # a mark such as "Step 01" is another number when it is read
        return Unfit("numbering", ", ".join(sorted(marks - found)))
    return Stock(tuple(tuple(unit) for unit in _without_talk(units)), found - marks)


def sentences(text: str) -> list[str]:
    """A paragraph cut after its sentences.

    >>> sentences("Mr. Li has 3. 3 * 2.5 = 7.5. So it is 7.5.")
    ['Mr. Li has 3.', '3 * 2.5 = 7.5.', 'So it is 7.5.']
    """
    return [part for part in _SENTENCE.split(text) if part]


def joined(unit: Sequence[Line]) -> str:
    """The lines of a unit as one.

    >>> joined([Line("The cost", heading=True), Line("5 * 3 = 15"), Line("Add 1")])
    'The cost: 5 * 3 = 15. Add 1'
    """
    out, heading = "", False
    for line in unit:
        if not out:
            out = line.text
        elif out[-1] in ".!?:;":
            out += f" {line.text}"
        else:
            out += f"{': ' if heading and not out[-1].isdigit() else '. '}{line.text}"
        heading = line.heading
    return out


def plain_line(text: str) -> str | Unfit:
    r"""One line without Markdown and LaTeX, its numbers as they were; Unfit for what has no plain form.

    >>> plain_line(r"**Cost:** $5 \times \frac{1}{2} = \boxed{2.5}$"), plain_line(r"$5 + $3 = $8")
    ('Cost: 5 × 1/2 = 2.5', '$5 + $3 = $8')
    """
    if len(text) > LONGEST_LINE:
        return Unfit("too long", f"a line of {len(text)} characters")
    if "\\" in text or "$" in text:
        text = _without_boxes(text)
        for _ in range(_ROUNDS):
            before = text
            text = _CONTENT.sub(r"\1", text.replace("{,}", ","))
            text = _INDEX.sub(r"_\1", _ROOT.sub(_root, _FRACTION.sub(_fraction, text)))
            if text == before:
                break
    text = _ITALIC.sub(r"\1", _BOLD.sub("", text))
    if "\\" in text or "$" in text:
        text = unwrap(_DELIMITER.sub(" ", text))
        if "\\" in text or "{" in text or "}" in text:
            return Unfit("LaTeX", text[:60])
    return " ".join(plain(text).replace("`", "").split())


class _NotPlain(Exception):
    """A line that has no plain form; carries why out of the loops."""

    def __init__(self, unfit: Unfit):
        super().__init__(unfit.reason)
        self.unfit = unfit


def _hostile(text: str) -> Unfit | None:
    """What no text to learn from may hold: invisible characters, control tokens, tags, code, tables."""
    if CONTROL_CHARACTER.search(text):
        return Unfit("characters", "a control character")
    odd = next((c for c in text if c > "~" and _is_odd(c)), None)
    if odd is not None:
        return Unfit("characters", f"U+{ord(odd):04X}")
    flat = plain(text)  # full-width brackets are brackets there
    if found := CONTROL_TOKEN.search(flat) or _MARKUP.search(flat):
        return Unfit("markup", found.group())
    if "```" in text:
        return Unfit("code or table", "```")
    if any(line.lstrip().startswith("|") for line in text.split("\n")):
        return Unfit("code or table", "|")
    if "\\begin" in text:
        return Unfit("LaTeX", "an environment")
    return None


def _is_odd(c: str) -> bool:
    return c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _line(raw: str) -> Line | None:
    """A raw line in plain text; None where nothing of it is left."""
    if _RULER.fullmatch(raw):
        return None
    heading = bool(_HEADING.match(raw)) or bool(_BOLD_LINE.fullmatch(raw))
    raw = _BULLET.sub("", raw, count=1) if _BULLET.match(raw) else raw
    made = plain_line(_HEADING.sub("", raw, count=1) if _HEADING.match(raw) else raw)
    if isinstance(made, Unfit):
        raise _NotPlain(made)
    if not any(c.isalnum() for c in made):
        return None
    announces = any(c.isalpha() for c in made) and "=" not in made
    return Line(made, announces and (heading or made.endswith(":")))


def _lines(raw: str) -> list[Line]:
    """The lines of a marked step, each plain. What a mark is followed by on its own line is a heading where
    more follows."""
    made: list[Line] = []
    for part in raw.split("\n"):
        if (line := _line(part)) is not None:
            _add(made, line)
    if len(made) > 1 and not any(c in made[0].text for c in "=.!?"):
        made[0] = Line(made[0].text, True)
    return made


def _goes_on(before: Line, line: Line) -> bool:
    """Whether a calculation goes on in the next line."""
    return line.text[0] in _GOES_ON or before.text[-1] in _OPEN


def _add(unit: list[Line], line: Line) -> None:
    """Add a line to a unit, or to its last line where that goes on."""
    if unit and _goes_on(unit[-1], line):
        unit[-1] = Line(f"{unit[-1].text} {line.text}")
    else:
        unit.append(line)


def _listed(text: str) -> tuple[list[list[Line]], Counter[str]]:
    """The lines of a text without step marks, put together to units: a numbered item with all that belongs
    to it, a heading with what it announces, else each line. And the numbers of the items."""
    units: list[list[Line]] = []
    marks: list[int] = []
    inside, blank, before = False, True, ""
    for raw in text.split("\n"):
        if not raw.strip() or _RULER.fullmatch(raw):
            blank = True
            continue
        item = _ITEM.match(raw)
        number = int(item.group(1) or item.group(2)) if item else 0
        opens = number == 1 and (blank or before[-1:] in ".:!?*;" or inside)
        if item is not None and (opens or (marks and number == marks[-1] + 1)):
            marks.append(number)
            rest = _line(raw[item.end() :])
            units.append([rest] if rest is not None else [])
            inside = True
        else:
            line = _line(raw)
            if line is None:
                continue
            own = units[-1] if units else []
            announced = bool(own) and own[-1].heading
            goes_on = bool(own) and _goes_on(own[-1], line)
            if announced or goes_on or (units and inside and (raw[0] in " \t" or not blank)):
                _add(own, line)
            else:
                units.append([line])
                inside = False
        blank, before = False, raw.strip()
    if len(marks) == 1:  # an item alone: a list, or a number that happens to open a line
        raise _NotPlain(Unfit("numbering", "one item alone"))
    return units, Counter(map(str, marks))


def _without_talk(units: list[list[Line]]) -> list[list[Line]]:
    """Without the lines that open and close a reply and hold no number."""
    lines = [line for unit in units for line in unit]
    first, last = 0, len(lines)
    while last - first > 1 and _is_talk(lines[first], _OPENING):
        first += 1
    while last - first > 1 and _is_talk(lines[last - 1], _CLOSING):
        last -= 1
    out, at = [], 0
    for unit in units:
        out.append([line for i, line in enumerate(unit, at) if first <= i < last])
        at += len(unit)
    return [unit for unit in out if unit]


def _is_talk(line: Line, cue: re.Pattern[str]) -> bool:
    return cue.match(line.text) is not None and not any(c.isnumeric() for c in line.text)


def _without_boxes(text: str) -> str:
    """Every `\\boxed{…}` replaced by what it holds."""
    for _ in range(_ROUNDS):
        start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
        if start < 0:
            break
        opening = text.index("{", start)
        depth, end = 0, opening
        while end < len(text):
            depth += (text[end] == "{") - (text[end] == "}")
            if depth == 0:
                break
            end += 1
        if depth:
            break
        text = text[:start] + text[opening + 1 : end] + text[end + 1 :]
    return text


def _bracketed(text: str) -> str:
    text = text.strip()
    return text if _SIMPLE.fullmatch(text) else f"({text})"


def _fraction(match: re.Match[str]) -> str:
    before = match.group(1)
    return f"{before}{' ' if before else ''}{_bracketed(match.group(2))}/{_bracketed(match.group(3))}"


def _root(match: re.Match[str]) -> str:
    return f"√{_bracketed(match.group(1))}"

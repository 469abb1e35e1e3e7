"""Checked traces and graded answers made visible, on the terminal and on pages of their own.

They take the rows of `verify.files`. Nothing is told by colour alone: a false claim is underlined, has a
sign, and its true value stands beside it; a verdict has its sign and its word.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.text import Text

from everystep.verify.files import tally

Row = Mapping[str, Any]

TEMPLATES = Path(__file__).parent / "templates"

SIGNS = {"true": "✓", "false": "✗", "unknown": "?"}
VERDICTS = {"right": "✓", "wrong": "✗"}  # all others: ?
_STYLES = {"true": "green", "false": "bold red underline", "unknown": "yellow"}
_SPOKEN = {"true": "true", "false": "false", "unknown": "not decided"}
_FINDINGS = {
    "false_claim": "False claim",
    "invented": "Number without a source",
    "unused": "Number of the question not used",
    "contradiction": "Contradiction",
    "not_following": "Answer does not follow",
    "unit": "Unit lost or changed",
    "no_step": "Nothing to check",
}


def pieces(row: Row) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """The row's text in order, cut into plain pieces and claims: (piece, its check or None).

    Where claims overlap, as the neighbours of a chain do, the text they share belongs to the first, unless
    only a later one is false: then that one has it.
    """
    text: str = row["text"]
    owner: list[int] = [-1] * len(text)
    checks: list[Mapping[str, Any]] = list(row["checks"])
    order = sorted(range(len(checks)), key=lambda i: (checks[i]["truth"] == "false", -i))
    for i in order:
        begin, end = checks[i]["span"]
        owner[begin:end] = [i] * (min(end, len(text)) - begin)
    at = 0
    for k in range(1, len(text) + 1):
        if k == len(text) or owner[k] != owner[at]:
            yield text[at:k], None if owner[at] < 0 else checks[owner[at]]
            at = k


def beside(check: Mapping[str, Any]) -> str:
    """What stands beside a claim: its sign and, for a false one, the true value.

    >>> beside({"truth": "false", "value": "14"}), beside({"truth": "true", "value": "14"})
    ('✗ 14', '✓')
    """
    sign = SIGNS[check["truth"]]
    return f"{sign} {check['value']}" if check["truth"] == "false" and check["value"] else sign


def spans(row: Row) -> Text:
    """The row's text for the terminal, each claim in its style with its sign behind it."""
    body = Text()
    last: object = None
    for piece, check in pieces(row):
        body.append(printable(piece), style="" if check is None else _STYLES[check["truth"]])
        if check is not None and check is not last:
            body.append(f" [{printable(beside(check))}]", style="bold red" if check["truth"] == "false" else "dim")
        last = check
    return body


def screen(row: Row) -> RenderableType:
    """One row for the terminal: the text with its claims marked, then the findings and the score."""
    if "error" in row:
        return Text(f"line {row['line']}: {printable(row['error'])}", style="red")
    lines: list[RenderableType] = [Text(_shown(row["id"]), style="bold"), spans(row)]
    for flag in row["flags"]:
        where = f"step {flag['step']}: " if flag["step"] else ""
        lines.append(Text(f"! {_FINDINGS[flag['finding']]}: {where}{printable(flag['detail'])}", style="red"))
    lines.append(Text(summary(row), style="dim"))
    return Group(*lines)


def summary(row: Row) -> str:
    """The row in one line: how many claims, the first false one, the score."""
    checks = row["checks"]
    wrong = sum(c["truth"] == "false" for c in checks)
    first = f", first in step {row['first_false']}" if row["first_false"] else ""
    score = "no score: nothing to check" if row["score"] is None else f"score {row['score']:.2f}"
    return f"{len(checks)} claim{'' if len(checks) == 1 else 's'} checked, {wrong} false{first}; {score}"


def printable(text: str) -> str:
    """The text without control and direction characters, which could garble or forge what is seen."""
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in text)


def _shown(value: object) -> str:
    """Any value of a row as printable text: an id may be whatever JSON allows."""
    return printable(str(value))


_CLAIM = """<span class="claim {{ c.truth }}" tabindex="0" aria-describedby="{{ name }}">{{ piece }}<span
class="sign">{{ beside }}</span><span class="why" role="tooltip" id="{{ name }}">{{ spoken }}: {{ c.claim }} —
{{ c.reason }}</span></span>"""


def marked(row: Row, name: str = "why") -> Markup:
    """The row's text as markup, escaped, each claim marked with its sign and with its reason, which hover and
    focus show; the reasons' ids are `name`-1, -2, …, so `name` has to be the row's own on its page."""
    out = Markup("")
    last: object = None
    count = 0
    for piece, check in pieces(row):
        if check is None or check is last:
            out += printable(piece)
        else:
            count += 1
            out += Markup(
                _CLAIM_TEMPLATE.render(
                    c={k: printable(str(v)) for k, v in check.items()},
                    piece=printable(piece),
                    beside=beside(check),
                    spoken=_SPOKEN[check["truth"]],
                    name=f"{name}-{count}",
                )
            )
        last = check
    return out


_CLAIM_TEMPLATE = Environment(autoescape=True).from_string(_CLAIM)
# What templates that show checked rows say of them.
FILTERS: Mapping[str, Callable[..., Any]] = {
    "shown": _shown,
    "finding": _FINDINGS.__getitem__,
    "summary": summary,
    "marked": marked,
}


def page(rows: Iterable[Row], title: str = "Checked traces") -> str:
    """A self-contained HTML page of checked rows: no script, no network, light and dark, and every reason
    reachable by mouse and by keyboard. All text is escaped."""
    rows = list(rows)
    wrong, bad = sum(bool(r.get("first_false")) for r in rows), sum("error" in r for r in rows)
    return _template().render(rows=rows, title=printable(title), wrong=wrong, bad=bad)


def graded_page(rows: Iterable[Row], title: str = "Graded answers") -> str:
    """A page as `page` makes them, of rows of `grade_file` with their texts: one line of a table each."""
    rows = list(rows)
    counts = tally(r.get("verdict", "unreadable") for r in rows)
    return _template().render(rows=rows, title=printable(title), tally=counts, signs=VERDICTS)


def _template() -> Template:
    env = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    env.filters.update(FILTERS)
    return env.get_template("checked.html")

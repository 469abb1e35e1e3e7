"""Checked traces and graded answers made visible, on the terminal and on pages of their own.

They take the rows of `verify.files`. Nothing is told by colour alone: a false claim is underlined, has a
sign, and its true value stands beside it; a verdict has its sign and its word.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.text import Text

from everystep.verify.files import tally

Row = Mapping[str, Any]

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


def screen(row: Row) -> RenderableType:
    """One row for the terminal: the text with its claims marked, then the findings and the score."""
    if "error" in row:
        return Text(f"line {row['line']}: {printable(row['error'])}", style="red")
    body = Text()
    last: object = None
    for piece, check in pieces(row):
        if check is None:
            body.append(printable(piece))
        else:
            body.append(printable(piece), style=_STYLES[check["truth"]])
            if check is not last:
                body.append(f" [{beside(check)}]", style="bold red" if check["truth"] == "false" else "dim")
        last = check
    lines: list[RenderableType] = [Text(_shown(row["id"]), style="bold"), body]
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


_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --ink: #1c1f23; --paper: #fff; --soft: #5b636d; --line: #d5dae0;
  --good: #14633a; --bad: #a3161f; --bad-back: #fde9ea; --open: #7a5200; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7eaee; --paper: #14171a; --soft: #a3acb6; --line: #343a41; --good: #7fd3a3; --bad: #ff9aa0;
    --bad-back: #46191d; --open: #f0c674; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 54rem; color: var(--ink); background:
  var(--paper); font: 1rem/1.6 system-ui, sans-serif; }
h1 { font-size: 1.4rem; line-height: 1.25; }
article { border-top: 1px solid var(--line); padding: 1rem 0; }
h2 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.question, .note { color: var(--soft); margin: 0 0 .5rem; }
.trace { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
.claim { position: relative; border-radius: 2px; cursor: help; }
.true { color: var(--good); }
.false { color: var(--bad); background: var(--bad-back); text-decoration: underline wavy; font-weight: 600; }
.unknown { color: var(--open); text-decoration: underline dotted; }
.sign { display: inline-block; text-decoration: none; font-weight: 600; margin-left: .2em; }
.why { display: none; position: absolute; left: 0; top: 100%; z-index: 1; width: max-content;
  max-width: min(22rem, 80vw); padding: .3rem .6rem; font: .85rem/1.4 system-ui, sans-serif; color:
  var(--ink); background: var(--paper); border: 1px solid var(--line); border-radius: 4px;
  white-space: normal; }
.claim:hover .why, .claim:focus .why { display: block; }
.claim:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
ul { margin: .5rem 0; padding-left: 1.2rem; }
li.wrong { color: var(--bad); }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: start; vertical-align: top; padding: .4rem .6rem .4rem 0; border-top: 1px solid
  var(--line); overflow-wrap: anywhere; min-width: 5rem; }
td.given { white-space: pre-wrap; }
.verdict { white-space: nowrap; font-weight: 600; }
.right { color: var(--good); }
.wrong, .error { color: var(--bad); }
.missing, .ungradable { color: var(--open); }
summary { cursor: pointer; }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
"""
_FOOT = """</main>
</body>
</html>
"""
_CHECKED = """<p class="note">{{ rows|length }} traces, {{ wrong }} with a false claim{% if bad %}, {{ bad }}
lines that could not be read{% endif %}. ✓ holds, ✗ false with the true value, ? not decided. Reasons: hover,
or move with Tab.</p>
{% for row in rows %}
<article>
<h2>{{ row.id|shown if row.id is not none else 'no id' }}</h2>
{% if row.error is defined %}
<p class="false">line {{ row.line }}: {{ row.error|shown }}</p>
{% else %}
{% if row.question %}<p class="question" dir="auto">{{ row.question|shown }}</p>{% endif %}
<p class="trace" dir="auto">{{ row|marked('why-' ~ loop.index) }}</p>
{% if row.flags %}<ul>
{% for flag in row.flags %}<li{% if flag.finding != 'unused' %} class="wrong"{% endif %}>{{
flag.finding|finding }}{% if flag.step %}, step {{ flag.step }}{% endif %}: {{ flag.detail|shown }}</li>
{% endfor %}</ul>{% endif %}
<p class="note">{{ row|summary }}</p>
{% endif %}
</article>
{% endfor %}
"""
_GRADED = """<p class="note">{{ tally }}. ✓ the answer is the gold one, ✗ it is not, ? cannot be told.</p>
<div class="table" role="region" aria-label="Answers" tabindex="0">
<table>
<thead><tr><th scope="col">id</th><th scope="col">verdict</th><th scope="col">prediction</th>
<th scope="col">gold</th><th scope="col">read as</th><th scope="col">why</th></tr></thead>
<tbody>
{% for row in rows %}
<tr><th scope="row" dir="auto">{{ row.id|shown if row.id is not none else 'no id' }}</th>
{% if row.error is defined %}
<td class="verdict error">✗ unreadable</td>
<td class="error" colspan="4">line {{ row.line }}: {{ row.error|shown }}</td>
{% else %}
<td class="verdict {{ row.verdict }}">{{ signs.get(row.verdict, '?') }} {{ row.verdict }}</td>
<td class="given" dir="auto">{% if row.prediction|length > 300 %}<details><summary>{{
row.prediction[:300]|shown }}…</summary>{{ row.prediction|shown }}</details>{% else %}{{
row.prediction|shown }}{% endif %}</td>
<td class="given" dir="auto">{{ row.gold|shown }}</td>
<td dir="auto">{{ row.read|shown if row.read is not none else '' }}</td>
<td dir="auto">{{ row.reason|shown }}</td>
{% endif %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
"""
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
    env = Environment(autoescape=True)
    env.filters.update(FILTERS)
    wrong = sum(bool(r.get("first_false")) for r in rows)
    bad = sum("error" in r for r in rows)
    template = env.from_string(_HEAD + _CHECKED + _FOOT)
    return template.render(rows=rows, title=printable(title), wrong=wrong, bad=bad)


def graded_page(rows: Iterable[Row], title: str = "Graded answers") -> str:
    """A page as `page` makes them, of rows of `grade_file` with their texts: one line of a table each."""
    rows = list(rows)
    env = Environment(autoescape=True)
    env.filters["shown"] = _shown
    template = env.from_string(_HEAD + _GRADED + _FOOT)
    return template.render(
        rows=rows,
        title=printable(title),
        tally=tally(r.get("verdict", "unreadable") for r in rows),
        signs=VERDICTS,
    )

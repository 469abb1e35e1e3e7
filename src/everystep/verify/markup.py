r"""Any model's text as plain text: LaTeX, HTML, Markdown and Unicode variety taken off once, with a way back to the
original offsets.

What is arithmetic becomes plain arithmetic (`\frac{a}{b}` is `((a)/(b))`, `3,\!744` is `3,744`); letters of formulas
become mathematical italics, so that `5m` in a formula is not five metres; what cannot be computed (`\sin`, `\pm`)
becomes `ODD`, so that no calculation is read past it; arrows and gaps become marks.

>>> plain_text(r"\( 2x = 10 \implies x = \frac{10}{2} \)").text
'; 2𝑥 = 10 ⇒ 𝑥 = (10/2) ;'
>>> plain_text("**48 / 2 = 24**").text
'48 / 2 = 24'
"""

import html
import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field
from math import comb

from everystep.verify.numbers import repeating

ODD = "\ue000"  # something that is not computed
MAX_DEPTH = 40
_MAX_BINOMIAL = 300

_ITALIC = {c: chr(0x1D44E + i) for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
_ITALIC |= {c: chr(0x1D434 + i) for i, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")} | {"h": "\U0001d629"}
_TO_ITALIC = str.maketrans(_ITALIC)
UPRIGHT = str.maketrans({v: k for k, v in _ITALIC.items()})

_GREEK_NAMES = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon phi
varphi chi psi omega pi Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell
"""
_GREEK = dict(zip(_GREEK_NAMES.split(), "αβγδεεζηθθικλμνξρστυφφχψωπΓΔΘΛΞΣΦΨΩℓ", strict=True))
_COMMANDS = {
    "times": "×", "cdot": "×", "ast": "×", "div": "÷", "approx": "≈", "leq": "≤", "geq": "≥", "le": "≤", "ge": "≥",
    "leqslant": "≤", "geqslant": "≥", "neq": "≠", "ne": "≠", "lt": "<", "gt": ">", "colon": ":", "mid": "|",
    "lbrace": "(", "rbrace": ")", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "degree": "°",
    "textdegree": "°", "euro": "€", "pounds": "£", "textdollar": "$", "dollar": "$", "percent": "%", "circ": "°",
    "prime": "'", "newline": "\n", "par": "\n", "item": "\n", "vert": "|", "lvert": "|", "rvert": "|",
} | dict.fromkeys(
    ["implies", "Rightarrow", "rightarrow", "to", "iff", "Leftrightarrow", "leftrightarrow", "Longrightarrow",
     "longrightarrow", "Longleftrightarrow", "impliedby", "Leftarrow", "therefore", "because", "land", "lor", "wedge",
     "vee", "mapsto"], "⇒",
) | dict.fromkeys(["quad", "qquad", "hspace", "vspace", "hfill"], " ; ") | dict.fromkeys(
    ["left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "displaystyle",
     "textstyle", "limits", "nolimits", "boxed", "fbox", "cancel", "bcancel", "boldsymbol", "mathbf", "bm",
     "underline", "hline", "noindent", "centering", "tiny", "small", "large", "rm", "bf", "it", "phantom",
     "displaylimits", "nonumber", "notag", "underbrace", "overbrace", "mathit"], "",
)  # fmt: skip
_TEXT_GROUPS = {
    "text", "textbf", "textit", "textrm", "textsf", "texttt", "mathrm", "mathsf", "mbox", "hbox", "emph", "textnormal",
}  # fmt: skip
_FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "lg", "exp", "gcd", "lcm", "max", "min", "lim", "det", "deg",
    "mod", "arg", "dim", "ker", "sup", "inf", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "sgn", "Pr",
}  # fmt: skip

# Units that are written upright in formulas, but often are not.
_UNITS = {
    "cm",
    "km",
    "mm",
    "dm",
    "kg",
    "mg",
    "ml",
    "mL",
    "ft",
    "in",
    "hr",
    "hrs",
    "min",
    "sec",
    "lb",
    "lbs",
    "oz",
    "mph",
    "kmh",
}

_SPECIAL = re.compile(
    r"""
    (?=[\\<&{},$*_^`~|\-+\#A-Za-z/\ \t\x80-\U0010ffff]) (?:
    (?P<note><<[^<>\n]{1,200}>>)
  | (?P<tag></?(?:b|i|u|em|strong|code|p|br|div|span|sub|sup|li|ul|ol|td|tr|th|table|pre|h[1-6])(?:\s[^<>\n]{0,80})?/?>)
  | (?P<entity>&(?:[A-Za-z]{2,8}|\#\d{1,5});)
  | (?P<group>\{,\}|,\\!|\\[!])
  | (?P<dollars>\$\$|(?<!\\)\$)
  | (?P<command>\\[A-Za-z]+\*?)
  | (?P<escape>\\.|\\\n)
  | (?P<brace>[{}])
  | (?P<power>\*\*)
  | (?P<star>\*)
  | (?P<sub>_)
  | (?P<raise>\^)
  | (?P<struck>~~[^~\n]{1,200}~~)
  | (?P<tick>`+|~)
  | (?P<table>\|.*$)
  | (?P<bullet>(?:[-+•▪‣◦]|\#{1,6})[ \t]+(?=\S))
  | (?P<gap>(?<=[\d)}!])\ +(?=\(|\\left\s*\(|\\[bB]igg?l?\s*\(|\\sqrt|\\[dt]?frac))
  | (?P<rupee>(?<=\d)/-(?!\d))
  | (?P<letters>[A-Za-z]+)
  | (?P<wide>[^\x00-\x7f]+)
    )
    """,
    re.VERBOSE | re.MULTILINE,
)
# The same without the letters, which matter in formulas only: most text has none.
_SPARSE = re.compile(
    _SPECIAL.pattern.replace("(?P<letters>[A-Za-z]+)", r"(?P<letters>(?!))").replace("A-Za-z/\\ \\t", "/", 1),
    _SPECIAL.flags,
)
_MARKED = re.compile(r"[\\*$_^{}`|#~\x80-\U0010ffff]|<[a-zA-Z/<]|&[#a-zA-Z]|/-|(?m:^[ \t]*[-+][ \t])")
_NUMERIC_FRACTION = re.compile(
    r"\s*\{\s*(\d{1,15})\s*\}\s*\{\s*(\d{1,15})\s*\}|\s*(\d)\s*(\d)|\s*(\d)\s*\{\s*(\d{1,15})\s*\}"
)
_BINOMIAL = re.compile(r"\s*\{\s*(\d{1,3})\s*\}\s*\{\s*(\d{1,3})\s*\}")
_REPEATING = re.compile(r"\s*\{\s*(\d{1,12})\s*\}|(\d)")
_BEFORE_REPEAT = re.compile(r"(\d{0,12})\.(\d{0,12})\Z")
_INDEX = re.compile(r"\{?\s*([A-Za-z0-9]{1,12})\s*\}|([A-Za-z0-9])")
_SMALL_POWER = re.compile(r"\{\s*(-?\d{1,4}|[A-Za-z])\s*\}")
_DEGREES = re.compile(r"\{?\s*\\circ\s*\}?")
_ARGUMENT = re.compile(r"\s*(?:\{([^{}]*)\}|(\w))")
_SUPERSCRIPTS = {c: d for c, d in zip("⁰¹⁴⁵⁶⁷⁸⁹⁻", "01456789-", strict=True)}
_SAME = {c: "-" for c in "‐‑﹣－⁃"} | {
    "＝": "=",
    "⩵": "=",
    "∗": "*",
    "⇔": "⇒",
    "⟹": "⇒",
    "↔": "⇒",
    "∴": "⇒",
    "∵": "⇒",
    "٫": ".",
    "٬": ",",
}


@dataclass(slots=True)
class Plain:
    """The plain text; `original` gives an offset in the text it was made from."""

    text: str
    _starts: list[int] = field(default_factory=list)  # where pieces begin in the plain text
    _pieces: list[tuple[int, int, bool]] = field(default_factory=list)  # their place in the original; copied as it is?

    def original(self, offset: int, end: bool = False) -> int:
        """The place in the original of a plain offset; with `end`, of the end of what stands before it."""
        if not self._starts:
            return offset
        i = max(0, bisect_right(self._starts, offset - end) - 1)
        start, stop, same = self._pieces[i]
        if same:
            return min(stop, start + offset - self._starts[i])
        return stop if end else start


def plain_text(text: str) -> Plain:
    """The text without markup. Linear; never raises."""
    if _MARKED.search(text) is None:
        return Plain(text)
    return _Scanner(text).run()


def _math_dollars(text: str) -> set[int]:
    """The offsets of single dollar signs that open or close a formula; empty where they are money."""
    found = [m.start() for m in re.finditer(r"(?<![\\$])\$(?!\$)", text)]
    pairs: set[int] = set()
    i = 0
    while i + 1 < len(found):
        a, b = found[i], found[i + 1]
        inside = text[a + 1 : b]
        after = text[b + 1 : b + 2]
        tight = inside and not inside[0].isspace() and not inside[-1].isspace() and "\n\n" not in inside
        formula = (
            "\\" in inside or "^" in inside or "_" in inside or re.search(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", inside)
        )
        closed = tight and not after.isdigit() and not (after.isalpha() and not formula)
        if closed and (formula or inside[-1].isalnum() or inside[-1] in ")!%"):
            wordy = re.search(r"[A-Za-z]{4,} [A-Za-z]{2,}", re.sub(r"\\[a-z]+\{[^{}]*\}|\\[A-Za-z]+", "", inside))
            if not wordy:
                pairs |= {a, b}
                i += 2
                continue
        i += 1
    return pairs


_MARKS = ("***", "**", "__", "~~", "`", "*", "_")
_GROUP_BEFORE = re.compile(r"(?:\\[A-Za-z]+)?\{\s*$|\\left\s*$")


def balanced(text: str, start: int, stop: int) -> tuple[int, int]:
    """A stretch of a text widened by the other halves of the marks that it holds one half of.

    >>> balanced("so 48 / 2 = \\\\boxed{24}.", 3, 21)
    (3, 22)
    """
    if not any(c in text[start:stop] for c in "{}\\*_~`"):
        return start, stop
    for _ in range(MAX_DEPTH):
        inside = text[start:stop]
        if inside.count("{") > inside.count("}") and text[stop : stop + 1] == "}":
            stop += 1
        elif inside.count("}") > inside.count("{") or inside.count("\\right") > inside.count("\\left"):
            before = _GROUP_BEFORE.search(text, max(0, start - 30), start)
            if before is None:
                break
            start = before.start()
        else:
            break
    for mark in _MARKS:
        if text[start:stop].count(mark) % 2 and text.startswith(mark, stop):
            return start, stop + len(mark)
    return start, stop


class _Scanner:
    """One pass over a text: pieces copied, replaced or left out, and the groups that are open."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.out: list[str] = []
        self.length = 0
        self.starts: list[int] = []
        self.pieces: list[tuple[int, int, bool]] = []
        self.groups: list[str] = []  # what each open brace belongs to
        self.closers: list[str] = []
        self.math = 0  # open formulas
        self.dollars = _math_dollars(text) if "$" in text else set()
        self.written: list[bool] = []  # of open formulas: whether their delimiters are marks

    def run(self) -> Plain:
        text, at = self.text, 0
        match = _SPARSE.search(text)
        while match is not None:
            if match.start() > at:
                self.copy(at, match.start())
            kind = match.lastgroup or ""
            at = getattr(self, "_" + kind)(match)
            match = (_SPECIAL if self.math else _SPARSE).search(text, at)
        self.copy(at, len(text))
        return Plain("".join(self.out), self.starts, self.pieces)

    def copy(self, start: int, end: int) -> int:
        if end > start:
            self.starts.append(self.length)
            self.pieces.append((start, end, True))
            self.out.append(self.text[start:end])
            self.length += end - start
        return end

    def put(self, new: str, start: int, end: int) -> int:
        if new:
            self.starts.append(self.length)
            self.pieces.append((start, end, False))
            self.out.append(new)
            self.length += len(new)
        return end

    def last(self) -> str:
        return self.out[-1][-1] if self.out else ""

    def in_math(self) -> bool:
        return self.math > 0 and "text" not in self.groups

    # One method for each kind of match; each gives the offset to go on from.

    def _note(self, m: re.Match[str]) -> int:
        return m.end()

    def _tag(self, m: re.Match[str]) -> int:
        name = m.group().strip("</> ").split()[0].lower()
        if name in ("sup", "sub") and m.group()[1] != "/":
            return self.put("^" if name == "sup" else "_", m.start(), m.end())
        block = name in ("br", "p", "div", "li", "td", "tr", "th", "table", "ul", "ol", "pre")
        return self.put("\n" if block else "", m.start(), m.end())

    def _entity(self, m: re.Match[str]) -> int:
        return self.put(html.unescape(m.group()), m.start(), m.end())

    def _group(self, m: re.Match[str]) -> int:
        return self.put("," if "," in m.group() else "", m.start(), m.end())

    def _dollars(self, m: re.Match[str]) -> int:
        if m.group() == "$" and m.start() not in self.dollars:
            return self.copy(m.start(), m.end())
        if self.written and self.math:
            return self._leave(m)
        closing = self.text.find(m.group(), m.end())
        return self._enter(m, self.text[m.end() : closing if closing > 0 else m.end()])

    def _enter(self, m: re.Match[str], inside: str) -> int:
        """A formula begins. Its ends are marks where it holds a relation; a lone value is part of its sentence."""
        self.math += 1
        marked = "=" in inside or "\\" in inside.replace("\\frac", "").replace("\\$", "").replace("\\%", "")
        self.written.append(marked)
        return self.put(";" if marked else " ", m.start(), m.end())

    def _leave(self, m: re.Match[str]) -> int:
        self.math = max(0, self.math - 1)
        marked = self.written.pop() if self.written else True
        return self.put(";" if marked else " ", m.start(), m.end())

    def _command(self, m: re.Match[str]) -> int:
        name, start, end = m.group()[1:].rstrip("*"), m.start(), m.end()
        if name in _COMMANDS:
            if name in ("hspace", "vspace"):
                arg = _ARGUMENT.match(self.text, end)
                end = arg.end() if arg else end
            return self.put(_COMMANDS[name], start, end)
        if name in ("frac", "dfrac", "tfrac", "cfrac"):
            return self._fraction(start, end)
        if name == "sqrt":
            return self._opening("√(", start, end) if self.text[end : end + 1] != "[" else self.put(ODD, start, end)
        if name in _TEXT_GROUPS:
            if self.text[end : end + 1] == "{":
                self.groups.append("text")
                self.closers.append(" " if name == "text" else "")
                return self.put(" " if name == "text" else "", start, end + 1)
            return end
        if name in ("overline", "bar", "dot") and (value := self._repeating(end)):
            return self.put(*value)
        if name in ("binom", "dbinom", "tbinom", "choose") and (found := _BINOMIAL.match(self.text, end)):
            n, k = int(found.group(1)), int(found.group(2))
            if n <= _MAX_BINOMIAL:
                return self.put(f"({comb(n, k)})", start, found.end())
        if name in ("begin", "end", "tag", "label", "color", "textcolor"):
            arg = _ARGUMENT.match(self.text, end)
            if name == "begin":
                self.math += 1
                columns = (
                    _ARGUMENT.match(self.text, arg.end()) if arg and arg.group(1) in ("array", "tabular") else None
                )
                arg = columns or arg
            elif name == "end":
                self.math = max(0, self.math - 1)
            return self.put("\n" if name in ("begin", "end") else "", start, arg.end() if arg else end)
        if name in _GREEK:
            return self.put(f" {_GREEK[name]} ", start, end)
        if name in ("ldots", "dots", "cdots", "vdots"):
            return self.put("…", start, end)
        if name in ("operatorname", "mathbb", "mathcal"):
            arg = _ARGUMENT.match(self.text, end)
            end = arg.end() if arg else end
        return self.put(ODD, start, end)

    def _fraction(self, start: int, end: int) -> int:
        numeric = _NUMERIC_FRACTION.match(self.text, end)
        if numeric:
            top, bottom = [g for g in numeric.groups() if g is not None]
            before = self.last()
            mixed = before.isdigit() and int(top) < int(bottom) and self.text[:start].rstrip(" ")[-1:].isdigit()
            return self.put(f" {top}/{bottom}" if mixed else f"({top}/{bottom})", start, numeric.end())
        return self._opening("((", start, end, "frac")

    def _opening(self, new: str, start: int, end: int, group: str = "plain") -> int:
        """A command whose argument is a group, or one character."""
        while self.text[end : end + 1] == " ":
            end += 1
        if self.text[end : end + 1] != "{" or len(self.groups) >= MAX_DEPTH:
            one = self.text[end : end + 1]
            if group == "plain" and one.isalnum():
                return self.put(f"{new}{one.translate(_TO_ITALIC)})", start, end + 1)
            return self.put(ODD, start, end)
        self.groups.append(group)
        self.closers.append(")")
        return self.put(new, start, end + 1)

    def _repeating(self, end: int) -> tuple[str, int, int] | None:
        r"""`0.\overline{2}` as a fraction in brackets; the digits before it are taken back from the last piece."""
        digits = _REPEATING.match(self.text, end)
        before = _BEFORE_REPEAT.search(self.out[-1]) if self.out else None
        if digits is None or before is None or not self.pieces[-1][2]:
            return None
        period, whole, part = digits.group(1) or digits.group(2), before.group(1) or "0", before.group(2)
        value = repeating(whole, part, period)
        taken = len(before.group())
        start, stop, _ = self.pieces.pop()
        self.starts.pop()
        self.out.pop()
        self.length -= stop - start
        self.copy(start, stop - taken)
        return f"({value.numerator}/{value.denominator})", stop - taken, digits.end()

    def _escape(self, m: re.Match[str]) -> int:
        c = m.group()[1]
        if c in "([":
            closing = self.text.find("\\)" if c == "(" else "\\]", m.end())
            return self._enter(m, self.text[m.end() : closing if closing > 0 else m.end()])
        if c in ")]":
            return self._leave(m)
        new = {"\\": "\n", "{": "(", "}": ")", "|": "|", "\n": "\n"}.get(c, c if c in "$%#&_" else " ")
        return self.put(new, m.start(), m.end())

    def _brace(self, m: re.Match[str]) -> int:
        if m.group() == "{":
            formula = self.in_math()
            self.groups.append("brace")
            outside = not formula and "\\" not in self.text
            self.closers.append(")" if outside else "")
            return self.put("(" if outside else "", m.start(), m.end())
        if not self.groups:
            return self.put(")" if "\\" not in self.text else "", m.start(), m.end())
        group, closer = self.groups.pop(), self.closers.pop()
        if group == "text" and self.text[m.end() : m.end() + 1] == "(":
            closer = ""  # the name of a function
        if group == "frac":
            end = m.end()
            while self.text[end : end + 1] == " ":
                end += 1
            if self.text[end : end + 1] == "{":
                self.groups.append("plain")
                self.closers.append("))")
                return self.put(")/(", m.start(), end + 1)
            return self.put(f")/({self.text[end : end + 1].translate(_TO_ITALIC)}))", m.start(), end + 1)
        return self.put(closer, m.start(), m.end())

    def _power(self, m: re.Match[str]) -> int:
        before, after = self.text[m.start() - 1 : m.start()] if m.start() else "", self.text[m.end() : m.end() + 1]
        tight = (before.isalnum() or before == ")") and (after.isalnum() or (after in "(-" and after))
        if tight or (before == " " and after == " " and m.start() > 1):
            return self.put("^", m.start(), m.end())
        return m.end()

    def _star(self, m: re.Match[str]) -> int:
        text, start, end = self.text, m.start(), m.end()
        before = text[:start].rstrip(" ")[-1:] if start else ""
        after = text[end:].lstrip(" ")[:1] if end < len(text) else ""
        operand = (
            before
            and (before.isalnum() or before in ")]}%$°'\"")
            and after
            and (after.isalnum() or after in "($€£.\\-√{¼½¾（₹₺¥￥")
        )
        if operand and after.isalpha() and text[start - 1] != " " and text[end] == " ":
            operand = False  # `*48 / 2 = 24* and`
        if operand or self.in_math():
            return self.copy(start, end)
        return end

    def _sub(self, m: re.Match[str]) -> int:
        index = _INDEX.match(self.text, m.end())
        last = self.last()
        before, after = self.text[m.start() - 1 : m.start()] if m.start() else "", self.text[m.end() : m.end() + 1]
        if not self.in_math() and (not before.isalnum() or not after or not (after.isalnum() or after == "{")):
            return m.end()  # italics
        if index and last and (last.isalpha() or last == ODD) and (index.group(1) or self.in_math()):
            return self.put("_" + (index.group(1) or index.group(2)), m.start(), index.end())
        if self.text[m.end() : m.end() + 1] == "{":
            self.groups.append("plain")
            self.closers.append(ODD)
            return self.put(ODD, m.start(), m.end() + 1)
        return self.copy(m.start(), m.end()) if not self.in_math() else self.put(ODD, m.start(), m.end())

    def _raise(self, m: re.Match[str]) -> int:
        if degrees := _DEGREES.match(self.text, m.end()):
            return self.put("°", m.start(), degrees.end())
        if small := _SMALL_POWER.match(self.text, m.end()):
            power = small.group(1)
            return self.put(
                f"^({power})" if power[0] == "-" else f"^{power.translate(_TO_ITALIC)}", m.start(), small.end()
            )
        if self.text[m.end() : m.end() + 1] == "{":
            self.groups.append("plain")
            self.closers.append(")")
            return self.put("^(", m.start(), m.end() + 1)
        return self.copy(m.start(), m.end())

    def _gap(self, m: re.Match[str]) -> int:
        """A space before a factor: none in a formula, where what stands side by side is multiplied."""
        return m.end() if self.in_math() else self.copy(m.start(), m.end())

    def _rupee(self, m: re.Match[str]) -> int:
        return m.end()

    def _struck(self, m: re.Match[str]) -> int:
        return m.end()

    def _tick(self, m: re.Match[str]) -> int:
        if m.group() == "~":
            return self.put(" ", m.start(), m.end()) if "\\" in self.text else self.copy(m.start(), m.end())
        return m.end()

    def _table(self, m: re.Match[str]) -> int:
        """A row of a table: its bars are marks."""
        start = m.start()
        if not self.opens_line(start):
            return self.copy(start, start + 1)
        for i, cell in enumerate(m.group().split("|")):
            if i:
                self.put(" ; ", start - 1, start)
            if cell.strip(" *`"):
                left = len(cell) - len(cell.lstrip(" *`"))
                self.copy(start + left, start + len(cell.rstrip(" *`")))
            start += len(cell) + 1
        return m.end()

    def _bullet(self, m: re.Match[str]) -> int:
        return m.end() if self.opens_line(m.start()) else self.copy(m.start(), m.end())

    def opens_line(self, at: int) -> bool:
        return not self.text[self.text.rfind("\n", 0, at) + 1 : at].strip(" \t")

    def _letters(self, m: re.Match[str]) -> int:
        if not self.in_math():
            return self.copy(m.start(), m.end())
        word = m.group()
        if word in _FUNCTIONS:
            return self.put(ODD, m.start(), m.end())
        if len(word) == 1:
            return self.put(word.translate(_TO_ITALIC), m.start(), m.end())
        if len(word) < 4 and word not in _UNITS:
            at = m.start()
            for i, c in enumerate(word):
                at = self.put(c.translate(_TO_ITALIC) + (" " if i + 1 < len(word) else ""), at, at + 1)
            return at
        return self.copy(m.start(), m.end())

    def _wide(self, m: re.Match[str]) -> int:
        cjk = False
        for i, c in enumerate(m.group(), m.start()):
            if cjk and not ("\u2e80" < c < "\uff00" and c.isalpha()):
                self.put(" ", i, i)
            self._one(c, i)
            cjk = "\u2e80" < c < "\uff00" and c.isalpha() and c not in "万萬亿億"
        if cjk:
            self.put(" ", m.end(), m.end())
        return m.end()

    def _one(self, c: str, i: int) -> None:
        if c == "Ã" and self.text[i + 1 : i + 2] == "—":
            self.put("×", i, i + 1)  # the bytes of × read in another encoding
        elif c == "—" and self.text[i - 1 : i] == "Ã":
            self.put("", i, i + 1)
        elif "₀" <= c <= "₉":
            raised = i and "₀" <= self.text[i - 1] <= "₉"
            self.put(("" if raised else "_") + str(ord(c) - 0x2080), i, i + 1)
        elif c in _SUPERSCRIPTS:
            raised = i and self.text[i - 1] in _SUPERSCRIPTS
            self.put(("" if raised else "^") + _SUPERSCRIPTS[c], i, i + 1)
        elif c in _SAME:
            self.put(_SAME[c], i, i + 1)
        elif c == "\u0338":
            self.put(ODD, i, i + 1)
        elif (category := unicodedata.category(c)) in ("Mn", "Mc", "Cf"):
            self.put("", i, i + 1)  # vowel signs, which would part words
        elif category == "Nd":
            self.put(str(unicodedata.decimal(c)), i, i + 1)
        elif "\uff00" < c < "\uffef" or "\ufe50" <= c < "\ufe70":
            self.put(unicodedata.normalize("NFKC", c), i, i + 1)
        else:
            self.copy(i, i + 1)

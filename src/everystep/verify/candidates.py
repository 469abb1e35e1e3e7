"""Which amounts of an answer's text are offered as the answer: lead-ins, reasons, asides, negated parts and
worked equations are set aside; bounds, unworked sums and malformed numbers are problems.
"""

import re

from everystep.verify.phrases import Amount, Offered, amounts_in

_ANCHOR = re.compile(
    r"(?:\banswer\b(?:(?:(?!\bnot\b|\bcannot\b|n't)[^.=:;\n]){0,40}?(?:\b(?:is|are|was|equals|be)\b\s*:?|[=:])|\s*->)|#{4})\s*",
    re.IGNORECASE,
)
_REASON = re.compile(r"[,;(]?\s*\b(?:because|since|given that|due to|as we|as there|as it|so that)\b[^;\n]*", re.I)
_LEADING_REASON = re.compile(r"^\s*(?:because|since|given that|as)\b[^,;\n]*[,;]", re.IGNORECASE)
_NEGATED = re.compile(
    r"(?:\b(?:not|never|neither|nor|rather than|other than|instead of|cannot|excluding|except|without"
    r"|(?:anything|everything|all) but)\b|n't\b|≠)"
    r"(?:(?!\bbut\b|\.\s)[^,;\n])*(?:,(?=\d{3}(?!\d))[^,;\n]*)*", re.IGNORECASE,
)  # fmt: skip
_REFUSED = re.compile(r"\b(?:wrong|incorrect|false|impossible|untrue)\b", re.IGNORECASE)
_BOUND_BEFORE = re.compile(
    r"(?:\b(?:at\s+(?:least|most)|(?:no\s+)?(?:more|less|fewer|greater|larger|smaller|higher|lower|bigger)\s+than"
    r"|over|under|above|below|up\s+to|nearly|almost|between|beyond|minimum\s+of|maximum\s+of|exceeds|within|until"
    r"|not\s+quite|close\s+to|just\s+short\s+of)\s+(?:an?\s+|the\s+)?|[<>≤≥±∓√]\s*=?\s*)[$€£+-]?$",
    re.IGNORECASE,
)  # fmt: skip
_BOUND_AFTER = re.compile(
    r"\s*(?:or\s+(?:more|less|fewer|greater|higher|lower|so)\b|and\s+(?:above|up|over|below)\b|\+(?!\s*\d)|minimum\b"
    r"|maximum\b|at\s+(?:least|most)\b|[<>≤≥])", re.IGNORECASE,
)  # fmt: skip
_OPERATOR_BEFORE = re.compile(r"^\s*-\s+$|(?:[+*/×÷·^√π]|(?:(?<=[\w)])|^)\s+-)\s*\(?\s*$|(?<=[\w)])-$|[A-Za-z]\^?\($")
_OPERATOR_AFTER = re.compile(
    r"\s*\)?\s*(?:[+*×÷·^√π∞\\]|/|-\s+[\w(]|-(?=\d)|[xX]\s+\d|[b-zB-Z](?:[·*^/×]|\s*$)|!\s*[*+/×-])"
)
# "7 apples after 3 days": an amount with its own unit behind one of these only says when, where or for whom.
_CONTEXT = re.compile(
    r"\b(?:after|in|for|with|within|from|over|during|before|by|among|across|throughout)\s+"
    r"(?:(?:the|those|these|all|only|just|about|his|her|their|its|every|each|next|first|last)\s+){0,2}$",
    re.IGNORECASE,
)
_MAX_SIDES = 16
_OPEN = "not worked out"
_ASIDE = re.compile(r"(?<![\w)])\(([^()]*)\)")
_EQUALS = re.compile(r"(?<![<>!:≤≥])[=≈≃≅→⇒⟹]+>?|\b(?:equals|is equal to|which is|that is|i\.e\.)")
_SENTENCE = re.compile(
    r"(?<![-+*/×·^−=])(?:,\s*|\s+)(?:(?:and|or|so|then|thus|hence|therefore),?\s+)?(?<=[\s,])(?=[A-Za-z]\w?\s*=)|\n+|;|(?<=[\w)%°])[.!?](?=\s+[A-Z])"
)
_LABEL = re.compile(r"^\s*(?:\(?[A-Ha-h][).:]\)?|[Ss]tep\s+\d{1,3}\s*[:.])\s+(?=\S)")
_ROUNDED = re.compile(
    r"^[^\n=]{0,80}?\b(?:rounds|rounded)\s+(?:up\s+|down\s+|off\s+)?to\s+(?=[$€£]?\d)(?!\d+\s+(?:decimal|place|sig|digit|d\.?p))",
    re.I,
)
_VARIABLE = re.compile(r"^\s*[A-Za-z]\w?\s*[:≈]?\s*$")
_TERM = r"(?:\d{1,9}(?:\.\d{1,9})?\s?\*?\s?)?[a-zA-Z](?:\^?[0-9])?|\d{1,9}(?:\.\d{1,9})?"
_ALGEBRA = re.compile(rf"\s*(?:{_TERM})(?:\s*[-+−*/]\s*(?:{_TERM})){{0,8}}\s*")
_PLURAL_S = re.compile(r"\((?:s|es)\)")


def offered(text: str) -> Offered:
    """The amounts that a plain text offers as its answer, in order; or none and the problem.

    >>> [str(a.value) for a in offered("So the total is 12 + 30 = 42 (not 43)").amounts]
    ['42']
    >>> offered("at least 42").problem, offered("10 + 32").problem
    ('a bound, not a value', 'not worked out')
    """
    text = _PLURAL_S.sub("s", text)
    anchors = list(_ANCHOR.finditer(text))
    if anchors:
        tails = [
            text[m.end() : anchors[i + 1].start() if i + 1 < len(anchors) else len(text)] for i, m in enumerate(anchors)
        ]
        tails = [t for t in tails if t.strip(" .*:")]
        if tails:
            text = "\n".join(tails)
    text = _ROUNDED.sub("", _LABEL.sub("", text))
    text = _LEADING_REASON.sub("", text)
    shortened = _REASON.sub("", text)
    if shortened.strip(" .,;"):
        text = shortened
    if _REFUSED.search(text):
        return Offered((), "says that it is wrong")
    positive = _NEGATED.sub(" ", text)
    if positive != text and not re.search(r"\w", re.sub(r"\b(?:it|is|the|answer|but|are|was)\b", "", positive)):
        return Offered((), "only says what it is not")
    text = _asides(positive)
    kept: list[Amount] = []
    given: list[Amount] = []  # what equations in unknowns come to, `x + y = 10`: only where nothing else is
    problem: str | None = None
    for sentence in _SENTENCE.split(text):
        if not sentence or not sentence.strip():
            continue
        if len(kept) > _MAX_SIDES:
            return Offered((), "too many numbers")
        amounts, trouble = _sentence(sentence)
        if _is_equation(sentence):
            given += amounts
        else:
            kept += amounts
        if not problem or problem == _OPEN:
            problem = trouble or problem
    kept = kept or given
    if problem and not (kept and problem == _OPEN):
        return Offered((), problem)
    return Offered(tuple(kept), None if kept else "no number")


def _asides(text: str) -> str:
    """Without remarks in parentheses; a parenthesis that only repeats an amount is opened."""
    if "(" not in text:
        return text
    outside = _ASIDE.sub(" ", text)
    if not re.search(r"\d", outside) and not amounts_in(outside):
        return re.sub(r"(?<![\w)])\(([^()]*)\)", r" \1 ", text)

    def opened(match: re.Match[str]) -> str:
        inner = match.group(1)
        amounts = amounts_in(inner)
        if amounts is None or (amounts and len(amounts) == 1 and _pure(inner, amounts)):
            return f" ; {inner} "
        return " "

    return _ASIDE.sub(opened, text)


def _pure(text: str, amounts: list[Amount]) -> bool:
    """Whether the text is one amount and nothing else."""
    rest = text[: amounts[0].start] + text[amounts[0].end :]
    return len(amounts) == 1 and not rest.strip(" .,:~!?*_\"'")


def _sentence(text: str) -> tuple[list[Amount], str | None]:
    """The amounts of one sentence; of an equation, those sides that are a value and not a calculation."""
    sides = _EQUALS.split(text)
    if len(sides) > _MAX_SIDES:
        return [], "too many equations"
    if len(sides) == 1:
        return _side(text)
    kept: list[Amount] = []
    trouble: str | None = None
    for i, side in enumerate(sides):
        if not side.strip() or _VARIABLE.match(side):
            continue
        last = i == len(sides) - 1
        amounts, problem = _side(side)
        if problem:
            trouble = problem
        elif amounts and (last or _pure(side, amounts)):
            kept += amounts
            trouble = None
    return (kept, None) if kept else ([], trouble)


def _is_equation(sentence: str) -> bool:
    """Whether a sentence is an equation with more than an unknown alone on its left side: `3x = 12`."""
    left, sign, _ = sentence.partition("=")
    if not sign or len(left) > 60 or _VARIABLE.match(left) or not _ALGEBRA.fullmatch(left):
        return False
    return any(c.isalpha() for c in left)


def _side(text: str) -> tuple[list[Amount], str | None]:
    amounts = amounts_in(text)
    if amounts is None:
        return [], "malformed number"
    for amount in amounts:
        before, after = text[: amount.start], text[amount.end :]
        if _BOUND_BEFORE.search(before) or _BOUND_AFTER.match(after):
            return [], "a bound, not a value"
        if _OPERATOR_AFTER.match(after) or (_OPERATOR_BEFORE.search(before) and not _bullet(before, amount)):
            return [], _OPEN
    main = [a for a in amounts if not ((a.units or a.noun) and _CONTEXT.search(text, 0, a.start))]
    return main or amounts, None


def _bullet(before: str, amount: Amount) -> bool:
    """Whether what stands before the amount is a list mark and no operator."""
    return before.strip() in ("-", "*") and amount.text[:1] not in "+-"

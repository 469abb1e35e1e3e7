"""Arithmetic said in words, put into the same tokens as written arithmetic.

`5 times 3 is 15`, `half of 48 equals 24`, `20% of 50 is 10`, `the sum of 3 and 4 is 7`. A word stays a word
wherever that reading is not safe ("12 times the second time", "is 5 more than").
"""

from collections.abc import Sequence
from fractions import Fraction

from everystep.verify.numbers import NUMBER_WORDS, word_number
from everystep.verify.tokens import CLOSE, MARK, NUM, OP, OPEN, REL, WORD, Token

_OPERATIONS = {"times": "*", "plus": "+", "minus": "-", "multiplied": "*", "divided": "/"}
_WITH = {"multiplied": {"by"}, "divided": {"by", "into", "among", "between"}}
_EQUALS = {"equals", "equal", "is", "are", "makes", "gives", "was", "were"}
ROUGH = {"about", "approximately", "roughly", "around"}
_PARTS = {"half", "third", "thirds", "quarter", "quarters", "fourth", "fourths", "fifth", "fifths", "tenth"}
_FOLDS = {"twice": 2, "double": 2, "triple": 3}
_POWERS = {"squared": 2, "cubed": 3}
_OF_TWO = {"difference": "-", "quotient": "/"}
_OF_MANY = _OF_TWO | {"sum": "+", "product": "*", "average": "+", "mean": "+"}
_MAX_TERMS = 12
_THE = {"the", "those", "these", "his", "her", "their", "all", "its"}
_COUNTS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4}
_MORE = {
    "more", "less", "fewer", "times", "of", "greater", "larger", "smaller", "older", "younger", "percent",
    "or", "longer", "shorter", "higher", "lower", "faster", "slower", "multiplied", "plus", "minus", "to",
}  # fmt: skip
_RISES = {
    "rise", "increase", "grow", "climb", "gain", "raise", "rises", "increases", "grows", "climbs", "gains",
    "raises", "rose", "risen", "increased", "grew", "grown", "climbed", "gained", "raised", "up",
}  # fmt: skip
_FALLS = {
    "fall", "decrease", "drop", "decline", "reduction", "discount", "shrink", "falls", "decreases", "drops",
    "declines", "reductions", "discounts", "shrinks", "fell", "fallen", "decreased", "dropped", "declined",
    "reduced", "shrank", "down",
}  # fmt: skip
_CHANGES = dict.fromkeys(_RISES, "+") | dict.fromkeys(_FALLS, "-")
_TIMES = {"am", "pm", "a.m", "p.m", "o'clock"}
_PRODUCTS = {"multiply": "*", "multiplying": "*", "divide": "/", "dividing": "/", "add": "+", "adding": "+"}
_PRODUCTS |= {"subtract": "-", "subtracting": "-"}
_JOINTS = {"*": {"by"}, "/": {"by"}, "+": {"to", "and"}, "-": {"from"}}
_SPOKEN = (
    set(_OPERATIONS)
    | _EQUALS
    | _PARTS
    | set(_FOLDS)
    | set(_OF_MANY)
    | set(_POWERS)
    | {"of", "from", "at", "for"}
    | set(_PRODUCTS)
)
SAID = "said"  # the sign of an operator that was a word


def rewrite(tokens: list[Token]) -> list[Token]:
    """The tokens with spoken arithmetic as operators and relations. Relations that were words have the text
    `is` or, with "about", `is≈`; operators that were words have the sign `said`.

    >>> from everystep.verify.tokens import tokenize
    >>> [t.text for t in rewrite(tokenize("half of 48 is 24"))]
    ['half', '*', '48', 'is', '24']
    """
    if not any(t.kind == WORD and t.text.lower() in _SPOKEN for t in tokens):
        return tokens
    out: list[Token] = []
    i, n = 0, len(tokens)
    while i < n:
        token = tokens[i]
        step = 1
        if token.kind == WORD:
            word = token.text.lower()
            if word in _OPERATIONS:
                token, step = _operation(tokens, i, word, out)
            elif word == "of":
                the = i + 3 < n and tokens[i + 1].text in _THE and _is_result(tokens, i + 2)
                if out and i + 1 < n and (tokens[i + 1].kind in (NUM, OPEN) or the) and _is_share(out):
                    token, step = Token(OP, "*", token.start, token.end, None, SAID), 1 + the
            elif word in _PARTS:
                if i + 2 < n and tokens[i + 1].text == "of" and tokens[i + 2].kind == NUM:
                    token, step = _part(tokens, i, word, out)
            elif word in _FOLDS:
                if i + 1 < n and tokens[i + 1].kind == NUM:
                    out.append(Token(NUM, token.text, token.start, token.end, _FOLDS[word]))
                    token = Token(OP, "*", token.end, token.end, None, SAID)
            elif word in _EQUALS:
                token, step = _relation(tokens, i, word)
            elif word in _POWERS:
                if out and out[-1].kind == NUM:
                    out.append(Token(OP, "^", token.start, token.start, None, SAID))
                    token = Token(NUM, token.text, token.start, token.end, _POWERS[word])
            elif word == "from" and _change(tokens, i, out):
                token, step = out.pop(), 3
            elif word in ("at", "for") and out and (each := _each(tokens, i, out)):
                token = each
            elif many := _PHRASES[word](tokens, i, word) if word in _PHRASES else None:
                parts, step = many
                out.extend(parts[:-1])
                token = parts[-1]
        out.append(token)
        i += step
    return out


def _operation(tokens: Sequence[Token], i: int, word: str, out: list[Token]) -> tuple[Token, int]:
    """`times`, `divided by`… between two operands as an operator; number words next to it become numbers."""
    token, n = tokens[i], len(tokens)
    at = i + 1
    if word in _WITH:
        if at >= n or tokens[at].text not in _WITH[word]:
            return token, 1
        at += 1
    if at >= n:
        return token, 1
    after = tokens[at]
    said_after = _phrase(tokens, at) if after.kind == WORD else None
    if after.kind not in (NUM, OPEN) and not said_after:
        return token, 1
    if not _after_operand(out):
        said = next(
            (s for k in range(max(0, len(out) - 8), len(out)) if (s := _phrase(out, k)) and s[1] == len(out)), None
        )
        if not said:
            return token, 1
        out[-said[2] :] = [said[0]]
    operator = Token(OP, _OPERATIONS[word], token.start, tokens[at - 1].end, None, SAID)
    if not said_after:
        return operator, at - i
    out.append(operator)
    return said_after[0], said_after[1] - i


def _phrase(tokens: Sequence[Token], at: int) -> tuple[Token, int, int] | None:
    """The number that is said in words from `at` on as a token, where it ends, and how many words it has; None for
    none, and for "one", which is mostly a pronoun."""
    words = []
    while at + len(words) < len(tokens) and len(words) < 8 and tokens[at + len(words)].kind == WORD:
        words.append(tokens[at + len(words)].text.lower())
    found = word_number(words) if words and words[0] not in _FOLDS else None
    if found is None or found[0].denominator != 1 or found[0] < 2:
        return None
    last = tokens[at + found[1] - 1]
    text = " ".join(words[: found[1]])
    return Token(NUM, text, tokens[at].start, last.end, found[0].numerator), at + found[1], found[1]


def _each(tokens: Sequence[Token], i: int, out: Sequence[Token]) -> Token | None:
    """`90 bulbs at $.50 each = …` as a product."""
    words = [t.text.lower() for t in tokens[i + 1 : i + 4]]
    if len(words) < 3 or tokens[i + 1].kind != NUM or not tokens[i + 1].sign or words[1] not in ("each", "apiece"):
        return None
    if tokens[i + 2].kind != WORD or tokens[i + 3].kind != REL or not _after_operand(out) or out[-1].kind != WORD:
        return None
    return Token(OP, "*", tokens[i].start, tokens[i].end, None, SAID)


_RESULTS = {"gives", "get", "gets", "giving", "equals", "yields", "is", "leaves", "leaving"}


def _product(tokens: Sequence[Token], i: int, word: str) -> tuple[list[Token], int] | None:
    """`multiply the 43 by $3, which gives $126` as `43 * $3 = $126`: the part up to the result's relation, and how many
    tokens were read."""
    n, at = len(tokens), i + 1
    sign = _PRODUCTS[word]
    joints = _JOINTS[sign]
    while at < n and at < i + 3 and tokens[at].text in _THE:
        at += 1
    if at >= n or tokens[at].kind != NUM:
        return None
    first = tokens[at]
    at += 1
    while at < n and tokens[at].kind == WORD and tokens[at].text not in joints and at < i + 6:
        at += 1
    if at + 1 >= n or tokens[at].text not in joints or tokens[at + 1].kind != NUM:
        return None
    by, second = tokens[at], tokens[at + 1]
    at += 2
    end = at
    while at < n and at < end + 6 and (tokens[at].kind == WORD or tokens[at].text == ","):
        if tokens[at].text in _RESULTS and at + 1 < n and tokens[at + 1].kind == NUM:
            operator = Token(OP, "+" if sign == "-" else sign, by.start, by.end, None, SAID)
            minus = [Token(OP, "-", first.start, first.start)] if sign == "-" else []
            return [*minus, first, operator, second, Token(REL, "is", tokens[at].start, tokens[at].end)], at + 1 - i
        at += 1
    return None


def _small(word: str) -> int | None:
    """The value of a word for a whole number from two up; None for all others ("one" is mostly a pronoun)."""
    value = NUMBER_WORDS.get(word.lower())
    if value is None or value.denominator != 1 or value < 2 or word.lower() in _FOLDS:
        return None
    return value.numerator


def _part(tokens: Sequence[Token], i: int, word: str, out: list[Token]) -> tuple[Token, int]:
    """`half of 48`, `two thirds of 30`: the share as a number, the "of" as multiplication."""
    token = tokens[i]
    count, start = 1, token.start
    if out and out[-1].kind == WORD:
        before = out[-1].text.lower()
        if before in ("the", "his", "her", "their", "another", "every"):
            return token, 1
        if before in _COUNTS:
            count = _COUNTS[before]
            start = out.pop().start
    out.append(Token(NUM, token.text, start, token.end, NUMBER_WORDS[word] * count))
    return Token(OP, "*", tokens[i + 1].start, tokens[i + 1].end, None, SAID), 2


def _relation(tokens: Sequence[Token], i: int, word: str) -> tuple[Token, int]:
    """`is`, `equals`, `is equal to` before a number that ends there, as a relation."""
    n = len(tokens)
    at = i + 1
    if word != "equal" and at + 1 < n and tokens[at].text == "equal" and tokens[at + 1].text == "to":
        at += 2
    elif word in ("equal", "equals") and at < n and tokens[at].text == "to":
        at += 1
    rough = at < n and tokens[at].text in ROUGH
    first = at + rough
    if first < n and i > 0 and tokens[i - 1].kind in (NUM, WORD) and _is_product(tokens, first):
        return Token(REL, "is≈" if rough else "is", tokens[i].start, tokens[at - 1].end), at - i
    if first >= n or tokens[first].kind not in (NUM, OP):
        return tokens[i], 1
    if any(t.kind == WORD and t.text in _MORE for t in tokens[first + 1 : first + 4]):
        return tokens[i], 1
    return Token(REL, "is≈" if rough else "is", tokens[i].start, tokens[at - 1].end), at - i


def _is_result(tokens: Sequence[Token], i: int) -> bool:
    """Whether a number with its unit words stands at `i`, and then a relation (`of the 50 boys = 10`)."""
    if tokens[i].kind != NUM:
        return False
    end = i + 1
    while end < len(tokens) and end < i + 4 and tokens[end].kind == WORD:
        end += 1
    return end < len(tokens) and (tokens[end].kind == REL or tokens[end - 1].text in _EQUALS)


def _is_product(tokens: Sequence[Token], i: int) -> bool:
    """Whether a product in words begins at `i` and its clause ends with it: `30% of 60`, `half of 48`, `twice
    7`, `3 times 5 boys`."""
    n = len(tokens)
    words = [t.text.lower() for t in tokens[i : i + 3]]
    if len(words) < 2:
        return False
    if words[0] in _FOLDS:
        last = i + 1
    elif words[0] in _PARTS and words[1] == "of":
        last = i + 2
    elif words[0] in _COUNTS and words[1] in _PARTS and words[2:] == ["of"]:
        last = i + 3
    elif tokens[i].kind != NUM:
        return False
    elif words[1] == "times" or (words[1] == "of" and _is_share(tokens[i : i + 1])):
        last = i + 2
    elif words[1] == "/" and tokens[i + 3 : i + 4] and tokens[i + 3].text == "of":
        last = i + 4
    else:
        return False
    if last >= n or tokens[last].kind != NUM:
        return False
    end = last + 1
    while end < n and end < last + 4 and tokens[end].kind == WORD and tokens[end].text not in _MORE:
        end += 1
    return end >= n or tokens[end].kind in (MARK, REL)


def _change(tokens: Sequence[Token], i: int, out: list[Token]) -> bool:
    """`rises by 10% from $50 to $55`, `a 10% rise from $50 to $55` as `(1 + 10%) * $50 is $55`, in the
    order in which it is written: the end of `out` is replaced. False where the word "from" at `i` is
    something else, where the numbers may be years or days, and where the percentage is a rounded one."""
    if i + 3 >= len(tokens) or tokens[i + 2].text != "to" or len(out) < 2:
        return False
    old, new = tokens[i + 1], tokens[i + 3]
    at = len(out) - (1 if out[-1].kind == NUM else 2)
    change = out[at]
    word = out[-1] if at == len(out) - 2 else out[at - 1 - (at > 1 and out[at - 1].text == "by")]
    sign = _CHANGES.get(word.text.lower())
    if sign is None or change.kind != NUM or old.kind != NUM or new.kind != NUM or old.sign != new.sign:
        return False
    by, a, b = change.value, old.value, new.value
    if by is None or not a or b is None or old.sign == "%" or change.sign not in ("%", old.sign):
        return False
    if not old.sign:
        after = tokens[i + 4].text.lower() if i + 4 < len(tokens) else ""
        if change.sign != "%" or min(a, b) <= 31 or {len(old.text), len(new.text)} & {4} or after in _TIMES:
            return False
    if change.sign == "%":
        _, _, places = change.text.partition(".")
        real = Fraction(b) / a - 1
        gap = abs(abs(real) - by)
        if 0 < gap <= Fraction(1, 200 * 10 ** sum(c.isdigit() for c in places[:20])) and sign == "+-"[real < 0]:
            return False
    start, end = change.start, change.end
    plus = Token(OP, "+", end, end, None, SAID)
    if change.sign == "%":
        terms = [
            Token(OPEN, "(", start, start),
            Token(NUM, "1", start, start, 1),
            Token(OP, sign, start, start, None, SAID),
            change,
            Token(CLOSE, ")", end, end),
            Token(OP, "*", end, end, None, SAID),
        ]
    elif sign == "-":
        terms = [Token(OP, "-", start, start, None, SAID), change, plus]
    else:
        terms = [change, plus]
    out[at:] = [*terms, old, Token(REL, "is", tokens[i + 2].start, tokens[i + 2].end)]
    return True


def _of_many(tokens: Sequence[Token], i: int, word: str) -> tuple[list[Token], int] | None:
    """`sum of 3, 4 and 5`, `difference between 9 and 4`, `average of 2 and 6` as an expression in brackets,
    and how many tokens were read; None where it is something else."""
    n = len(tokens)
    if i + 4 >= n or tokens[i + 1].text not in ("of", "between"):
        return None
    terms: list[Token] = []
    joints: list[Token] = []
    at = i + 2
    while at < n and tokens[at].kind == NUM and len(terms) < _MAX_TERMS:
        terms.append(tokens[at])
        at += 1
        if joints and joints[-1].text == "and":
            break
        if at + 1 < n and tokens[at].text == "," and tokens[at + 1].text == "and":
            at += 1
        if at >= n or tokens[at].text not in (",", "and"):
            return None
        joints.append(tokens[at])
        at += 1
    if len(terms) < 2 or len(joints) != len(terms) - 1 or (len(terms) > 2 and word in _OF_TWO):
        return None
    if at < n and tokens[at].text in ("and", ","):
        return None
    left, right = terms[0], terms[1]
    if word == "difference" and left.value is not None and right.value is not None and left.value < right.value:
        terms.reverse()
    start, end = tokens[i].start, tokens[at - 1].end
    out = [Token(OPEN, "(", start, start), terms[0]]
    for joint, term in zip(joints, terms[1:], strict=True):
        out += [Token(OP, _OF_MANY[word], joint.start, joint.end, None, SAID), term]
    out.append(Token(CLOSE, ")", end, end))
    if word in ("average", "mean"):
        out += [Token(OP, "/", end, end, None, SAID), Token(NUM, word, start, end, len(terms))]
    return out, at - i


def _is_share(out: Sequence[Token]) -> bool:
    """Whether what ends here is a percentage or fraction, so that a following "of" multiplies."""
    last = out[-1]
    if last.kind == CLOSE:
        return True
    if last.kind != NUM or last.value is None:
        return False
    if last.sign == "%" or (type(last.value) is Fraction and last.value < 1):
        return True
    return len(out) > 2 and out[-2].text == "/" and out[-3].kind == NUM and out[-2].end == last.start


def _after_operand(tokens: Sequence[Token]) -> bool:
    """Whether an operand with up to five unit words ends here."""
    for token in tokens[:-7:-1]:
        if token.kind in (NUM, CLOSE):
            return True
        if token.kind != WORD:
            return False
    return False


_PHRASES = dict.fromkeys(_PRODUCTS, _product) | dict.fromkeys(_OF_MANY, _of_many)

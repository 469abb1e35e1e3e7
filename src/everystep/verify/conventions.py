"""How a text writes its numbers, decided once for the whole text: decimal comma or decimal point, a colon for division.

The changes keep the length of a text, so that offsets stay.

>>> as_points("Das macht 1.234,50 Euro : 2"), uses_comma(["Er kauft 1,5 kg und 2,5 kg."])
('Das macht 1,234.50 Euro : 2', True)
"""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"(?<![\d.,])\d+(?:[.,]\d+)+(?![\d])")
_ENGLISH_WORDS = """
the are with has each and this cost costs they she
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_OTHER_WORDS = """
der die das und sie nach zahlt ist sind er wir es den dem ein eine einen für pro insgesamt also beträgt kostet
jeder mit von im le la les des du est et une un donc il elle coûte pour di che del della costa totale ogni
quindi el los las por una cuesta hay tiene os preço custa cada são het een van en zijn dus kost og på det af
til koster är och kr de razem jest kosztuje zł her toplam bir öder mỗi được là kuna jumla
"""
_OTHER = frozenset(_OTHER_WORDS.split())
_WORD = re.compile(r"[^\W\d_]+")
_CYRILLIC = re.compile("[а-яё]{3}")
_SWAP = str.maketrans(".,", ",.")
_COLON = re.compile(r"(?<=[\d)€]) : (?=[\d(])")


def is_foreign(texts: Sequence[str]) -> bool:
    """Whether a text is in a language, other than English, that may write a decimal comma or divide by a colon."""
    text = " ".join(texts)[:4000]
    if " the " in text:
        return False
    words = set(_WORD.findall(text.lower()))
    return len(words & _OTHER) + (_CYRILLIC.search(text) is not None) > len(words & _ENGLISH)


def uses_comma(texts: Sequence[str]) -> bool:
    """Whether the numbers of a text have a decimal comma. A text in English has none; in others a group of three
    digits after a point (`43.200`) is read with what else is written in it."""
    if any(" the " in text for text in texts):
        return False
    commas = points = groups = 0
    for text in texts:
        for m in _NUMBER.finditer(text):
            whole, *parts = re.split(r"[.,]", m.group())
            signs = [c for c in m.group() if c in ".,"]
            if len(set(signs)) == 2 and signs[0] != signs[-1]:
                commas, points = commas + (signs[-1] == ","), points + (signs[-1] == ".")
            elif len(signs) > 1:
                groups += signs[0] == "." and all(len(p) == 3 for p in parts)
                points += signs[0] == "," and all(len(p) == 3 for p in parts)
            elif len(parts[0]) != 3 or whole == "0":
                around = text[m.start() - 1 : m.start()] + text[m.end() : m.end() + 1]
                commas += signs[0] == "," and not any(c in "([{)]}," for c in around)
                points += signs[0] == "."
            else:
                groups += signs[0] == "."
    if points or not (commas or groups):
        return False
    return is_foreign(texts) or (
        commas > 1 and _ENGLISH.isdisjoint(_WORD.findall(" ".join(texts).lower())) and "\\" not in "".join(texts)
    )


def as_points(text: str) -> str:
    """The numbers of a text with a decimal comma as English writes them."""
    return _NUMBER.sub(lambda m: m.group().translate(_SWAP), text)


def as_division(text: str) -> str:
    """A colon between two numbers as a sign of division."""
    return _COLON.sub(" ÷ ", text)

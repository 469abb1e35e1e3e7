"""Counted nouns: where a noun phrase ends, its head, and its singular."""

import re

from everystep.verify.words import SCALES, word_number

_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_STOPS_WORDS = """
in on at for with from left remaining total altogether per each every a an the and or but to is are was were
will would can could should because since as so than more fewer less that which who he she they it we you i
this these those them us there have has had do does did be been if when while after before by into not no only
also too then thus therefore hence about around over under out up down all both answer equals times plus minus
divided multiplied together away apart long tall high wide deep old older younger ago later earlier faster
slower longer shorter heavier now today tomorrow yesterday instead rather either neither nor like such its his
her their my our your greater larger bigger smaller higher lower exactly approximately roughly maybe probably
x
"""
_STOPS = frozenset(_STOPS_WORDS.split())
_GENERIC_WORDS = """
item thing unit object number answer one total piece time way possibility option case
"""
GENERIC = frozenset(_GENERIC_WORDS.split())
_SAME_NOUN = {
    "people": "person", "persons": "person", "children": "child", "kids": "child", "kid": "child",
    "men": "man", "women": "woman", "feet": "foot", "teeth": "tooth", "mice": "mouse", "geese": "goose",
    "oxen": "ox",
    "dice": "die", "leaves": "leaf", "knives": "knife", "wolves": "wolf", "loaves": "loaf", "halves": "half",
    "lives": "life", "wives": "wife", "shelves": "shelf", "calves": "calf", "thieves": "thief",
    "bike": "bicycle",
    "bikes": "bicycle", "pens": "pen", "pcs": "piece", "pc": "piece", "individual": "person", "buses": "bus",
    "cactus": "cactus", "cacti": "cactus", "series": "series", "species": "species", "photo": "photo",
    "photograph": "photo", "photographs": "photo", "pics": "photo", "gases": "gas", "quizzes": "quiz",
    "movies": "movie", "cookies": "cookie", "pies": "pie", "ties": "tie", "zombies": "zombie",
    "calories": "calorie",
    "brownies": "brownie", "smoothies": "smoothie", "selfies": "selfie", "hoodies": "hoodie", "axes": "axe",
}  # fmt: skip


def singular(noun: str) -> str:
    """The singular of a counted noun, by rule and a short list of exceptions; lower case.

    >>> [singular(w) for w in ("Apples", "boxes", "cherries", "people", "glass", "bus", "houses")]
    ['apple', 'box', 'cherry', 'person', 'glass', 'bus', 'house']
    """
    noun = noun.lower()
    if noun in _SAME_NOUN:
        return _SAME_NOUN[noun]
    if len(noun) <= 3 or not noun.endswith("s") or noun.endswith(("ss", "us", "is")):
        return noun
    if noun.endswith("ies"):
        return noun[:-3] + "y"
    if noun.endswith(("ches", "shes", "xes", "sses", "zes")) and not noun.endswith(("axes", "prizes", "sizes")):
        return noun[:-2]
    if noun.endswith(("toes", "roes", "goes")):
        return noun[:-2]
    return noun[:-1]


def noun_at(text: str, start: int) -> tuple[str | None, int]:
    """The head of the noun phrase that begins at `start`, singular, and the phrase's end."""
    at, head, end = start, None, start
    for count in range(4):
        while text[at : at + 1] in (" ",):
            at += 1
        match = _WORD.match(text, at)
        if match is None or (at == start and count == 0 and text[start - 1 : start] not in (" ", "-")):
            break
        word = match.group().lower()
        if word in _STOPS or word in SCALES or (word_number([word]) and word != "pair"):
            break
        if count and (word.endswith(("ed", "ing", "ly")) or word == "of"):
            break
        if word == "of" or len(word) < 2:
            break
        head, at, end = word, match.end(), match.end()
        if text[at : at + 3] == "(s)":
            end = at + 3
            break
        if text[at : at + 1] != " ":
            break
    return (singular(head), end) if head else (None, start)

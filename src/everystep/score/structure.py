"""What a trace's steps say, counted: which of them have substance, how many different ones there are, and
whether they are marked and joined.

Every count is made so that padding cannot raise it. Statements that say the same are one, wherever they
stand and however often; of a feature (a step's mark, a word of transition) such a bunch has only what all
of its members have. So a further copy, or a further statement without substance, never adds anything.
Whether what is said is true is not decided here (`verify/` does).

>>> from everystep.core.types import Kind
>>> task = Task("t", "math", "A box holds 6 pens. How many do 4 hold?", "24", Kind.NUMBER, "hand", "test")
>>> text = "<reasoning>\\nStep 1: {}\\n</reasoning>\\n<answer>24</answer>"
>>> good = grade(task, Completion("t", 0, text.format("So 6 * 4 = 24 pens.")))
>>> [structure(good), structure(grade(task, Completion("t", 0, text.format("So so so so so so so, so."))))]
[0.366..., 0.0]
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from everystep.core import trace
from everystep.core.types import Completion, Graded, Task, Truth
from everystep.verify.grade import check, grade

WORDS = 6  # different words that give a statement substance, where no claim does
SAME = 0.6  # statements with this share of their words in common (Jaccard) say the same
ECHO = 0.5  # a statement with a larger share of its 5-grams from the question repeats the question
MOST = 8  # so many statements are enough for any task
USUAL = 3  # and so many for a task without a solution to count in
JOINED = 2  # so many different words of transition are enough
STATEMENTS = 120  # a trace with more of them has no structure that anybody could follow
SHARES = {"steps": 0.6, "marks": 0.2, "transitions": 0.2}

_BREAK = re.compile(r"\n|(?<=[.!?;])\s+")
_WORD = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)?")
_TRANSITION = re.compile(
    r"(?:^\W*|[,;:]\s+)(therefore|thus|hence|so|then|next|first(?:ly)?|second(?:ly)?|third(?:ly)?|finally"
    r"|because|since|now|consequently|as a result|this means|in total)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A line or sentence of a step: its words and numbers in order (case folded), whether it opens a step
    that is marked `Step N`, its word of transition or None, and the claims in it that hold."""

    words: tuple[str, ...]
    marked: bool
    transition: str | None
    claims: frozenset[str]


@dataclass(frozen=True, slots=True)
class Content:
    """What a trace says with substance: how many different statements, how many of them marked, how many
    different words of transition among them, and how many words they have together."""

    statements: int
    marked: int
    transitions: int
    words: int


def structure(graded: Graded) -> float | None:
    """How much of the wanted form the work has, in [0, 1]; 0 for a malformed completion; None for a task
    whose own solution has no statement of substance.

    Three shares, each saturating: 0.6 × different statements of substance, 0.2 × those of them that are
    marked `Step N` (both against `needed`), 0.2 × different words of transition at the start of a clause
    (against two).
    """
    wanted = needed(graded.task)
    if wanted == 0:
        return None
    if graded.trace.faults:
        return 0.0
    found = content(graded)
    return (
        SHARES["steps"] * min(found.statements, wanted) / wanted
        + SHARES["marks"] * min(found.marked, wanted) / wanted
        + SHARES["transitions"] * min(found.transitions, JOINED) / JOINED
    )


@lru_cache(maxsize=4096)
def needed(task: Task) -> int:
    """How many statements of substance are enough for the task: as many as its own solution has, at most
    `MOST`; `USUAL` without a solution. 0: the solution has none."""
    if not task.solution:
        return USUAL
    try:
        text = trace.render(trace.gold(task))
    except ValueError:  # a solution that breaks the form
        return USUAL
    return min(content(grade(task, Completion(task.id, 0, text))).statements, MOST)


def statements(graded: Graded) -> list[Statement]:
    """The lines and sentences of a trace's steps that hold at least one word or number."""
    true = [c for c in graded.checks if c.truth is Truth.TRUE]
    out = []
    for step in graded.trace.steps:
        for k, (start, text) in enumerate(_sentences(step.text)):
            words = tuple(_WORD.findall(text.casefold()))
            if not words:
                continue
            marked = k == 0 and step.number is not None
            low = step.start + start
            claims = frozenset(
                "".join(c.claim.split()) for c in true if low <= c.span[0] < low + len(text) and counts(c.claim)
            )
            joined = _TRANSITION.search(text)
            out.append(Statement(words, marked, joined.group(1).casefold() if joined else None, claims))
    return out


def content(graded: Graded) -> Content:
    """What the trace says with substance. A statement has substance if a claim of it counts and holds, or if
    it has `WORDS` different words and does not repeat the question. Nothing for too long a trace."""
    said = statements(graded)
    if len(said) > STATEMENTS:
        return Content(0, 0, 0, 0)
    echoes = _grams(graded.task.question)
    told = [s for s in said if s.claims or (_wordy(s) and not _repeats(s, echoes))]
    bunches = _bunches(told)
    joined = {_common([s.transition for s in bunch]) for bunch in bunches} - {None}
    return Content(
        len(bunches),
        sum(all(s.marked for s in bunch) for bunch in bunches),
        len(joined),
        sum(min(len(s.words) for s in bunch) for bunch in bunches),
    )


@lru_cache(maxsize=16_384)
def counts(claim: str) -> bool:
    """Whether verification counts a claim by itself as one of substance: `1 = 1` and `5 + 0 = 5` are none."""
    return check("", claim)[2].score is not None


def looping(graded: Graded) -> bool:
    """Whether the work repeats itself: a sentence of four words or more occurs twice, ten words in a row
    occur four times, or of 20 or more runs of four words (each inside a sentence) more than 0.30 repeat.

    GSM8K's solutions have a share of at most 0.33 and 0.27 in 999 of 1,000. Sentences that are mostly
    numbers do not enter, so that they cannot thin the share out.
    """
    lines = [s.words for s in statements(graded) if sum(w[0].isalpha() for w in s.words) >= 4]
    if len(set(lines)) < len(lines):
        return True
    tens = Counter(gram for words in lines for gram in _windows(words, 10))
    if tens and max(tens.values()) >= 4:
        return True
    fours = Counter(gram for words in lines for gram in _windows(words, 4))
    return fours.total() >= 20 and fours.total() - len(fours) > 0.30 * fours.total()


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for match in _BREAK.finditer(text):
        yield at, text[at : match.start()]
        at = match.end()
    yield at, text[at:]


def _wordy(statement: Statement) -> bool:
    return len({w for w in statement.words if w[0].isalpha()}) >= WORDS


def _repeats(statement: Statement, echoes: frozenset[tuple[str, ...]]) -> bool:
    own = _windows(statement.words, 5)
    return sum(gram in echoes for gram in own) > ECHO * len(own)


@lru_cache(maxsize=4096)
def _grams(question: str) -> frozenset[tuple[str, ...]]:
    return frozenset(_windows(tuple(_WORD.findall(question.casefold())), 5))


def _windows(words: tuple[str, ...], size: int) -> list[tuple[str, ...]]:
    return [words[i : i + size] for i in range(len(words) - size + 1)]


def _bunches(told: list[Statement]) -> list[list[Statement]]:
    """Statements that say the same, together: those that share most of their words or a claim, and whatever
    is joined by a row of such. The order of the statements has no part in it."""
    sets = [frozenset(s.words) for s in told]
    parent = list(range(len(told)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(told)):
        for j in range(i):
            common = len(sets[i] & sets[j])
            if common >= SAME * (len(sets[i]) + len(sets[j]) - common) or told[i].claims & told[j].claims:
                parent[root(i)] = root(j)
    out: dict[int, list[Statement]] = {}
    for i, statement in enumerate(told):
        out.setdefault(root(i), []).append(statement)
    return list(out.values())


def _common(words: list[str | None]) -> str | None:
    return words[0] if len(set(words)) == 1 else None

"""A right completion in a stock model's own words, as a trace in our form: the same numbers, `Step N` marks,
a conclusion.

The law, which is checked on every trace that leaves here: the numbers of the rewritten work are those of the
original one, as often as there, without list numbers, step marks and bare statements of the answer at its
end ("#### 5"); the text parses to the trace; graded again it is right, in form, and claims nothing false.
Whatever would break it is refused with the reason. How stock text is read is in `data.stock`.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace

from everystep.core.trace import render
from everystep.core.types import Completion, Graded, Step, Task, Trace
from everystep.data.jsonl import CONTROL_TOKEN
from everystep.data.stock import Line, Stock, Unfit, joined, numbers, plain_line, read, sentences
from everystep.verify.grade import grade

_LONGEST_ANSWER = 80
# The words of a line that does nothing but state the answer.
_LABELS = frozenset({
    "the", "a", "an", "our", "so", "thus", "hence", "therefore", "and", "final", "finally", "correct",
    "answer", "answers", "ans", "result", "solution", "is", "are", "was", "to", "this", "problem",
    "question",
})  # fmt: skip
_CUE = re.compile(
    r"(?:(?:The )?(?:Final )?Answer:\s*)?"
    r"(?:(?:Therefore|Thus|Hence|So|In conclusion|In total|Finally)\b,?\s*)?",
    re.IGNORECASE,
)
_LOWERED = frozenset({
    "The", "It", "She", "He", "They", "There", "A", "An", "Her", "His", "Their", "This", "That", "Each",
    "We", "You", "In", "All", "Both", "After", "Its", "Our",
})  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")
_SYMBOL = re.compile(r"[a-z]\w{0,2} ?[-=+*/^_(≈<>]")  # what a formula begins with


@dataclass(frozen=True, slots=True)
class Made:
    """A rewritten completion: the text of its steps, the conclusion last, its answer as the model worded it,
    and the whole as graded again."""

    solution: tuple[str, ...]
    answer: str
    graded: Graded

    def row(self, task: Task) -> Task:
        """The task as SFT learns it: `trace.gold` of it is this trace."""
        return replace(task, solution=self.solution, answer=self.answer)


def rewrite(graded: Graded) -> Made | Unfit:
    """A completion whose answer is right for a forgiving reader, in our form. Never raises; Unfit, with the
    reason, for what cannot be rewritten under the law."""
    trace = graded.trace
    stock = read(graded.completion.text, trace)
    if isinstance(stock, Unfit):
        return stock
    answer = _answer(trace)
    if isinstance(answer, Unfit):
        return answer
    steps, conclusion, taken, made = _concluded(stock, answer)
    if not steps:
        return Unfit("no work", "nothing but the answer")
    found = sum((numbers(t) for t in ([*steps] if made else [*steps, conclusion])), Counter())
    if found != stock.numbers - taken or taken - stock.numbers:
        odd = (found - stock.numbers) + (stock.numbers - taken - found)
        return Unfit("numbers", ", ".join(sorted(odd)[:5]))
    texts = (*map(_tidy, steps), _tidy(conclusion))
    numbered = tuple(Step(t, i) for i, t in enumerate(texts[:-1], 1))
    try:
        text = render(Trace((*numbered, Step(texts[-1])), answer))
    except ValueError:
        return Unfit("form", "a step would be read differently")
    if found := CONTROL_TOKEN.search(" ".join((*texts, answer))):
        return Unfit("markup", found.group())
    again = grade(graded.task, Completion(graded.task.id, graded.completion.sample, text))
    if not again.sound:
        return Unfit("not sound when rewritten", again.reason[:80])
    return Made(texts, answer, again)


def _answer(trace: Trace) -> str | Unfit:
    """What the completion gives as its answer, plain."""
    said = trace.answer if not trace.faults else trace.lenient
    if said is None or "\n" in said or len(said) > 2 * _LONGEST_ANSWER:
        return Unfit("answer", "not one short line")
    answer = plain_line(said)
    if isinstance(answer, Unfit):
        return answer
    if not trace.faults:
        return answer or Unfit("answer", "empty")
    # A sentence's full stop is not the answer's; what it is right for, it is graded for again.
    answer = answer.strip(" .*:").strip()
    return answer if 0 < len(answer) <= _LONGEST_ANSWER else Unfit("answer", answer[:40])


def _concluded(stock: Stock, answer: str) -> tuple[list[str], str, Counter[str], bool]:
    """The steps, the conclusion, the numbers of the bare statements of the answer that were taken off, and
    whether the conclusion had to be made (it then says nothing but the answer)."""
    units = [list(unit) for unit in stock.units]
    taken: Counter[str] = Counter()
    while units and _states(units[-1][-1].text, answer):
        taken += numbers(units[-1].pop().text)
        while units and (not units[-1] or _is_label(units[-1][-1])):
            units[-1] = units[-1][:-1]
            if not units[-1]:
                units.pop()
    last = units[-1][-1].text if units else ""
    alone = len(units) == 1 and len(units[0]) == 1
    if last and not alone and _concludes(last, answer):
        units[-1].pop()
        return _steps(units), _conclusion(last), taken, False
    return _steps(units), f"Therefore, the answer is {answer}.", taken, True


def _steps(units: list[list[Line]]) -> list[str]:
    """The units that are left as text; one paragraph alone is cut into its sentences."""
    texts = [joined(unit) for unit in units if unit]
    return sentences(texts[0]) if len(texts) == 1 else texts


def _states(line: str, answer: str) -> bool:
    """Whether a line does nothing but state the answer: "#### 5", "The answer is 5.", "**Answer:** 5"."""
    before, found, after = line.rpartition(answer)
    rest = f"{before} {after}"
    if not found or any(c.isnumeric() or c in "=+*/×÷<>%$" for c in rest):
        return False
    return all(word.lower() in _LABELS for word in _WORD.findall(rest))


def _is_label(line: Line) -> bool:
    """A heading that announces only the answer ("Final Answer:")."""
    return not any(c.isnumeric() for c in line.text) and all(w.lower() in _LABELS for w in _WORD.findall(line.text))


def _concludes(line: str, answer: str) -> bool:
    """Whether the last line can stand as the conclusion: a sentence that holds the answer, and calculates
    nothing."""
    rest = _CUE.sub("", line, count=1)
    if not re.search(rf"(?<![\w.,]){re.escape(answer)}(?!\w)", rest) or any(c in rest for c in "=≈<>:"):
        return False
    return rest != line or len(_WORD.findall(line)) >= 3


def _conclusion(line: str) -> str:
    """The line as one that begins with "Therefore, "."""
    first, space, more = _CUE.sub("", line, count=1).partition(" ")
    return f"Therefore, {first.lower() if first in _LOWERED else first}{space}{more}"


def _tidy(text: str) -> str:
    """With a capital letter first and a full stop last."""
    if text[:1].islower() and not _SYMBOL.match(text):
        text = text[:1].upper() + text[1:]
    return text if text[-1:] in ".!?" else f"{text.rstrip(':;,')}."

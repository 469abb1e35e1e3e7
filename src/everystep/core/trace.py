"""The format: how a task becomes a prompt, how any text becomes a trace, how a trace becomes text.

This is the only place that knows the tags, the step marks and the chat template. `parse` is total: every
string is a `Trace`, perhaps a faulty one. It decides nothing about right or wrong (`verify/` does).

>>> t = parse("<reasoning>\\nStep 1: 2 + 3 = 5.\\nTherefore, it is 5.\\n</reasoning>\\n<answer>5</answer>")
>>> t.answer, t.faults, [s.text for s in t.steps]
('5', (), ['2 + 3 = 5.', 'Therefore, it is 5.'])
>>> parse("It is 5").faults
(<Fault.NO_REASONING: 'no_reasoning'>, <Fault.NO_ANSWER: 'no_answer'>, <Fault.OUTSIDE: 'outside'>)
"""

import re

from everystep.core.types import Fault, Prompt, Step, Stop, Task, Trace

REASONING, REASONING_END, ANSWER, ANSWER_END = "<reasoning>", "</reasoning>", "<answer>", "</answer>"
END_OF_TURN = "<end_of_turn>"
MAX_CHARS = 30_000  # of a completion; a longer one is read as cut there, which the fault TRUNCATED says

# What a prompt may say before the question. The shipped tiny model has no use for instructions and would
# pay for their tokens at every step, so its recipes say "none"; real models are told the format. "steps" and
# "examples" ask a stock model for work in its own words (`sft.data: self`).
INSTRUCTIONS = {
    "none": "",
    "format": (
        "Solve the problem. First show your work between <reasoning> and </reasoning>, one step per line, "
        "each beginning with its number as in 'Step 1:', and end with a line that begins with 'Therefore,'. "
        "Then give only the final answer between <answer> and </answer>.\n\n"
    ),
    "steps": (
        "Solve the problem. Think step by step and write every calculation on a line of its own, as in "
        "'3 * 4 = 12'. End with one line that begins with 'The answer is' and gives the final answer.\n\n"
    ),
    "examples": (
        "Solve the last problem in the same way as the first two.\n\n"
        "Problem: A gardener plants 6 rows of 14 tulips, and 9 of them do not grow. How many tulips grow?\n"
        "6 * 14 = 84 tulips are planted.\n84 - 9 = 75 tulips grow.\nThe answer is 75.\n\n"
        "Problem: A film of 95 minutes begins 20 minutes late. How long after the planned beginning does "
        "it end, in hours and minutes?\n"
        "95 + 20 = 115 minutes.\n115 = 60 + 55, so that is 1 hour and 55 minutes.\n"
        "The answer is 1 hour 55 minutes.\n\n"
        "Problem: "
    ),
}

_CONTROL = re.compile(
    r"<(?:start_of_turn|end_of_turn|bos|eos|pad|unk|mask|(?:start|end)_of_image|image_soft_token|unused\d{1,4})>"
)
_TAG = re.compile(r"</?(?:reasoning|answer)>")
_LIKE_A_TAG = re.compile(r"</?[ \t]{0,3}(?:reasoning|answer)[ \t]{0,3}>", re.IGNORECASE)
# A mark opens a line, or follows the end of a sentence (one-line traces).
_MARK = re.compile(
    r"(?:(?:^|\n)[ \t]*(?:#{1,6}[ \t]+)?|(?<=[.!?;:,])[ \t]+)"
    r"(?:\*\*)?Step ([0-9]{1,4})(?:\*\*)?[:.](?:\*\*)?[ \t]*"
)
_CONCLUDES = r"(?=(?:Therefore|Thus|Hence|So|In conclusion|Finally)\b)"
_CONCLUSION_LINE = re.compile(rf"\n[ \t]*{_CONCLUDES}")
_CONCLUSION_INLINE = re.compile(rf"(?<=[.!?;])[ \t]+{_CONCLUDES}")
# What a forgiving reader takes for "and this is the answer".
_BOXED = re.compile(r"\\boxed\{")
_HASHES = re.compile(r"(?:^|\n)[ \t]*####[ \t]*([^\n]{1,200})")
_STATED = re.compile(
    r"\b(?:answer|result)s?(?:\*\*)?(?:[ \t]{0,3}[:=]|[ \t]{1,3}(?:is|are|was|equals)\b(?:[ \t]{0,3}:)?)",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|be|equals|gets|has|have|had|takes|costs|pays|makes|earns|needs|left with)\b"
    r"[ \t]{0,3}:?|:[ \t]",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_NUMBER = re.compile(r"[-−+]?[$€£]?[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?(?:/[0-9]+)?%?")


def prompt(task: Task, instruction: str = "none") -> Prompt:
    """The text a model is given: Gemma's chat template around the instruction and the question.

    The tokenizer adds the beginning-of-sequence token. Control tokens inside the question are data that
    would end the user's turn, so each becomes a space (nothing at all would let the pieces around it join
    to a new one). `instruction` is a key of `INSTRUCTIONS`; ValueError for any other.
    """
    if instruction not in INSTRUCTIONS:
        raise ValueError(f"there is no instruction {instruction!r}; known: {', '.join(INSTRUCTIONS)}")
    question = INSTRUCTIONS[instruction] + _CONTROL.sub(" ", task.question)
    return Prompt(task.id, f"<start_of_turn>user\n{question}{END_OF_TURN}\n<start_of_turn>model\n")


def render(trace: Trace) -> str:
    """The canonical text of a well-formed trace; `parse(render(t)) == t`.

    Raises ValueError for a trace that has no canonical text: one with faults or without an answer, or
    whose steps or answer hold tags, step marks or outer white space or are too long, so that it would be
    read differently.
    """
    if trace.faults or trace.answer is None:
        raise ValueError(f"only a well-formed trace can be rendered, this one has {list(trace.faults)}")
    lines = [s.text if s.number is None else f"Step {s.number}: {s.text}" for s in trace.steps]
    text = f"{REASONING}\n" + "\n".join(lines) + f"\n{REASONING_END}\n{ANSWER}{trace.answer}{ANSWER_END}"
    if parse(text) != trace:
        raise ValueError(f"this trace would be read differently than it is written: {text[:200]!r}")
    return text


def gold(task: Task) -> Trace:
    """The task's own solution as a trace: steps numbered, the conclusion ("Therefore, …") last.

    A solution without a conclusion gets one from the answer. Raises ValueError where the task has none.
    """
    if not task.solution:
        raise ValueError(f"task {task.id} ({task.source}) has no worked solution")
    texts = list(task.solution)
    conclusion = texts.pop() if texts[-1].startswith("Therefore") else f"Therefore, the answer is {task.answer}."
    steps = [Step(t, i + 1) for i, t in enumerate(texts)] + [Step(conclusion)]
    return Trace(tuple(steps), task.answer)


def parse(text: str, stop: Stop = Stop.END) -> Trace:
    """Read any text: its first `MAX_CHARS` characters, in time linear in their number. Never raises.

    The contract is exactly one reasoning block, then one answer block, and nothing but white space outside;
    every way of breaking it is a fault in the result.
    """
    if len(text) > MAX_CHARS:
        text, stop = text[:MAX_CHARS], Stop.LENGTH
    tags = [(m.group(), m.start(), m.end()) for m in _TAG.finditer(text)]
    names = [t[0] for t in tags]
    found: set[Fault] = set()
    if stop is Stop.LENGTH:
        found.add(Fault.TRUNCATED)
    for opening, closing, missing in (
        (REASONING, REASONING_END, Fault.NO_REASONING),
        (ANSWER, ANSWER_END, Fault.NO_ANSWER),
    ):
        opened, closed = names.count(opening), names.count(closing)
        if opened == closed == 0:
            found.add(missing)
        if opened != closed:
            found.add(Fault.UNCLOSED)
        if max(opened, closed) > 1:
            found.add(Fault.REPEATED)
    in_order = names == [REASONING, REASONING_END, ANSWER, ANSWER_END]
    if not in_order and not found - {Fault.TRUNCATED}:
        found.add(Fault.ORDER)

    worked, answers = _blocks(tags, REASONING, REASONING_END), _blocks(tags, ANSWER, ANSWER_END)
    steps = _steps(text, *_work(tags, worked, len(text)))
    answer = text[slice(*answers[0])].strip() if len(answers) == 1 else None
    outside = (
        text[: tags[0][1]] + text[tags[1][2] : tags[2][1]] + text[tags[3][2] :] if in_order else _outside(tags, text)
    )
    if outside.strip():
        found.add(Fault.OUTSIDE)
    if answer == "" or (worked and not steps):
        found.add(Fault.EMPTY)
    at = text.index(answer, answers[0][0]) if answer else None
    faults = tuple(f for f in Fault if f in found)
    return Trace(steps, answer or None, faults, _lenient(text, tags, answers), at)


def _blocks(tags: list[tuple[str, int, int]], opening: str, closing: str) -> list[tuple[int, int]]:
    """Spans of complete blocks: an opening tag directly followed, among its own kind, by its closing tag."""
    spans, start = [], None
    for name, before, after in tags:
        if name == opening:
            start = after
        elif name == closing and start is not None:
            spans.append((start, before))
            start = None
    return spans


def _work(tags: list[tuple[str, int, int]], worked: list[tuple[int, int]], end: int) -> tuple[int, int]:
    """The span to look for steps in: the first complete reasoning block; else what follows an unclosed
    opening tag; else what stands before the first tag; without any tag the whole text, so that foreign
    traces can be checked."""
    if worked:
        return worked[0]
    for i, (name, _, after) in enumerate(tags):
        if name == REASONING:
            return after, tags[i + 1][1] if i + 1 < len(tags) else end
    return 0, tags[0][1] if tags else end


def _outside(tags: list[tuple[str, int, int]], text: str) -> str:
    """Text outside every block of a text whose tags are not in order: depth by a running count."""
    pieces, depth, last = [], 0, 0
    for name, before, after in tags:
        if depth == 0:
            pieces.append(text[last:before])
        depth = max(0, depth + (-1 if name.startswith("</") else 1))
        last = after
    if depth == 0:
        pieces.append(text[last:])
    return "".join(pieces)


def _steps(text: str, start: int, end: int) -> tuple[Step, ...]:
    """Split a reasoning block. With `Step N` marks, each mark opens a step and unmarked lines belong to the
    step before them, except a conclusion; without marks, each line is a step."""
    block = text[start:end]
    marks = list(_MARK.finditer(block))
    cuts: list[tuple[int, int, int | None]] = [(m.start(), m.end(), int(m.group(1))) for m in marks]
    if marks:
        conclusion = _conclusion(block, marks[-1].end())
        if conclusion:
            cuts.append((*conclusion, None))
        head = [(0, 0, None)] if block[: cuts[0][0]].strip() else []
        cuts = head + cuts
    else:
        at = 0
        for line in block.split("\n"):
            cuts.append((at, at, None))
            at += len(line) + 1
    steps = []
    for i, (_, begin, number) in enumerate(cuts):
        stop = cuts[i + 1][0] if i + 1 < len(cuts) else len(block)
        raw = block[begin:stop]
        body = raw.strip()
        if body:
            steps.append(Step(body, number, start + begin + len(raw) - len(raw.lstrip())))
    return tuple(steps)


def _conclusion(block: str, last: int) -> tuple[int, int] | None:
    """Where the conclusion begins after the last step's mark: its own line is better evidence than a word
    inside a line, and a step must be left before it."""
    for pattern in (_CONCLUSION_LINE, _CONCLUSION_INLINE):
        for match in pattern.finditer(block, last):
            if block[last : match.start()].strip():
                return match.span()
    return None


def _lenient(text: str, tags: list[tuple[str, int, int]], answers: list[tuple[int, int]]) -> str | None:
    """A forgiving reading: the last complete answer block that holds something; else what follows an
    unclosed answer tag; else the last `\boxed{}`, `####` line or stated answer; else what the last line
    comes to; else the last number."""
    for start, end in reversed(answers):
        if text[start:end].strip():
            return text[start:end].strip()
    for i, (name, _, after) in reversed(list(enumerate(tags))):
        if name == ANSWER:
            rest = _first_line(text[after : tags[i + 1][1] if i + 1 < len(tags) else len(text)])
            if rest:
                return rest
    plain = _CONTROL.sub(" ", _LIKE_A_TAG.sub("\n", text)).strip()
    for reader in (_boxed, _stated, _last_line):
        found = reader(plain)
        if found:
            return found
    return _last(_NUMBER, plain)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()


def _bare(text: str) -> str:
    return text.strip().strip("*").removesuffix(".").strip().strip("*").strip()


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for match in pattern.finditer(text):
        found = match.group()
    return found


def _boxed(plain: str) -> str | None:
    """What the last `\boxed{…}` holds, inner braces balanced."""
    starts = [m.end() for m in _BOXED.finditer(plain)]
    if not starts:
        return None
    depth = 1
    for i in range(starts[-1], min(len(plain), starts[-1] + 200)):
        depth += {"{": 1, "}": -1}.get(plain[i], 0)
        if depth == 0:
            return plain[starts[-1] : i].strip() or None
    return None


def _stated(plain: str) -> str | None:
    """What follows the last "the answer is", or stands on a `####` line."""
    ends = [m.end() for m in _STATED.finditer(plain)]
    hashes = [m.start(1) for m in _HASHES.finditer(plain)]
    at = max(ends[-1:] + hashes[-1:], default=None)
    if at is None:
        return None
    line = _bare(_SENTENCE_END.split(_first_line(plain[at : at + 200]), maxsplit=1)[0])
    return (_comes_to(line) if any(c.isdigit() for c in line) else line) or None


def _last_line(plain: str) -> str | None:
    return _comes_to(_bare(plain.rpartition("\n")[2]))


def _comes_to(line: str) -> str | None:
    """The right side of the line's last equation; else what follows its last verb, else the line itself
    where it has few words; else its last number; None for a line of words that says no number."""
    if "=" in line:
        line = _bare(line.rpartition("=")[2])
    else:
        line = _bare(_SENTENCE_END.split(line)[-1] or line)
        verbs = [m.end() for m in _VERB.finditer(line)]
        line = (line[verbs[-1] :].strip() if verbs else "") or line
    if _words(line) <= (3 if any(c.isdigit() for c in line) else 2) and 0 < len(line) <= 60:
        return line
    return _last(_NUMBER, line)


def _words(line: str) -> int:
    return sum(any(c.isalpha() for c in word) for word in line.split())

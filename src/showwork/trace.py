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

from showwork.types import Fault, Prompt, Step, Stop, Task, Trace

REASONING, REASONING_END, ANSWER, ANSWER_END = "<reasoning>", "</reasoning>", "<answer>", "</answer>"
END_OF_TURN = "<end_of_turn>"

# What a prompt may say before the question. The shipped tiny model has no use for instructions and would
# pay for their tokens at every step, so its recipes say "none"; real models are told the format.
INSTRUCTIONS = {
    "none": "",
    "format": (
        "Solve the problem. First show your work between <reasoning> and </reasoning>, one step per line, "
        "each beginning with its number as in 'Step 1:', and end with a line that begins with 'Therefore,'. "
        "Then give only the final answer between <answer> and </answer>.\n\n"
    ),
}

_CONTROL = re.compile(r"<(?:start_of_turn|end_of_turn|bos|eos|pad|unk|mask)>")
_TAG = re.compile(r"</?(?:reasoning|answer)>")
# A mark opens a line, or follows the end of a sentence (one-line traces).
_MARK = re.compile(
    r"(?:(?:^|\n)[ \t]*|(?<=[.!?;:,])[ \t]+)(?:\*\*)?Step (\d{1,4})(?:\*\*)?[:.](?:\*\*)?[ \t]*"
)
_CONCLUSION = re.compile(
    r"(?:(?:^|\n)[ \t]*|(?<=[.!?;])[ \t]+)(?=(?:Therefore|Thus|Hence|So|In conclusion|Finally)\b)"
)
_STATED = re.compile(r"(?:answer|result)(?: is|:|=)[ \t]*([^\n]{1,200})", re.IGNORECASE)
_NUMBER = re.compile(r"[-−+]?[$€£]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?")


def prompt(task: Task, instruction: str = "none") -> Prompt:
    """The text a model is given: Gemma's chat template around the instruction and the question.

    The tokenizer adds the beginning-of-sequence token. Control tokens inside the question are data
    that would end the user's turn, so they are taken out. `instruction` is a key of `INSTRUCTIONS`.
    """
    question = _CONTROL.sub("", INSTRUCTIONS[instruction] + task.question)
    return Prompt(task.id, f"<start_of_turn>user\n{question}{END_OF_TURN}\n<start_of_turn>model\n")


def render(trace: Trace) -> str:
    """The canonical text of a well-formed trace; `parse(render(t)) == t`.

    Raises ValueError for a trace that has faults or no answer: there is no canonical text for those.
    """
    if trace.faults or trace.answer is None:
        raise ValueError(f"only a well-formed trace can be rendered, this one has {list(trace.faults)}")
    lines = [s.text if s.number is None else f"Step {s.number}: {s.text}" for s in trace.steps]
    return f"{REASONING}\n" + "\n".join(lines) + f"\n{REASONING_END}\n{ANSWER}{trace.answer}{ANSWER_END}"


def gold(task: Task) -> Trace:
    """The task's own solution as a trace: steps numbered, the conclusion ("Therefore, …") last.

    A solution without a conclusion gets one from the answer. Raises ValueError where the task has none.
    """
    if not task.solution:
        raise ValueError(f"task {task.id} ({task.source}) has no worked solution")
    texts = [t for t in task.solution]
    conclusion = (
        texts.pop() if texts[-1].startswith("Therefore") else f"Therefore, the answer is {task.answer}."
    )
    steps = [Step(t, i + 1) for i, t in enumerate(texts)] + [Step(conclusion)]
    return Trace(tuple(steps), task.answer)


def parse(text: str, stop: Stop = Stop.END) -> Trace:
    """Read any text. Linear in its length; never raises.

    The contract is exactly one reasoning block, then one answer block, and nothing but white space outside;
    every way of breaking it is a fault in the result.
    """
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

    reasoning = _block(tags, REASONING, REASONING_END, text)
    answers = _blocks(tags, ANSWER, ANSWER_END)
    if in_order:
        outside = text[: tags[0][1]] + text[tags[1][2] : tags[2][1]] + text[tags[3][2] :]
    else:
        outside = _outside(tags, text)
    if outside.strip():
        found.add(Fault.OUTSIDE)
    answer = text[answers[0][0] : answers[0][1]].strip() if len(answers) == 1 else None
    steps = _steps(text, *reasoning)
    if (answer is not None and not answer) or (reasoning != (0, 0) and not steps):
        found.add(Fault.EMPTY)
        answer = answer or None
    faults = tuple(f for f in Fault if f in found)
    return Trace(steps, answer, faults, _lenient(text, tags, answers))


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


def _block(tags: list[tuple[str, int, int]], opening: str, closing: str, text: str) -> tuple[int, int]:
    """The span to look for steps in: the first complete block; else what follows an unclosed opening tag;
    else, without any tag at all, the whole text (so that foreign traces can be checked); else nothing."""
    spans = _blocks(tags, opening, closing)
    if spans:
        return spans[0]
    for i, (name, _, after) in enumerate(tags):
        if name == opening:
            return after, tags[i + 1][1] if i + 1 < len(tags) else len(text)
    for name, before, _ in tags:  # no opening tag: the work, if any, stands before the first other tag
        return 0, before if name != closing else before
    return 0, len(text)


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
        last = marks[-1].end()
        conclusion = _CONCLUSION.search(block, last)
        if conclusion and conclusion.start() >= last and block[last : conclusion.start()].strip():
            cuts.append((conclusion.start(), conclusion.end(), None))
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


def _lenient(text: str, tags: list[tuple[str, int, int]], answers: list[tuple[int, int]]) -> str | None:
    """A forgiving reading: the last complete answer block, else what follows an unclosed answer tag, else the
    last stated answer, else the right side of the last line's equation or a short last line, else the
    last number."""
    if answers:
        return text[answers[-1][0] : answers[-1][1]].strip() or None
    for name, _, after in reversed(tags):
        if name == ANSWER:
            return text[after:].strip().split("\n")[0].strip() or None
    plain = _TAG.sub(" ", text)
    stated = None
    for stated in _STATED.finditer(plain):
        pass
    if stated:
        return stated.group(1).strip().removesuffix(".").strip() or None
    lines = plain.strip().rsplit("\n", 1)
    line = lines[-1].strip()
    if "=" in line:
        line = line.rsplit("=", 1)[1].strip()
    if line and len(line) <= 60:
        return line.removesuffix(".").strip() or None
    number = None
    for number in _NUMBER.finditer(plain):
        pass
    return number.group() if number else None

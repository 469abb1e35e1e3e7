"""Stock text in our form: a table of what models write, hostile text, and the law that no number changes."""

import re
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.trace import gold, parse, render
from everystep.core.types import Completion, Graded, Kind, Step, Task, Trace, Truth, task_id
from everystep.data.rewrite import Made, rewrite
from everystep.data.stock import LONGEST, Unfit, joined, numbers, plain_line, read, sentences
from everystep.verify.grade import grade

ASKED = "A box of 5 pens costs $3. Tom buys 5 boxes and a pen for $1. What does he pay?"


def task(answer: str = "16", kind: Kind = Kind.NUMBER, question: str = ASKED) -> Task:
    identity = task_id("test", question, answer)
    return Task(identity, "math", question, answer, kind, "test", "train", level=1)


def graded(text: str, of: Task | None = None) -> Graded:
    of = of or task()
    return grade(of, Completion(of.id, 0, text))


TWO = ("5 * 3 = 15.", "15 + 1 = 16.", "Therefore, the answer is 16.")
NAMED = ("Find the cost: 5 * 3 = 15.", "Add one: 15 + 1 = 16.", "Therefore, the answer is 16.")

# What a model writes for ASKED, and its solution in our form.
REWRITTEN = [
    ("lines", "5 * 3 = 15\n15 + 1 = 16\nThe answer is 16.", TWO),
    ("lines with full stops", "5 * 3 = 15.\n15 + 1 = 16.\nThe answer is 16.", TWO),
    ("one paragraph", "5 * 3 = 15. 15 + 1 = 16. The answer is 16.", TWO),
    ("blank lines", "\n\n5 * 3 = 15\n\n\n15 + 1 = 16\n\nThe answer is 16\n\n", TWO),
    ("windows line ends", "5 * 3 = 15\r\n15 + 1 = 16\r\nThe answer is 16.\r\n", TWO),
    ("GSM8K's own form", "5 * 3 = 15\n15 + 1 = 16\n#### 16", TWO),
    ("a boxed answer", "5 * 3 = 15\n15 + 1 = 16\n\\boxed{16}", TWO),
    ("a boxed answer in a sentence", "5 * 3 = 15\n15 + 1 = 16\nThe final answer is $\\boxed{16}$.", TWO),
    ("a label", "5 * 3 = 15\n15 + 1 = 16\n**Answer:** 16", TWO),
    ("a label, all bold", "5 * 3 = 15\n15 + 1 = 16\n\n**Final Answer: 16**", TWO),
    ("a label on its own line", "5 * 3 = 15\n15 + 1 = 16\n\n**Final Answer:**\n\n16", TWO),
    ("the answer twice", "5 * 3 = 15\n15 + 1 = 16\nThe answer is 16.\n#### 16", TWO),
    ("a number alone", "5 * 3 = 15\n15 + 1 = 16\n16", TWO),
    ("bullets", "- 5 * 3 = 15\n- 15 + 1 = 16\nAnswer: 16", TWO),
    ("stars", "* 5 * 3 = 15\n* 15 + 1 = 16\nAnswer: 16", TWO),
    ("round bullets", "• 5 * 3 = 15\n• 15 + 1 = 16\nAnswer: 16", TWO),
    ("a quotation", "> 5 * 3 = 15\n> 15 + 1 = 16\n\nAnswer: 16", TWO),
    ("a numbered list", "1. 5 * 3 = 15\n2. 15 + 1 = 16\n\nThe answer is 16.", TWO),
    ("brackets", "1) 5 * 3 = 15\n2) 15 + 1 = 16\n3) The answer is 16.", TWO),
    ("whole brackets", "(1) 5 * 3 = 15\n(2) 15 + 1 = 16\nThe answer is 16.", TWO),
    ("every item is the first", "1. 5 * 3 = 15\n1. 15 + 1 = 16\n\nThe answer is 16.", TWO),
    ("rulers", "5 * 3 = 15\n---\n15 + 1 = 16\n***\nThe answer is 16.", TWO),
    ("our marks", "Step 1: 5 * 3 = 15.\nStep 2: 15 + 1 = 16.\nThe answer is 16.", TWO),
    ("our marks in one line", "Step 1: 5 * 3 = 15. Step 2: 15 + 1 = 16. Therefore, the answer is 16.", TWO),
    ("other marks", "Step 1 - 5 * 3 = 15\nStep 2 - 15 + 1 = 16\n\nThe answer is 16.", TWO),
    ("loud marks", "STEP 1: 5 * 3 = 15\nSTEP 2: 15 + 1 = 16\n\nThe answer is 16.", TWO),
    (
        "bold marks with a heading",
        "**Step 1: Find the cost**\n5 * 3 = 15\n\n**Step 2: Add one**\n15 + 1 = 16\n\n**Answer:** 16",
        NAMED,
    ),
    (
        "headings and LaTeX",
        "### Step 1: Find the cost\n$5 * 3 = 15$\n\n### Step 2: Add one\n$15 + 1 = \\boxed{16}$",
        NAMED,
    ),
    (
        "bold items",
        "Here's how to solve it:\n\n1. **Find the cost:** 5 * 3 = 15\n2. **Add one:** 15 + 1 = 16\n\n#### 16",
        NAMED,
    ),
    (
        "items with their lines",
        "1. **Find the cost:**\n   * 5 * 3 = 15\n\n2. **Add one:**\n   * 15 + 1 = 16\n\n**Answer:** 16",
        NAMED,
    ),
    (
        "headings without numbers",
        "**Find the cost:**\n5 * 3 = 15\n\n**Add one**\n15 + 1 = 16\n\nAnswer: 16",
        NAMED,
    ),
    ("an equation over two lines", "5 * 3\n= 15\n15 + 1 =\n16\nThe answer is 16.", TWO),
    ("displayed LaTeX", "\\[ 5 * 3 = 15 \\]\n\\[\n15 + 1 = 16\n\\]\nThe answer is \\(16\\).", TWO),
    ("dollars around LaTeX", "$$5 * 3 = 15$$\n$$\n15 + 1 = 16\n$$\nThe answer is $16$.", TWO),
    (
        "LaTeX operators",
        "$5 \\times 3 = 15$\n$15 \\div 1 = 15$\n$15 + 1 = 16$\nSo the answer is $\\boxed{16}$.",
        ("5 × 3 = 15.", "15 ÷ 1 = 15.", "15 + 1 = 16.", "Therefore, the answer is 16."),
    ),
    (
        "a fraction",
        "$\\frac{30}{2} = 15$\n$\\frac{15 + 17}{2} = 16$\n$\\boxed{16}$",
        ("30/2 = 15.", "(15 + 17)/2 = 16.", "Therefore, the answer is 16."),
    ),
    (
        "words in LaTeX",
        "$5 \\text{ boxes} \\times 3 = 15$\n$15 + 1 = 16$\n$\\boxed{16}$",
        ("5 boxes × 3 = 15.", "15 + 1 = 16.", "Therefore, the answer is 16."),
    ),
    (
        "money",
        "He pays 5 * $3 = $15 for the boxes.\nThen $15 + $1 = $16.\nThe answer is $16.",
        ("He pays 5 * $3 = $15 for the boxes.", "Then $15 + $1 = $16.", "Therefore, the answer is $16."),
    ),
    (
        "money in LaTeX",
        "$5 \\times \\$3 = \\$15$\n$\\$15 + \\$1 = \\$16$\nThe answer is \\$16.",
        ("5 × $3 = $15.", "$15 + $1 = $16.", "Therefore, the answer is $16."),
    ),
    (
        "thousands",
        "5 * 3,000 = 15,000.\n15,000 / 1,000 + 1 = 16.\nThe answer is 16.",
        ("5 * 3,000 = 15,000.", "15,000 / 1,000 + 1 = 16.", "Therefore, the answer is 16."),
    ),
    (
        "decimals at the beginning of lines",
        "2.5 * 6 = 15\n1.0 + 15 = 16\nThe answer is 16.",
        ("2.5 * 6 = 15.", "1.0 + 15 = 16.", "Therefore, the answer is 16."),
    ),
    (
        "a number that opens a line and is no item",
        "He pays 15 for the boxes, 5 * 3 = 15, and 15 + 1 =\n16. That is all.\nThe answer is 16.",
        (
            "He pays 15 for the boxes, 5 * 3 = 15, and 15 + 1 = 16.",
            "That is all.",
            "Therefore, the answer is 16.",
        ),
    ),
    (
        "talk",
        "Okay, let's solve this.\n5 * 3 = 15\n15 + 1 = 16\nThe answer is 16.\n\nI hope this helps!",
        TWO,
    ),
    (
        "a conclusion in words",
        "5 * 3 = 15\n15 + 1 = 16\nSo, Tom pays $16 in all.\nAnswer: $16",
        ("5 * 3 = 15.", "15 + 1 = 16.", "Therefore, Tom pays $16 in all."),
    ),
    (
        "a conclusion without a cue",
        "5 * 3 = 15\n15 + 1 = 16\nThe whole price is $16.",
        ("5 * 3 = 15.", "15 + 1 = 16.", "Therefore, the whole price is $16."),
    ),
    (
        "a label before a sentence",
        "5 * 3 = 15\n15 + 1 = 16\n**Answer:** Tom pays $16 in all.\nFinal Answer: $\\boxed{16}$",
        ("5 * 3 = 15.", "15 + 1 = 16.", "Therefore, Tom pays $16 in all."),
    ),
    (
        "a paragraph and a line",
        "The boxes cost 5 * 3 = 15. With the pen it is 15 + 1 = 16.\nSo the answer is 16.",
        ("The boxes cost 5 * 3 = 15.", "With the pen it is 15 + 1 = 16.", "Therefore, the answer is 16."),
    ),
    (
        "a calculation last",
        "5 * 3 = 15\n15 + 1 = 16",
        TWO,
    ),
    (
        "a check after the answer",
        "5 * 3 = 15\n15 + 1 = 16\nThe answer is 16.\nCheck: 16 - 1 = 15.",
        (
            "5 * 3 = 15.",
            "15 + 1 = 16.",
            "The answer is 16.",
            "Check: 16 - 1 = 15.",
            "Therefore, the answer is 16.",
        ),
    ),
    (
        "our own form",
        "<reasoning>\nStep 1: 5 * 3 = 15.\nStep 2: 15 + 1 = 16.\nTherefore, the answer is 16.\n</reasoning>\n"
        "<answer>16</answer>",
        TWO,
    ),
    (
        "our own form without marks",
        "<reasoning>5 * 3 = 15\n15 + 1 = 16</reasoning><answer>16</answer>",
        TWO,
    ),
    (
        "algebra",
        "Let x be the price. x = 5 * 3 + 1. x = 16. The answer is 16.",
        ("Let x be the price.", "x = 5 * 3 + 1.", "x = 16.", "Therefore, the answer is 16."),
    ),
    (
        "a power",
        "2**4 = 16 is the price.\nThe answer is 16.",
        ("2**4 = 16 is the price.", "Therefore, the answer is 16."),
    ),
    ("digits of another script", "٥ * ٣ = ١٥\n١٥ + ١ = ١٦\nThe answer is ١٦.", TWO),
    ("a tick", "5 * 3 = 15\n15 + 1 = 16\n✅\n**Answer:** 16", TWO),
    ("italics", "*Note* 5 * 3 = 15\n15 + 1 = 16\nAnswer: 16", ("Note 5 * 3 = 15.", *TWO[1:])),
]


@pytest.mark.parametrize(("text", "solution"), [r[1:] for r in REWRITTEN], ids=[r[0] for r in REWRITTEN])
def test_what_models_write(text: str, solution: tuple[str, ...]) -> None:
    made = rewrite(graded(text))
    assert isinstance(made, Made), made
    assert made.solution == solution
    law(graded(text), made)


GOOD = "5 * 3 = 15\n15 + 1 = 16\nThe answer is 16."
REFUSED = [
    ("nothing but the answer", "16", "no work"),
    ("nothing but a statement", "**Final Answer:** The final answer is $\\boxed{16}$", "no work"),
    ("talk and the answer", "Sure! The answer is 16.", "no work"),
    ("a tag", f"{GOOD}</answer>", "markup"),
    ("our tags in the wrong place", f"Well. <reasoning>{GOOD}</reasoning><answer>16</answer>", "markup"),
    ("look-alike tags", f"<Reasoning>{GOOD}</Reasoning>", "markup"),
    ("full-width tags", f"＜reasoning＞{GOOD}＜/reasoning＞", "markup"),
    ("HTML", "5 * 3 = 15\n15 + 1 = <b>16</b>\nThe answer is 16.", "markup"),
    ("a script", f"<script>alert(1)</script>\n{GOOD}", "markup"),
    ("an end of turn", f"{GOOD}<end_of_turn>\n<start_of_turn>user\n", "markup"),
    ("a control token", f"<unused42>{GOOD}", "markup"),
    ("a control token in our form", f"<reasoning>{GOOD}<eos></reasoning><answer>16</answer>", "markup"),
    ("a control token in pieces", f"{GOOD}\n<end**_of_turn>", "markup"),
    ("NUL", f"\x00{GOOD}", "characters"),
    ("escape", f"\x1b[31m{GOOD}", "characters"),
    ("text that runs backwards", f"\u202e{GOOD}\u202c", "characters"),
    ("zero width", GOOD.replace("16.", "1\u200b6."), "characters"),
    ("a byte order mark", f"\ufeff{GOOD}", "characters"),
    ("half a pair", f"{GOOD} \ud800", "characters"),
    ("a character for private use", f"{GOOD} \ue000", "characters"),
    ("bytes that were no text", f"{GOOD} \ufffd", "characters"),
    ("a line separator", f"5 * 3 = 15\u2028{GOOD}", "characters"),
    ("notes of a calculator", f"5 * 3 = <<5*3=15>>15\n{GOOD}", "markup"),
    ("code", f"```python\nprint(5 * 3 + 1)\n```\n{GOOD}", "code or table"),
    ("a table", f"| a | b |\n|---|---|\n{GOOD}", "code or table"),
    ("an environment", f"\\begin{{align*}}\n5 * 3 &= 15\n\\end{{align*}}\n{GOOD}", "LaTeX"),
    ("an unknown command", f"$\\sum x = 15$\n{GOOD}", "LaTeX"),
    ("an open brace", f"$\\frac{{5 * 3 = 15$\n{GOOD}", "LaTeX"),
    ("one item alone", "1. 5 * 3 = 15\n15 + 1 = 16\nThe answer is 16.", "numbering"),
    ("a mark with a nought", "Step 01: 5 * 3 = 15\nStep 02: 15 + 1 = 16\nThe answer is 16.", "numbering"),
    ("a fraction in two digits", "$\\frac12 * 32 = 16$\n$15 + 1 = 16$\nThe answer is 16.", "numbers"),
    ("too long", f"{GOOD}\n" + "So it is. " * 1000 + "\nThe answer is 16.", "too long"),
    ("a long line", "So it is, " * 150 + f"\n{GOOD}", "too long"),
]


@pytest.mark.parametrize(("text", "reason"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_is_refused(text: str, reason: str) -> None:
    found = rewrite(graded(text))
    assert isinstance(found, Unfit) and found.reason == reason, found


def law(before: Graded, made: Made) -> None:
    """What holds for everything that was rewritten."""
    row = made.row(before.task)
    text = render(gold(row))
    assert text == made.graded.completion.text
    trace = parse(text)
    assert trace == gold(row) and not trace.faults and len(trace.steps) > 1
    assert [s.number for s in trace.steps[:-1]] == list(range(1, len(trace.steps)))
    assert trace.steps[-1].text.startswith("Therefore, ")
    again = graded(text, before.task)
    assert again.verdict.right and not any(c.truth is Truth.FALSE for c in again.checks)
    assert row.id == before.task.id and row.question == before.task.question
    said = " ".join((*made.solution, made.answer))
    assert not re.search(r"</?(?:reasoning|answer)>|<(?:end|start)_of_turn>", said)
    assert all(c.isprintable() for c in said)


# Laws: documents made of known numbers

CLAIMS = st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 400), st.sampled_from("+-*")), min_size=1, max_size=5)


def claim(a: int, b: int, sign: str) -> tuple[str, list[int]]:
    value = {"+": a + b, "-": a + b - b, "*": a * b}[sign]
    left = a + b if sign == "-" else a
    return f"{left} {sign} {b} = {value}", [left, b, value]


FORMS = {
    "lines": lambda some: "\n".join(some),
    "sentences": lambda some: " ".join(f"{s}." for s in some),
    "paragraphs": lambda some: "\n\n".join(f"We compute {s}." for s in some),
    "bullets": lambda some: "\n".join(f"- {s}" for s in some),
    "items": lambda some: "\n".join(f"{i}. {s}" for i, s in enumerate([*some, "That was it"], 1)),
    "bold items": lambda some: "\n".join(f"{i}. **Compute:** {s}" for i, s in enumerate([*some, "Look at it"], 1)),
    "marks": lambda some: "\n".join(f"Step {i}: {s}" for i, s in enumerate(some, 1)),
    "bold marks": lambda some: "\n\n".join(f"**Step {i}: Compute**\n{s}" for i, s in enumerate(some, 1)),
    "LaTeX": lambda some: "\n".join("$" + s.replace("*", "\\times") + "$" for s in some),
    "displayed": lambda some: "\n".join("\\[" + s.replace("*", "\\cdot") + "\\]" for s in some),
    "talk": lambda some: "Sure, here we go:\n\n" + "\n".join(some) + "\n\nLet me know if that helps!",
}
ENDS = {
    "said": "The answer is {}.",
    "hashes": "#### {}",
    "boxed": "$\\boxed{{{}}}$",
    "label": "**Answer:** {}",
    "cue": "Therefore, he has {} of them in all.",
    "none": "",
}


@given(CLAIMS, st.sampled_from(sorted(FORMS)), st.sampled_from(sorted(ENDS)))
def test_no_number_is_lost_added_or_changed(some: list[tuple[int, int, str]], form: str, end: str) -> None:
    """Of true claims in any form; the numbers that are expected come from the claims, not from a text."""
    claims = [claim(*c) for c in some]
    answer = claims[-1][1][-1]
    text = FORMS[form]([text for text, _ in claims])
    if end != "none":
        text = f"{text}\n\n{ENDS[end].format(answer)}"
    elif form in ("talk", "items", "bold items", "paragraphs"):
        return
    before = graded(text, task(str(answer)))
    made = rewrite(before)
    assert isinstance(made, Made), (made, text)
    law(before, made)
    expected = Counter(str(n) for _, own in claims for n in own)
    found = Counter(re.findall(r"\d+", " ".join(made.solution[:-1])))
    stated = Counter(re.findall(r"\d+", made.solution[-1]))
    assert found == expected and stated == Counter([str(answer)])


PIECES = st.sampled_from(
    [
        "5 * 3 = 15", "15 + 1 = 16", "16", "The answer is 16.", "#### 16", "\\boxed{16}", "\n", "\n\n", " ",
        "1. ", "2. ", "- ", "**", "*", "$", "$$", "\\[", "\\frac{1}{2}", "\\frac", "{", "}", "\\", "Step 1: ",
        "Step 2:", "Therefore, ", "So ", "<answer>", "</answer>", "<reasoning>", "</reasoning>", "`", "|",
        "<end_of_turn>", "\u202e", "½", "²", "１６", "٣", "1,600", "16.0", "-", "=", ":", ".", "# ", "(1) ",
        "__", "_", "Answer:", "Final ", "apples ", "x", "\\text{", "Check: ", "% ", "$16", "e5", "{,}",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=14).map("".join))
def test_whatever_the_text_nothing_raises_and_the_law_holds(text: str) -> None:
    before = graded(text)
    made = rewrite(before)
    if isinstance(made, Made):
        law(before, made)
        # Nothing is invented: but for a conclusion that states the answer, all numbers are the text's.
        rest = numbers(" ".join(made.solution)) - numbers(text)
        assert not rest - numbers(made.answer)


@given(st.text(max_size=300))
def test_any_text_at_all(text: str) -> None:
    of = task(text.split()[-1] if text.split() else "16", Kind.TEXT)
    before = graded(text, of)
    made = rewrite(before)
    if isinstance(made, Made):
        law(before, made)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 1_000_000,
        "\n" * 1_000_000,
        "**" * (LONGEST // 2),
        "$" * LONGEST,
        "$ " * (LONGEST // 2),
        "\\boxed{" * (LONGEST // 7),
        "\\frac{" * (LONGEST // 6),
        "{" * LONGEST,
        "- " * (LONGEST // 2),
        "> " * (LONGEST // 2),
        "1. " * (LONGEST // 3),
        "1.\n" * (LONGEST // 3),
        "_" * LONGEST,
        "*a" * (LONGEST // 2),
        ". A" * (LONGEST // 3),
        "<a" * (LONGEST // 2),
        " " * LONGEST,
        ("$" * 1190 + "\n") * 6,
        ("*a " * 390 + "\n") * 6,
        ("\\text{" * 190 + "\n") * 6,
        "x = 16\n" * (LONGEST // 7),
    ],
    ids=lambda text: f"{text[:6]!r}x{len(text)}",
)
def test_nothing_takes_long(text: str) -> None:
    before = graded(f"{text}\nThe answer is 16.")
    began = time.process_time()
    rewrite(before)
    assert time.process_time() - began < 2.0


def test_the_answer_is_the_model_s_own_words_for_the_gold_one() -> None:
    of = task("16 pens", Kind.QUANTITY)
    of = replace(of, unit="pens")
    made = rewrite(graded("5 * 3 = 15 pens.\n15 + 1 = 16 pens.\nThe answer is 16 pens.", of))
    assert isinstance(made, Made) and made.answer == "16 pens"
    money = rewrite(graded("5 * 3 = 15\n15 + 1 = 16\n**Answer:** $16.00", task("16", Kind.MONEY)))
    assert isinstance(money, Made) and money.answer == "$16.00" and money.row(task("16")).answer == "$16.00"


@pytest.mark.parametrize(
    ("answer", "kind", "text", "last"),
    [
        (
            "B",
            Kind.CHOICE,
            "Ann is older than Bo.\nBo is older than Cy.\nThe answer is B.",
            "the answer is B.",
        ),
        ("yes", Kind.BOOLEAN, "15 + 1 = 16, and 16 > 15.\nThe answer is yes.", "the answer is yes."),
    ],
)
def test_answers_that_are_no_numbers(answer: str, kind: Kind, text: str, last: str) -> None:
    of = replace(task(answer, kind), choices=("A", "B", "C") if kind is Kind.CHOICE else ())
    made = rewrite(graded(text, of))
    assert isinstance(made, Made) and made.solution[-1] == f"Therefore, {last}"


def test_reading_keeps_count_of_list_numbers_only() -> None:
    text = "1. 5 * 3 = 15\n2. 15 + 1 = 16\n\nThe answer is 16."
    stock = read(text, parse(text))
    assert not isinstance(stock, Unfit)
    assert stock.numbers == Counter(["5", "3", "15", "15", "1", "16", "16"])
    assert [joined(u) for u in stock.units] == ["5 * 3 = 15", "15 + 1 = 16", "The answer is 16."]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("**a** *b* `c`", "a b c"),
        ("2 * 3 * 4 = 24", "2 * 3 * 4 = 24"),
        ("2*3*4 = 24", "2*3*4 = 24"),
        ("2**3 = 8", "2**3 = 8"),
        ("costs $5 and $6", "costs $5 and $6"),
        ("from $5-$6", "from $5-$6"),
        (r"$2\frac{1}{2}$", "2 1/2"),
        (r"$\sqrt{16} = 4$", "√16 = 4"),
        (r"$x_{1} = 10^{2}$", "x_1 = 10^2"),
        (r"$5{,}000 \approx 5000$", "5,000 ≈ 5000"),
        (r"20\% of 50", "20% of 50"),
        ("5 − 3 × 1", "5 - 3 × 1"),
    ],
)
def test_a_line_in_plain_text(text: str, plain: str) -> None:
    assert plain_line(text) == plain


def test_sentences_are_not_cut_at_decimals_and_titles() -> None:
    text = "Mrs. Li pays 2.50. It is 3.5 kg. That is all"
    assert sentences(text) == ["Mrs. Li pays 2.50.", "It is 3.5 kg.", "That is all"]


def test_a_trace_that_is_made_by_hand_is_what_gold_gives() -> None:
    made = rewrite(graded(GOOD))
    assert isinstance(made, Made)
    assert gold(made.row(task())) == Trace((Step(TWO[0], 1), Step(TWO[1], 2), Step(TWO[2])), "16")

"""Claims found and judged, sources of operands, findings, and the score of the work."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import claim_cases
from everystep.core.types import Finding, Process, Truth
from everystep.verify.files import check_file
from everystep.verify.grade import check
from everystep.verify.sources import Sources

CASES = Path(__file__).parent / "cases" / "steps"


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (CASES / name).read_text(encoding="utf-8").splitlines()]


def trace(*steps: str, answer: str = "0") -> str:
    lines = "\n".join(f"Step {i}: {s}" for i, s in enumerate(steps, 1))
    return f"<reasoning>\n{lines}\nTherefore, the answer is {answer}.\n</reasoning>\n<answer>{answer}</answer>"


def findings(question: str, *steps: str, answer: str) -> set[Finding]:
    return {f.finding for f in check(question, trace(*steps, answer=answer))[2].flags}


def process(question: str, *steps: str, answer: str) -> Process:
    return check(question, trace(*steps, answer=answer))[2]


@pytest.mark.parametrize("case", rows("claims.jsonl") + rows("fresh.jsonl"), ids=lambda c: c["text"][:40])
def test_claims(case: dict) -> None:
    """Each text with exactly the claims it makes, in order, each with its truth."""
    line = json.dumps({"id": 0, "question": "", "steps": [case["text"] or " "]})
    (row,) = check_file([line])
    assert [[c["claim"], c["truth"]] for c in row["checks"]] == case["checks"]


@pytest.mark.parametrize("case", claim_cases.rows(), ids=lambda c: c["id"])
def test_every_kind(case: dict) -> None:
    """What is true is called true, what is false false, and nothing else is called false; but for the rows that are
    marked as missed, whose mark goes when they are mended."""
    assert (claim_cases.fault(case) is not None) == case.get("missed", False)


PAIRS = [("(", ")"), ("{", "}"), ("（", "）"), (r"\(", r"\)"), (r"\[", r"\]"), (r"\left", r"\right"), ("<b>", "</b>")]


def test_a_claim_holds_no_stray_markup() -> None:
    """What is opened in a claim is closed in it: brackets, emphasis, code, formulas."""
    lines = [json.dumps({"id": 0, "question": "", "steps": case["steps"]}) for case in claim_cases.rows()]
    every = {c["claim"] for row in check_file(lines) for c in row["checks"]}
    open_pairs = [c for c in every for a, b in PAIRS if c.count(a) != c.count(b)]
    open_marks = [c for c in every for mark in ("**", "__", "~~", "`") if c.count(mark) % 2]
    assert (open_pairs, open_marks) == ([], [])


def chains() -> tuple[list[dict], list[dict]]:
    given_rows = rows("chains.jsonl")
    return given_rows, list(check_file(json.dumps(r) for r in given_rows))


def test_chains() -> None:
    """240 chains with one slip each: the first wrong step is named; 240 clean ones pass without a finding."""
    wanted, got = chains()
    named = {kind: [0, 0] for kind in ("sign", "order", "digit", "dropped", "clean")}
    for want, row in zip(wanted, got, strict=True):
        kind = want["id"].split("-")[0]
        good = row["first_false"] == want["first_false"]
        if kind == "clean":
            good = good and not [f for f in row["flags"] if f["finding"] != "unused"]
        named[kind][0] += good
        named[kind][1] += 1
    assert {kind: right / n for kind, (right, n) in named.items()} == dict.fromkeys(named, 1.0)


def test_the_true_value_stands_beside_a_false_claim() -> None:
    _, checks, _ = check("3 and 4 and 2", trace("A = (3 + 4) * 2 = 7 * 3 = 21"))
    assert [(c.claim, c.truth, c.value) for c in checks] == [
        ("(3 + 4) * 2 = 7 * 3", Truth.FALSE, "14"),
        ("7 * 3 = 21", Truth.TRUE, "21"),
    ]


@pytest.mark.parametrize(
    ("number", "source"),
    [
        (48, "question"),
        (12, "question"),
        (80, "question"),
        (7, "constant"),
        (60, "constant"),
        (17, None),
        (433, None),
    ],
)
def test_sources(number: int, source: str | None) -> None:
    assert Sources("She sold 48 clips, a dozen pins, and gave 20% off.").explain(number) == source


def test_sources_grow() -> None:
    sources = Sources("one hundred forty-four marbles at 4:11, and $3 million")
    assert [sources.explain(v) for v in (144, 4, 11, 3, 3_000_000)] == ["question"] * 5
    assert sources.explain(77) is None
    sources.derive(77)
    assert sources.explain(77) == "earlier result"


@pytest.mark.parametrize(
    ("steps", "answer", "finding"),
    [
        (["6 * 8 = 54"], "54", Finding.FALSE_CLAIM),
        (["6 * 433 = 2598"], "2598", Finding.INVENTED),
        (["6 * 8 = 48"], "50", Finding.NOT_FOLLOWING),
        (["We think, and it is clear."], "48", Finding.NO_STEP),
        (["5 = 5", "6 * 1 = 6"], "6", Finding.NO_STEP),  # trivially true: worth nothing
        (["A = 6 * 8 = 48", "A = 6 + 8 = 14"], "14", Finding.CONTRADICTION),
        (["6 km + 8 hours = 14"], "14", Finding.UNIT),
        (["6 km + 8 km = 14 hours"], "14", Finding.UNIT),
        (["6 + 6 = 12"], "12", Finding.UNUSED),
    ],
)
def test_findings(steps: list[str], answer: str, finding: Finding) -> None:
    assert finding in findings("A shelf has 6 rows of 8 books.", *steps, answer=answer)


@pytest.mark.parametrize(
    ("question", "steps", "answer"),
    [
        ("6 rows of 8 books", ["6 * 8 = 48 books"], "48"),
        ("6 rows of 8 books", ["6 * 8 = 48 books"], "48 books"),
        ("25% of 80 left", ["80 * (1 - 25%) = 60"], "60"),
        ("17 of 20 passed", ["17/20 = 0.85"], "85%"),
        ("7 people, 4 in a car", ["7 / 4 = 1.75 cars", "So 2 cars are needed."], "2"),
        ("Is 12 + 9 more than 20?", ["12 + 9 = 21", "21 > 20"], "yes"),
        ("Three boxes of 12 pens", ["A = 3 * 12 = 36"], "36"),
        ("Some x with 3x + 5 = 20", ["3x + 5 = 20", "3x = 15", "x = 5"], "5"),
        ("83 days after Sunday", ["11 * 7 = 77", "83 - 77 = 6"], "Saturday"),
    ],
)
def test_good_work_has_no_finding(question: str, steps: list[str], answer: str) -> None:
    assert findings(question, *steps, answer=answer) == set()


def test_score() -> None:
    question = "A shelf has 6 rows of 8 books, and 4 are lent."
    good = process(question, "6 * 8 = 48", "48 - 4 = 44", answer="44")
    assert good.score == pytest.approx(1.0)
    assert good.coverage == 1.0
    assert process(question, "6 * 8 = 54", "54 - 4 = 50", answer="50").score == 0.0  # one false claim
    assert process(question, "6 * 8 = 48", "48 - 4 = 44", answer="45").score == 0.0  # another answer
    assert process(question, "I know it.", answer="44").score is None  # nothing to check: no score, not 0
    partly = process(question, "6 * 8 = 48", answer="48").score
    assert partly is not None and 0.9 <= partly < 1.0  # a number of the question is never used
    assert process(question, "6 * 8 = 48", "Then I think.", "48 - 4 = 44", answer="44").coverage == pytest.approx(2 / 3)


PADDING = ["1 = 1", "5 + 0 = 5", "1 * 8 = 8", "6 * 8 = 48", "48 = 48", "8 / 1 = 8"]


@given(st.lists(st.sampled_from(PADDING), max_size=6))
def test_padding_never_raises_the_score(padding: list[str]) -> None:
    question = "A shelf has 6 rows of 8 books, and 4 are lent."
    plain = process(question, "6 * 8 = 48", "48 - 4 = 44", answer="44").score
    padded = process(question, *padding, "6 * 8 = 48", "48 - 4 = 44", answer="44").score
    assert plain is not None and padded is not None and padded <= plain
    bad = process(question, *padding, "6 * 8 = 54", "54 - 4 = 50", answer="50").score
    assert bad == 0.0


@given(
    st.lists(st.integers(2, 99), min_size=3, max_size=3),
    st.sampled_from(["+", "-", "*"]),
    st.sampled_from(["+", "-", "*"]),
    st.integers(1, 9),
)
def test_a_changed_result_is_found(numbers: list[int], first: str, second: str, by: int) -> None:
    """Whatever the expression, the right result passes and another one does not, however written."""
    a, b, c = numbers
    middle = {"+": a + b, "-": a - b, "*": a * b}[first]
    value = {"+": middle + c, "-": middle - c, "*": middle * c}[second]
    for times in ("*", "×", "·"):
        for minus in ("-", "−"):
            text = f"({a} {first} {b}) {second} {c} = ".replace("*", times).replace(" - ", f" {minus} ")
            right = check("", trace(f"{text}{value}"))[1]
            wrong = check("", trace(f"{text}{value + by}"))[1]
            assert [c.truth for c in right] == [Truth.TRUE]
            assert [c.truth for c in wrong] == [Truth.FALSE]

"""The pages of checked and graded rows: everything is said, and hostile text stays text."""

import json
import re
from html.parser import HTMLParser

import pytest

from everystep.show.checked import graded_page, page, summary
from everystep.verify.files import check_file, grade_file, tally

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "</style></td></table><style>*{display:none}</style>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "\u202e5 = 2 + 2\u202c\u2066\u200b",
    "\x00\x1b[31m\ud800",
    "javascript:alert(1) &lt;b&gt; &amp;",
]
BAD = ["<b>not json</b>", "[1]", '{"id": "<i>", "prediction": 5}']


class Seen(HTMLParser):
    """The tags, attributes and text that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def pages() -> list[str]:
    graded = [json.dumps({"id": h, "prediction": h, "gold": h}) for h in HOSTILE]
    graded += [json.dumps({"id": {"<b>": h}, "prediction": "5", "gold": h}) for h in HOSTILE]
    graded += [json.dumps({"id": 1, "prediction": HOSTILE[0] * 40, "gold": "6"})]
    checked = [json.dumps({"id": h, "question": h, "steps": [f"{h} 2 + 2 = 5 {h}", f"A{h} = 3"]}) for h in HOSTILE]
    return [
        graded_page(grade_file([*graded, *BAD], texts=True), title=HOSTILE[0]),
        page(check_file([*checked, *BAD]), title=HOSTILE[0]),
    ]


@pytest.mark.parametrize("which", [0, 1], ids=["graded", "checked"])
def test_hostile_text_stays_text(which: int) -> None:
    html = pages()[which]
    seen = Seen()
    seen.feed(html)
    assert not seen.tags & {"script", "img", "b", "i", "iframe", "a", "link"}
    assert not {name for name in seen.attributes if name.startswith("on")} and "src" not in seen.attributes
    assert html.count("<style>") == 1 and "default-src 'none'" in html
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x00\x1b\ud800-\udfff]", html)
    assert "<img src=x onerror=alert(1)>" in seen.text and "{{ 7 * 7 }}" in seen.text
    assert "javascript:alert(1) &lt;b&gt; &amp;" in seen.text


def test_graded_page_says_all() -> None:
    lines = [
        json.dumps({"id": "a", "prediction": "$1,200", "gold": "1200"}),
        json.dumps({"id": "b", "prediction": "7 apples", "gold": "8"}),
        json.dumps({"id": None, "prediction": "", "gold": "8"}),
        "nonsense",
    ]
    rows = list(grade_file(lines, texts=True))
    seen = Seen()
    seen.feed(graded_page(rows))
    for said in ["$1,200", "7 apples", "no id", "line 4", "✗ unreadable", "✓ right", "✗ wrong"]:
        assert said in seen.text, said
    assert tally(row.get("verdict", "unreadable") for row in rows) in seen.text
    for row in rows[:3]:
        assert row["reason"] in seen.text and (row["read"] or "") in seen.text
    assert "no rows" in graded_page([])


def test_texts_are_the_given_ones() -> None:
    line = json.dumps({"id": 1, "prediction": "<reasoning>x</reasoning><answer>5</answer>", "gold": "5"})
    bare, kept = (next(grade_file([line], text="trace", texts=t)) for t in (False, True))
    assert set(bare) == {"id", "verdict", "read", "reason"}
    assert kept == bare | {"prediction": json.loads(line)["prediction"], "gold": "5"}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (["so it is"], "0 claims checked"),
        (["2 + 3 = 5"], "1 claim checked"),
        (["2 + 3 = 5", "5 * 2 = 10"], "2 claims checked"),
    ],
)
def test_summary_counts_in_words(steps: list[str], said: str) -> None:
    assert summary(next(check_file([json.dumps({"steps": steps})]))).startswith(said)

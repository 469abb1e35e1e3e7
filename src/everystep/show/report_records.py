"""The records as one compressed block for a page: every text already cut into pieces and marked claims, so
that the page has nothing to decide and only to show.

How the page shows them is `templates/report.js`; what is in a record is `core/record.py`'s business.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from everystep.evaluate.failures import Failure
from everystep.show.checked import beside, pieces, printable
from everystep.show.report_data import Findings, Line, Stage

BUDGET = 2_200_000  # bytes of the block as it stands in the page
MAX_CHARS = 6_000  # of one text that are shown; the record has all of it
_TRUTHS = {"true": 0, "false": 1, "unknown": 2}


def block(findings: Findings, budget: int = BUDGET) -> tuple[str, int]:
    """The block in base64, and how many tasks it holds: all of them, unless it would be larger than the
    budget; then so many as fit, taken evenly from all."""
    ids = list(findings.stages[-1].lines)
    while True:
        # Level 9 and no header: the same bytes for the same records.
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        text = json.dumps(_content(findings, ids), ensure_ascii=False, separators=(",", ":"))
        packed = base64.b64encode(packer.compress(text.encode("utf-8", "replace")) + packer.flush()).decode()
        if len(packed) <= budget or len(ids) < 2:
            return packed, len(ids)
        fewer = max(1, min(len(ids) - 1, int(0.95 * len(ids) * budget / len(packed))))
        ids = [ids[i * len(ids) // fewer] for i in range(fewer)]


def _content(findings: Findings, ids: Sequence[str]) -> dict[str, Any]:
    return {
        "stages": [[printable(s.name), s.file] for s in findings.stages],
        "classes": [f.value for f in Failure],
        "tasks": [_task(findings.stages, i) for i in ids],
    }


def _task(stages: Sequence[Stage], key: str) -> list[Any]:
    """id, domain, level, question, gold, and for each stage its record or null."""
    task = next(s.lines[key] for s in reversed(stages) if key in s.lines).graded.task
    shown = [printable(text) for text in (task.id, task.domain, task.question, task.answer)]
    own = [_record(s.lines[key]) if key in s.lines else None for s in stages]
    return [shown[0], shown[1], task.level, shown[2], shown[3], own]


def _record(line: Line) -> list[Any]:
    """line, right in form, class, evidence, verdict, tokens, pieces: texts, or [text, truth, beside, reason].

    The reason of a piece that goes on with the claim before it is left out.
    """
    row = line.row | {"text": line.row["text"][:MAX_CHARS]}
    shown: list[Any] = []
    last: object = None
    for text, check in pieces(row):
        if check is None:
            shown.append(printable(text))
        elif check is last:
            shown.append([printable(text), _TRUTHS[check["truth"]]])
        else:
            why = f"{check['claim']} — {check['reason']}" if check["reason"] else check["claim"]
            shown.append([printable(text), _TRUTHS[check["truth"]], printable(beside(check)), printable(why)])
        last = check
    if len(line.row["text"]) > MAX_CHARS:
        shown.append(f"… ({len(line.row['text']) - MAX_CHARS} more characters in the record)")
    g, found = line.graded, line.found
    at = f"step {found.step}: " if found.step else ""
    return [
        line.number,
        int(g.contract),
        list(Failure).index(found.failure),
        printable(at + found.evidence),
        g.verdict.value,
        line.record.tokens,
        shown,
    ]

"""What `check` says of traces that people have labelled: false alarms on correct rows, marked errors found.

    python bench/verify_traces.py [FILE ...] [--alarms 50] [--misses 50] [--save OUT] [--json]
    python bench/verify_traces.py --compare OLD NEW

A file has one JSON row a line: `id`, `question`, `steps` or `trace`, and `want`, the 1-based number of the
first wrong step, null where the whole trace is correct. Without a FILE those of ../shared/data/traces are
read. An alarm is a FALSE claim on a row marked correct, or before the marked step of another.

`verify_traces.jsonl` beside this script holds what was read by hand: `"read": "error"` is a false statement
that stands in a row marked correct (an alarm on it is right), `"read": "numeric"` says that the marked first
error is a wrong calculation, as opposed to a wrong plan: those are the errors that `check` should find. Its
quotes are from AQuA (Ling et al. 2017) and ProcessBench (Zheng et al. 2024), both Apache-2.0.
`--save` keeps every FALSE claim with its place; `--compare` says which went and which came.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from everystep.evaluate.stats import wilson
from everystep.verify.files import check_file

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "shared" / "data" / "traces"
READ = HERE / "verify_traces.jsonl"
AROUND = 60  # characters of text shown on each side of a claim

Row = dict[str, Any]


@dataclass(frozen=True)
class Alarm:
    """A FALSE claim: its row and step, whether it is on correct text ("correct" row, or a step "before" the
    marked one), "at" the marked step or "after" it; the claim, why, where it stands in the text of the row,
    that text around it, and whether it was read by hand as a true error of the text."""

    file: str
    id: str
    step: int
    place: str
    claim: str
    reason: str
    span: tuple[int, int]
    around: str
    error: bool


@dataclass(frozen=True)
class Figures:
    """The figures of one file. Rates are shares with their 95 % Wilson interval."""

    file: str
    rows: int
    correct: int
    alarmed: int  # correct rows with an alarm
    ours: int  # of those, rows with an alarm that was not read as an error of the text
    claims: int
    cpu_seconds: float
    marked: int  # rows with a marked error
    early: int  # of those, rows with an alarm before it that was not read as an error of the text
    at: int  # of those, rows with a FALSE claim at the marked step
    numeric: int  # marked errors read as numeric
    found: int  # of those, with a FALSE claim at the marked step


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def readings() -> tuple[dict[str, list[str]], set[str]]:
    """What was read by hand: row id to the false texts that stand in it, and the ids of numeric errors."""
    errors: dict[str, list[str]] = {}
    numeric = set()
    for line in lines_of(READ) if READ.is_file() else []:
        row = json.loads(line)
        if row["read"] == "error":
            errors.setdefault(row["id"], []).append(row["text"])
        else:
            numeric.add(row["id"])
    return errors, numeric


def known(text: str, span: tuple[int, int], errors: list[str]) -> bool:
    """Whether a claim overlaps one of the texts that were read as errors."""
    for error in errors:
        at = text.find(error)
        while at >= 0:
            if at < span[1] and span[0] < at + len(error):
                return True
            at = text.find(error, at + 1)
    return False


def alarms_of(file: str, want: int | None, row: Row, errors: list[str]) -> Iterator[Alarm]:
    """The FALSE claims of a checked row."""
    for check in row["checks"]:
        if check["truth"] != "false":
            continue
        step, (lo, hi) = check["step"], check["span"]
        place = "correct" if want is None else "before" if step < want else "at" if step == want else "after"
        text = row["text"]
        around = text[max(0, lo - AROUND) : lo] + "⟦" + text[lo:hi] + "⟧" + text[hi : hi + AROUND]
        error = known(text, (lo, hi), errors)
        shown = " ".join(around.split())
        yield Alarm(file, row["id"], step, place, check["claim"], check["reason"], (lo, hi), shown, error)


def measure(path: Path) -> tuple[Figures, list[Alarm], list[Row]]:
    """The figures of a file, its alarms, and the rows whose numeric error was not found."""
    errors, numeric_ids = readings()
    lines = lines_of(path)
    given = [json.loads(line) for line in lines]
    begin = time.process_time()
    checked = list(check_file(lines))
    cpu = time.process_time() - begin
    alarms: list[Alarm] = []
    missed = []
    correct = alarmed = ours = claims = marked = early = at = numeric = found = 0
    for row, result in zip(given, checked, strict=True):
        mine = list(alarms_of(path.stem, row["want"], result, errors.get(row["id"], [])))
        alarms += mine
        claims += sum(c["truth"] != "unknown" for c in result["checks"])
        if row["want"] is None:
            correct += 1
            alarmed += bool(mine)
            ours += any(not a.error for a in mine)
            continue
        marked += 1
        early += any(a.place == "before" and not a.error for a in mine)
        seen = any(a.place == "at" for a in mine)
        at += seen
        if row["id"] in numeric_ids:
            numeric += 1
            found += seen
            if not seen:
                missed.append(row)
    figures = Figures(path.stem, len(lines), correct, alarmed, ours, claims, cpu, marked, early, at, numeric, found)
    return figures, alarms, missed


def share(part: int, whole: int) -> str:
    if not whole:
        return "none"
    low, high = wilson(part, whole)
    return f"{part} of {whole} = {part / whole:.1%} [{low:.1%}, {high:.1%}]"


def report(f: Figures) -> str:
    return "\n".join(
        [
            f"{f.file}: {f.rows} rows",
            f"  correct rows with a false alarm   {share(f.alarmed, f.correct)}",
            f"  … not an error of the text        {share(f.ours, f.correct)}",
            f"  claims found                      {f.claims} = {f.claims / f.rows:.2f} a row",
            f"  rows a CPU second                 {f.rows / f.cpu_seconds:.0f}",
            f"  alarms before the marked error    {share(f.early, f.marked)} rows",
            f"  FALSE claim at the marked step    {share(f.at, f.marked)}",
            f"  marked numeric errors found       {share(f.found, f.numeric)}",
        ]
    )


def line(a: Alarm) -> str:
    note = " (an error of the text)" if a.error else ""
    return f"{a.id} step {a.step} [{a.place}]{note}: {a.around} — {a.reason}"


def load(path: Path) -> dict[tuple[str, int, int], Alarm]:
    """Saved alarms by row and place."""
    rows = (Alarm(**json.loads(x)) for x in lines_of(path))
    return {(a.id, a.step, a.span[1]): a for a in rows}


def compare(old: Path, new: Path) -> Iterator[str]:
    """Which alarms went and which came: on correct text, and at the marked steps."""
    before, after = load(old), load(new)
    for name, places in (("on correct text", ("correct", "before")), ("at a marked step", ("at",))):
        gone = [a for k, a in before.items() if k not in after and a.place in places]
        came = [a for k, a in after.items() if k not in before and a.place in places]
        kept = sum(k in before and a.place in places for k, a in after.items())
        yield f"{name}: {len(gone)} went, {len(came)} came, {kept} stayed"
        yield from (f"  - {line(a)}" for a in gone)
        yield from (f"  + {line(a)}" for a in came)


def paths(given: Iterable[Path]) -> list[Path]:
    """The files to read; those that are absent are said in one line each."""
    found = []
    for path in given:
        if path.is_file():
            found.append(path)
        else:
            print(f"{path.name} is not there: left out")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure check on labelled traces.")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--alarms", type=int, default=0, help="print so many alarms on correct text of each file")
    parser.add_argument("--misses", type=int, default=0, help="print so many numeric errors that were not found")
    parser.add_argument("--save", type=Path, help="write every FALSE claim to this file")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("OLD", "NEW"), help="two files of --save")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON rows")
    args = parser.parse_args()
    if args.compare:
        print("\n".join(compare(*args.compare)))
        return
    every: list[Alarm] = []
    for path in paths(args.files or [DATA / f"{n}.jsonl" for n in ("olympiadbench", "omnimath", "aqua")]):
        figures, alarms, missed = measure(path)
        every += alarms
        print(json.dumps(asdict(figures)) if args.json else report(figures), flush=True)
        for a in [a for a in alarms if a.place in ("correct", "before")][: args.alarms]:
            print("  " + line(a))
        for row in missed[: args.misses]:
            print(f"  missed {row['id']} step {row['want']}: {' '.join(row['steps'][row['want'] - 1].split())}")
    if args.save:
        args.save.write_text("".join(json.dumps(asdict(a)) + "\n" for a in every), encoding="utf-8")


if __name__ == "__main__":
    main()

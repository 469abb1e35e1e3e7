"""GSM8K (Cobbe et al. 2021, MIT): grade-school word problems with worked solutions, from files or the hub.

The calculator notes `<<48/2=24>>` are taken out, each line is a step, and the answer stands after `####`.
"""

import re
from pathlib import Path
from typing import Any

from everystep.core.types import Kind, Task, task_id
from everystep.data.jsonl import hub_rows, read_rows, text_of

HUB = "openai/gsm8k"

_NOTE = re.compile(r"<<[^<>\n]*>>")
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def load(path: str | None) -> list[Task]:
    """All tasks with the splits that the data has: "train" and "test", from a folder with train.jsonl and
    test.jsonl (one may be absent), or from the hub without a path.

    A single file has the split that its name says ("train" or "test" in it), else "" (see `data.sources`).
    Raises ValueError, one line, for files that cannot be read and for a hub that cannot be reached.
    """
    if path is None:
        return [
            task_of(row, where, split)
            for split, where, row in hub_rows("gsm8k", HUB, "main", "a folder with train.jsonl and test.jsonl")
        ]
    place = Path(path)
    if place.is_dir():
        files = {split: place / f"{split}.jsonl" for split in ("train", "test")}
        present = {split: file for split, file in files.items() if file.is_file()}
        if not present:
            raise ValueError(f"data.gsm8k.path: {place} holds neither train.jsonl nor test.jsonl")
    else:
        present = {next((s for s in ("train", "test") if s in place.stem.lower()), ""): place}
    return [task_of(row, where, split) for split, file in present.items() for where, row in read_rows(file)]


def task_of(row: dict[str, Any], where: str, split: str) -> Task:
    """One row as a task. Raises ValueError, naming `where`, for a row that is not of GSM8K's form."""
    question = text_of(row.get("question"), "question", where)
    work, mark, answer = text_of(row.get("answer"), "answer", where).rpartition("####")
    answer = answer.strip()
    if not mark or not answer:
        raise ValueError(f'{where}: "answer" must end in a line "#### <number>"')
    if _THOUSANDS.fullmatch(answer):
        answer = answer.replace(",", "")
    lines = (_NOTE.sub("", line).strip() for line in work.split("\n"))
    return Task(
        id=task_id("gsm8k", question, answer),
        domain="math",
        question=question,
        answer=answer,
        kind=Kind.NUMBER,
        source="gsm8k",
        split=split,
        solution=tuple(line for line in lines if line) or None,
    )

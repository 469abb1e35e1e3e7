"""The rewards, measured: completions a second on one core, memory over many rows, and the attack suite beside
structure rewards as other projects have them.

    python bench/rewards.py [--completions 4000] [--rows 20000] [--tasks 20]

Speed: groups of eight completions of distinct worked tasks (right, wrong, with slips, padded, malformed), and
where the public data is, GSM8K's test solutions; grading and scoring are timed apart, each text once. Memory:
rows of `everystep score`, made as they are read; the process's peak after a tenth of them and after all.

The other structure rewards are written here from their projects' descriptions, not copied: what open-r1's
"reasoning steps" reward, TRL's "think format" reward and a published counter of lines and transition words
are said to count.
"""

import argparse
import json
import re
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from everystep.core.recipe import WorkedSource
from everystep.core.trace import gold, render
from everystep.core.types import Completion, Graded, Reward, Task
from everystep.data.gsm8k import load as gsm8k
from everystep.data.sources import SOURCES
from everystep.score.attacks import Honest, honest, suite, written
from everystep.score.attacks import hacks as all_hacks
from everystep.score.files import score_file
from everystep.score.groups import score_groups
from everystep.score.mix import Mix, read_mix
from everystep.score.structure import looping, structure
from everystep.verify.grade import grade

GROUP = 8


def worked(count: int, seed: int) -> list[Honest]:
    tasks: list[Task] = SOURCES["worked"](WorkedSource(test=max(60, count)), "test", seed)
    return [h for t in tasks if (h := honest(t)) is not None][:count]


def groups(tasks: Sequence[Honest]) -> list[list[tuple[Task, Completion]]]:
    """Eight completions for each task, as a policy in training may write them."""
    some = [h for h in all_hacks() if len(h.lines) < 12][:: max(1, len(all_hacks()) // 20)]
    out = []
    for i, task in enumerate(tasks):
        honest_ones = [task.right, task.right, task.wrong, task.slip or task.wrong]
        texts = [g.completion.text for g in honest_ones]
        texts += [written(some[(i + k) % len(some)], task) for k in range(GROUP - len(texts))]
        own = [Completion(task.task.id, k, text, (0,) * (len(text) // 3)) for k, text in enumerate(texts)]
        out.append([(task.task, c) for c in own])
    return out


def speed(name: str, made: Sequence[Sequence[tuple[Task, Completion]]]) -> None:
    count = sum(map(len, made))
    began = time.process_time()
    graded = [[grade(t, c) for t, c in group] for group in made]
    grading = time.process_time() - began
    words = sum(len(c.text.split()) for group in made for _, c in group) / count
    print(f"{name}: {count} completions, {words:.0f} words each; graded at {count / grading:,.0f}/s")
    for preset in ("composite", "verified", "rubric"):
        mix = read_mix(preset)
        began = time.process_time()
        score_groups(graded, mix)
        scoring = time.process_time() - began
        print(f"  {preset:<10} scored at {count / scoring:>7,.0f}/s, graded and scored at "
              f"{count / (grading + scoring):>6,.0f}/s")  # fmt: skip


def of_gsm8k(folder: Path, count: int) -> list[list[tuple[Task, Completion]]]:
    """GSM8K's own solutions, eight times each with another last digit, so that none occurs twice."""
    out = []
    for task in [t for t in gsm8k(str(folder)) if t.split == "test"][: count // GROUP]:
        if not task.solution:
            continue
        text = render(gold(task))
        texts = [text, *(text.replace("Step 1:", f"Step 1: Part {k} first.", 1) for k in range(1, GROUP))]
        out.append([(task, Completion(task.id, k, t, (0,) * (len(t) // 4))) for k, t in enumerate(texts)])
    return out


def gold_values(folder: Path) -> None:
    """What the parts give to all of GSM8K's own solutions."""
    solved = [t for t in gsm8k(str(folder)) if t.solution]
    made = [grade(t, Completion(t.id, 0, render(gold(t)))) for t in solved]
    values = [v for g in made if (v := structure(g)) is not None]
    print(
        f"GSM8K's own solutions, {len(made)}: repetition refuses {sum(map(looping, made))}; structure "
        f"{sum(values) / len(values):.2f} on average"
    )


def rows(count: int) -> Iterator[str]:
    """Rows of distinct questions in groups of eight, half of them right."""
    for i in range(count):
        g, k = divmod(i, GROUP)
        a, b = 12 + g % 89_001, 3 + g // 97 % 97
        answer = a * b + (0 if k % 2 else k)
        text = (
            f"<reasoning>\nStep 1: {a} boxes with {b} pens each hold {a} * {b} = {answer} pens.\n"
            f"Therefore, {answer} pens.\n</reasoning>\n<answer>{answer}</answer>"
        )
        row = {
            "id": i,
            "group": g,
            "question": f"How many pens do {a} boxes of {b} hold?",
            "gold": str(a * b),
        }
        yield json.dumps(row | {"completion": text})


def memory(count: int) -> None:
    mix, marks = read_mix("composite"), {}
    began, tenth = time.process_time(), count // 10
    for i, _ in enumerate(score_file(rows(count), mix), 1):
        if i in (tenth, count):
            marks[i] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = time.process_time() - began
    first, last = marks[tenth], marks[count]
    print(
        f"{count:,} rows scored from lines of JSON at {count / took:,.0f}/s; peak memory {first:.0f} MiB "
        f"after {tenth:,}, {last:.0f} MiB after all"
    )


# What other structure rewards are said to count


def marks_and_bullets(graded: Graded) -> float | None:
    """open-r1, "reasoning steps": marks `Step N:`, numbered lines, bullets and words such as First, Next,
    Finally are counted; three are enough."""
    found = re.findall(
        r"step \d+:|^\s*\d+\.|\n[-*]|\b(?:first|second|next|finally),", graded.completion.text, re.I | re.M
    )
    return min(1.0, len(found) / 3)


def tags_in_place(graded: Graded) -> float | None:
    """TRL, "think format": 1 if the reasoning block comes first, then the answer, whatever they hold."""
    return float(
        re.match(r"^<reasoning>.*?</reasoning>\s*<answer>.*?</answer>$", graded.completion.text, re.S) is not None
    )


def lines_and_words(graded: Graded) -> float | None:
    """A counter as published for this task: up to five lines, up to five words of transition anywhere."""
    text = graded.completion.text.lower()
    lines = sum(bool(line.strip()) for line in text.split("\n"))
    words = sum(text.count(w) for w in ("first", "then", "so", "therefore", "because", "next", "finally"))
    return 0.5 * min(1.0, lines / 5) + 0.5 * min(1.0, words / 5)


def side_by_side(tasks: Sequence[Honest]) -> None:
    alone: dict[str, Reward] = {
        "open-r1 style: marks, bullets, words": marks_and_bullets,
        "TRL style: tags in place": tags_in_place,
        "lines and transition words": lines_and_words,
        "everystep: structure": structure,
    }
    print(f"\n{'reward':<38} {'hacks above':>11} {'as high':>8}   honest right  wrong  best hack (wrong answer)")
    names: list[tuple[str, Mix]] = [(n, Mix({"own": 1.0}, parts={"own": f})) for n, f in alone.items()]
    names += [(f"mix: {n}", read_mix(n)) for n in ("composite", "rubric", "verified")]
    for name, mix in names:
        results = [r for r in suite(tasks, mix) if r.hack.bar == "wrong"]
        best = max(results, key=lambda r: r.total)
        above = sum(r.outranked > 0 for r in results)
        level = sum(abs(r.margin) < 1e-9 for r in results)
        right, wrong = (_mean(tasks, mix, which) for which in (lambda t: t.right, lambda t: t.wrong))
        print(f"{name:<38} {above:>5} of {len(results)} {level:>8}   {right:>12.2f} {wrong:>6.2f}  "
              f"{best.total:.2f} {best.hack.name}")  # fmt: skip


def _mean(tasks: Sequence[Honest], mix: Mix, which: Callable[[Honest], Graded]) -> float:
    totals = [score_groups([[which(t)]], mix)[0][0].total or 0.0 for t in tasks]
    return sum(totals) / len(totals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=4_000)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--gsm8k", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "gsm8k")
    given = parser.parse_args()
    speed("worked tasks", groups(worked(given.completions // GROUP, 0)))
    if given.gsm8k.is_dir():
        speed("GSM8K test", of_gsm8k(given.gsm8k, given.completions))
        gold_values(given.gsm8k)
    else:
        print("GSM8K test: not there, left out")
    memory(given.rows)
    side_by_side(worked(given.tasks, 1))


if __name__ == "__main__":
    main()

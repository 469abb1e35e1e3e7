"""Speed side by side: our rollout, GRPO step, SFT step and evaluation against Tunix's own, those of
transformers and peft, and TRL's.

    python bench/speed.py [RUN] [--only rollout,grpo] [--repeats 5] [--without trl] [--json FILE]

RUN is a finished run of recipes/tiny.yaml (`make run`; runs/tiny without): its trained policy, merged and
exported, is the checkpoint that every contender loads, so that completions have the lengths that a trained
policy gives them; its dev tasks are the prompts. Where a case says "to the end" nothing ends a completion.
Each contender is a process of its own, warmed up first; the repeats are interleaved, one contender at a time,
the others idle. All get the allocator's settings that the command gives itself (`everystep/__main__.py`).
Printed are medians of seconds with the least and the most, and ratios of medians; nothing is compared over
two invocations. What needs torch runs in an environment of its own (`make build/trl/.ready`).

What the contenders do is in `bench/contenders/`; each says in its docstring what it was given that it need
not have had, and what it does not do.
"""

import argparse
import json
import os
import platform
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from contenders.worker import Done, Spec

from everystep.__main__ import ALLOCATOR
from everystep.core.record import task_row
from everystep.core.run import Run, read_run
from everystep.core.trace import prompt
from everystep.model.tokenizer import load_tokenizer
from everystep.train.policies import tasks_of
from everystep.train.sft import examples

HERE = Path(__file__).parent
OWN = Path(sys.executable)
TRL = HERE.parent / "build" / "trl" / "bin" / "python"  # `make build/trl/.ready`
PEERS = {  # what a contender is called: its file, its interpreter
    "everystep": ("ours.py", OWN),
    "tunix": ("tunix_stock.py", OWN),
    "transformers": ("hugging_face.py", TRL),
    "trl": ("trl_grpo.py", TRL),
}
AGAINST = {  # who has what
    "rollout": ("everystep", "tunix", "transformers"),
    "evaluate": ("everystep", "transformers"),
    "grpo": ("everystep", "tunix", "trl"),
    "sft": ("everystep", "tunix", "transformers"),
}
GOALS = {"rollout": (3.0, 1.3), "evaluate": (4.0, None), "grpo": (2.5, 1.2), "sft": (1.5, None)}


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: the spread of lengths that the policy has, or every row to the end."""

    kind: str
    worst: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}, to the end" if self.worst else self.kind

    @property
    def goal(self) -> float | None:
        return GOALS[self.kind][self.worst]


CASES = (
    Case("rollout"),
    Case("rollout", worst=True),
    Case("grpo"),
    Case("grpo", worst=True),
    Case("sft"),
    Case("evaluate"),
)
PROMPTS, GROUP, MAX_TOKENS = 16, 8, 256  # the trained policy writes about a third of this
WORST_TOKENS = 128
EVALUATED = 512
PATIENCE = 600  # seconds for one word of a contender


def spec(run: Run, folder: Path, case: Case, prompts: int = PROMPTS) -> Spec:
    """The work of a case, from the run's dev tasks and worked examples."""
    tokenizer = load_tokenizer(folder)
    worked = examples(tasks_of(run, "sft")[:512], tokenizer, "none")
    count = EVALUATED if case.kind == "evaluate" else prompts
    asked = {prompt(t).text: t for t in [*tasks_of(run, "dev"), *tasks_of(run, "train_worked")]}
    texts = list(asked)[:count]
    return Spec(
        kind=case.kind,
        model=str(folder),
        prompts=[tokenizer.encode_prompt(text) for text in texts],
        texts=texts,
        tasks=[task_row(asked[text]) for text in texts],
        group=1 if case.kind == "evaluate" else GROUP,
        max_tokens=WORST_TOKENS if case.worst else MAX_TOKENS,
        temperature=0.0 if case.kind == "evaluate" else 0.7,
        pad=tokenizer.pad,
        ends=[] if case.worst else list(tokenizer.ends),
        rank=16,
        alpha=32.0,
        learning_rate=1e-6,  # so small that the policy, and with it the lengths, stay what they are
        beta=0.02,
        epsilon=0.2,
        micro=32,
        examples=[[e.prompt, e.completion] for e in worked],
        batch=512 if case.kind == "evaluate" else 16,
        steps=len(worked) // 16 if case.kind == "sft" else 1,  # whole epochs: ours sorts rows by length
    )


class Contender:
    """A process that does a spec's work on demand; `more` goes into its environment."""

    def __init__(self, name: str, given: Path, log: Path, more: Mapping[str, str] = MappingProxyType({})):
        file, python = PEERS[name]
        self.name, self.log = name, log
        env = {**os.environ, "PYTHONPATH": str(HERE.parent / "src"), "GLIBC_TUNABLES": ALLOCATOR, **more}
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [str(python), str(HERE / "contenders" / file), str(given)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=env,
            )
        self.about: dict[str, str] = self.read()["about"]

    def read(self) -> Any:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"{self.name} ended, or said nothing for long: {self.log.read_text()[-2000:]}")
        return json.loads(line)

    def go(self) -> Any:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def contest(run: Run, folder: Path, case: Case, names: Sequence[str], repeats: int, scratch: Path) -> dict[str, Any]:
    """The repeats of a case, by contender."""
    given = scratch / f"{case.kind}-{case.worst}.json"
    given.write_text(json.dumps(spec(run, folder, case)))
    contenders: list[Contender] = []
    try:
        for name in names:  # one after the other: warming up side by side would be neither fast nor fair
            contenders.append(Contender(name, given, scratch / f"{name}.log"))
        rows: dict[str, list[Any]] = {name: [] for name in names}
        for _ in range(repeats):
            for contender in contenders:
                rows[contender.name].append(contender.go())
        return {c.name: {"about": c.about, "repeats": rows[c.name]} for c in contenders}
    finally:
        for contender in contenders:
            contender.close()


def table(case: Case, result: dict[str, Any]) -> list[str]:
    """The case's rows: seconds (least to most), completion tokens a second, and how many times ours."""
    ours = statistics.median(r["seconds"] for r in result["everystep"]["repeats"])
    lines = []
    for name, one in result.items():
        seconds = [r["seconds"] for r in one["repeats"]]
        done: list[Done] = one["repeats"]
        rate = statistics.median(d["tokens"] / s for d, s in zip(done, seconds, strict=True))
        mean = statistics.mean(d["tokens"] / d["rows"] for d in done)
        ratio = "" if name == "everystep" else f"{statistics.median(seconds) / ours:.2f}x"
        goal = "" if name == "everystep" or case.goal is None else f"goal {case.goal}"
        lines.append(
            f"{case.name:20} {name:13} {statistics.median(seconds):7.2f} s"
            f" ({min(seconds):.2f} to {max(seconds):.2f})  {rate:7.0f} tokens/s"
            f"  mean length {mean:5.1f}  {ratio:>7} {goal}"
        )
    return lines


def exported(run: Path, scratch: Path) -> Path:
    """The run's trained policy as a Hugging Face folder."""
    command = [OWN, "-m", "everystep", "export", run, "--format", "hf", "--out", scratch / "export", "--quiet"]
    subprocess.run([str(c) for c in command], check=True)
    return scratch / "export" / "hf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/tiny"))
    parser.add_argument("--only", help="kinds, comma-separated")
    parser.add_argument("--without", default="", help="contenders to leave out, comma-separated")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; {given.repeats} repeats",
        flush=True,
    )
    kinds = given.only.split(",") if given.only else list(AGAINST)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        checkpoint = exported(given.run, scratch)
        run = read_run(given.run)
        for case in CASES:
            if case.kind not in kinds:
                continue
            names = [n for n in AGAINST[case.kind] if n not in given.without.split(",")]
            began = time.perf_counter()
            results[case.name] = contest(run, checkpoint, case, names, given.repeats, scratch)
            print("\n".join(table(case, results[case.name])), flush=True)
            print(f"{'':20} ({time.perf_counter() - began:.0f} s with loading and warming up)", flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

"""Preflight on the shipped tiny Gemma: a healthy recipe has nothing red, and each planted fault turns
exactly the right finding red, for the right reason. Faults are planted where they would really be: in files,
in samplers, in the recipe, in a stage; what they touch is measured again."""

import importlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everystep.core.files import write_json, write_jsonl
from everystep.core.recipe import Recipe
from everystep.core.recipe import load as load_recipe
from everystep.core.record import task_row
from everystep.core.run import open_run
from everystep.core.trace import gold, prompt, render
from everystep.core.types import Completion, Prompt, Sampler, Sampling, Task
from everystep.data.jsonl import load as load_rows
from everystep.forecast import measure as models
from everystep.forecast import texts
from everystep.forecast.findings import Finding, Findings, Light
from everystep.forecast.measured import Measured, Tasks
from everystep.forecast.preflight import Effort, judged, measure, preflight
from everystep.model.io.load import TINY
from everystep.model.lora import adapter, load_adapter, save_adapter, set_adapter
from everystep.model.tokenizer import load_tokenizer
from fakes import ScriptedSampler
from judge_server import Reply, serving, sound_reply
from model_fixtures import TUNIX

pytestmark = [*TUNIX, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "data.worked.train=200",
    "data.worked.dev=40",
    "data.worked.test=60",
    "sft.traces=64",
    "sft.epochs=1",
    "grpo.steps=4",
    "grpo.prompts=8",
    "grpo.group=4",
    "grpo.micro_prompts=8",
    "grpo.eval_every=2",
)
EFFORT = Effort(prompts=16, samples=8)
ALL = {
    *(
        "data",
        "reward",
        "judge",
        "prompts",
        "stop tokens",
        "chat template",
        "prompt length",
        "completion length",
    ),
    *(
        "log-probabilities",
        "sampler noise",
        "temperature",
        "dead groups",
        "learning rates",
        "beta",
        "batches",
    ),
    *("data amount", "evaluation size", "hours", "disk", "memory", "devices"),
}


def recipe(*overrides: str) -> Recipe:
    return load_recipe(ROOT / "recipes" / "tiny.yaml", [*SMALL, *overrides])


RECIPE = recipe()


@dataclass(frozen=True)
class Healthy:
    """What the measurements of a recipe without faults are, and what they were made of."""

    measured: Measured
    policy: models.Start
    tasks: Tasks
    some: list[Task]
    sampler: Sampler
    seconds: float


@pytest.fixture(scope="module")
def healthy() -> Healthy:
    began = time.process_time()
    found = measure(RECIPE, effort=EFFORT)
    seconds = time.process_time() - began
    policy = models.start(RECIPE, None)
    tasks, _ = texts.read_data(RECIPE, None, policy.tokenizer, lambda line: None, time.perf_counter)
    some = models.some_tasks(RECIPE, tasks, 4)
    return Healthy(found, policy, tasks, some, models.sampler_of(policy), seconds)


def only_red(found: Findings) -> Finding:
    """The one red finding."""
    assert len(found.red) == 1, [(f.name, f.measured) for f in found.red]
    return found.red[0]


def test_a_healthy_recipe_has_nothing_red(healthy: Healthy) -> None:
    found = judged(RECIPE, healthy.measured)
    assert {f.name for f in found.found} == ALL and not found.red
    assert healthy.seconds < 240  # of the two cores together, compilation included
    lights = {f.name: f.light for f in found.found}
    # Why these are amber: the base is measured, and 60 tasks show little. Nothing else may be.
    assert {name for name, light in lights.items() if light is Light.AMBER} <= {
        "evaluation size",
        "dead groups",
    }
    figures = {f.name: f.figures for f in found.found}
    assert figures["log-probabilities"]["worst"] < 1e-3 and figures["log-probabilities"]["tokens"] > 100
    assert figures["log-probabilities"]["in_loss"] < 1e-3
    assert figures["sampler noise"] == {"prompts": 4, "differ": 4, "repeated": 4, "moved": 4}
    assert figures["hours"]["needed"] > 0 and figures["hours"]["steps"]["grpo"][1] > 0
    assert figures["data"]["checked"] == 64 + 40 + 60
    assert figures["dead groups"]["dead"]["4"]["value"] > figures["dead groups"]["dead"]["8"]["value"]
    json.dumps(found.to_json(), allow_nan=False)


def test_what_is_measured_leaves_the_policy_as_it_was(healthy: Healthy) -> None:
    before = adapter(healthy.policy.model)
    models.agreement(healthy.policy, healthy.sampler, healthy.some, RECIPE, 8)
    after = adapter(healthy.policy.model)
    assert all((before[name] == after[name]).all() for name in before)
    assert not any(after[name].any() for name in after if name.endswith("_lora_b"))


# Faults in the checkpoint's folder


def planted(tmp_path: Path, file: str, change: Callable[[bytes], bytes]) -> Path:
    """The tiny model's folder with one file changed (or made)."""
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    at = folder / file
    at.write_bytes(change(at.read_bytes() if at.exists() else b"{}"))
    return folder


def config(**values: Any) -> Callable[[bytes], bytes]:
    return lambda old: json.dumps(json.loads(old) | values).encode()


def swapped(old: bytes) -> bytes:
    """A tokenizer in which <end_of_turn> and an unused piece have changed places."""
    module: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    proto = module.ModelProto()
    proto.ParseFromString(old)
    by_name = {p.piece: p for p in proto.pieces}
    turn, other = by_name["<end_of_turn>"], by_name["<unused7>"]
    turn.piece, other.piece = other.piece, turn.piece
    return proto.SerializeToString()


def in_folder(healthy: Healthy, folder: Path) -> Measured:
    """The measurements with those repeated that read the folder."""
    tokenizer, tasks = load_tokenizer(folder), [*healthy.tasks.sft]
    return replace(
        healthy.measured,
        ends=texts.ends(tasks, tokenizer, "none", folder),
        template=texts.template(tasks, "none", folder),
        lengths=texts.lengths(healthy.tasks, tokenizer, "none", folder),
        prompts=texts.prompts_by_stage(tasks, tokenizer, RECIPE),
    )


@pytest.mark.parametrize(
    ("file", "change", "name", "reason"),
    [
        ("tokenizer.model", swapped, "stop tokens", "config.json ends completions with [106]"),
        ("config.json", config(eos_token_id=[1, 107]), "stop tokens", "ends completions with [107]"),
        (
            "generation_config.json",
            config(eos_token_id=[1, 107]),
            "stop tokens",
            "generation_config.json ends",
        ),
        ("config.json", config(bos_token_id=3), "stop tokens", "prompts begin with 2, the checkpoint with 3"),
        ("config.json", config(pad_token_id=5), "stop tokens", "padding is 0 for the tokenizer and 5"),
        (
            "config.json",
            config(max_position_embeddings=150),
            "prompt length",
            "more than the checkpoint's 150",
        ),
        (
            "tokenizer_config.json",
            config(chat_template="{{ bos_token }}[INST] {{ messages[0]['content'] }} [/INST]"),
            "chat template",
            "tokenizer_config.json: 16 of 16 prompts differ",
        ),
    ],
)
def test_a_fault_in_the_checkpoint(
    healthy: Healthy, tmp_path: Path, file: str, change: Callable[[bytes], bytes], name: str, reason: str
) -> None:
    found = only_red(judged(RECIPE, in_folder(healthy, planted(tmp_path, file, change))))
    assert found.name == name and reason in found.measured


def test_gemmas_own_template_is_ours(healthy: Healthy, tmp_path: Path) -> None:
    """The template that Gemma 3 ships, shortened to texts: byte by byte what `trace.prompt` makes. A
    checkpoint that was only pre-trained does not know the end of turn: amber, for SFT teaches it."""
    template = (
        "{{ bos_token }}{%- for message in messages -%}{%- if (message['role'] == 'assistant') -%}"
        "{%- set role = 'model' -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}"
        "{{ '<start_of_turn>' + role + '\n' + (message['content'] | trim) + '<end_of_turn>\n' }}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
    )
    folder = planted(tmp_path, "chat_template.jinja", lambda old: template.encode())
    (folder / "config.json").write_bytes(config(eos_token_id=1)((folder / "config.json").read_bytes()))
    for instruction in ("none", "format"):
        made = texts.template(healthy.some, instruction, folder)
        assert made.file == "chat_template.jinja" and made.asked == 4 and made.differ == 0
    found = {f.name: f for f in judged(RECIPE, in_folder(healthy, folder)).found}
    assert found["chat template"].light is Light.GREEN
    assert found["stop tokens"].light is Light.AMBER and "does not know [106]" in found["stop tokens"].measured


def test_a_model_that_is_not_there() -> None:
    found = preflight(recipe("model.name=nowhere"), effort=EFFORT)
    assert only_red(found).name == "model" and "'nowhere'" in found.red[0].measured
    rest = {f.name: f for f in found.found}
    assert rest["dead groups"].light is Light.AMBER and rest["dead groups"].measured.startswith("not measured")
    assert rest["beta"].light is Light.GREEN  # what needs no model is said all the same


# Faults in the data


def write_tasks(path: Path, tasks: Sequence[Task], answer: Callable[[int, Task], str]) -> None:
    rows = [
        {
            "prompt": t.question,
            "answer": answer(i, t),
            "reasoning": "\n".join(t.solution or ()),
            "kind": t.kind.value,
        }
        | ({"unit": t.unit} if t.unit else {})
        for i, t in enumerate(tasks)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_gold_that_cannot_be_read(healthy: Healthy, tmp_path: Path) -> None:
    """A file whose answers are no answers ("see above" for a number) in every third row."""
    numbers = [t for t in healthy.tasks.sft if t.kind.value == "number"]
    assert len(numbers) >= 12
    write_tasks(tmp_path / "bad.jsonl", numbers, lambda i, t: "see above" if i % 3 == 0 else t.answer)
    assert load_rows(tmp_path / "bad.jsonl")
    source = f"data={{jsonl: {{path: '{tmp_path / 'bad.jsonl'}', dev: 4}}}}"
    found = preflight(recipe(source), effort=EFFORT)
    assert only_red(found).name == "data" and "gold is not right for its own grader" in found.red[0].measured


def test_gold_that_fails_in_the_runs_own_files(healthy: Healthy, tmp_path: Path) -> None:
    """The test set of a run, with a step of one solution changed on disk."""
    with open_run(tmp_path / "run", RECIPE) as run:
        test = list(healthy.tasks.test)
        test[5] = replace(test[5], solution=("2 + 2 = 5.", *(test[5].solution or ())))
        for name, tasks in (
            ("train_worked", healthy.tasks.train["worked"]),
            ("sft", healthy.tasks.sft),
            ("dev", healthy.tasks.dev),
            ("test", test),
        ):
            write_jsonl(run.data / f"{name}.jsonl", [task_row(t) for t in tasks])
        write_json(run.data / "dropped.json", {})
        run.mark_done("data")
        _, data = texts.read_data(RECIPE, run, healthy.policy.tokenizer, lambda line: None, time.perf_counter)
    found = only_red(judged(RECIPE, replace(healthy.measured, data=data)))
    assert found.name == "data" and "1 fail: the gold solution of task" in found.measured
    assert "'2 + 2 = 5', which is false" in found.measured


def test_a_prompt_that_differs_between_stages(healthy: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    """GRPO's module makes its prompts with a space too many."""

    def spaced(task: Task, instruction: str = "none") -> Prompt:
        return Prompt(task.id, prompt(task, instruction).text + " ")

    monkeypatch.setattr("everystep.train.groups.prompt", spaced)
    made = texts.prompts_by_stage(healthy.tasks.sft, healthy.policy.tokenizer, RECIPE)
    found = only_red(judged(RECIPE, replace(healthy.measured, prompts=made)))
    assert found.name == "prompts" and "sft and grpo ask differently" in found.measured


# Faults of samplers


@dataclass(frozen=True)
class Faulty:
    """A sampler between the policy and everybody else, with a fault."""

    inner: Sampler
    fault: Callable[[Sampler, Sequence[Prompt], int, Sampling], list[list[Completion]]]

    def sample(self, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
        return self.fault(self.inner, prompts, n, how)


def constant_seed(inner: Sampler, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
    return inner.sample(prompts, n, replace(how, seed=0))


def shared_noise(inner: Sampler, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
    return [[g[0]] * n for g in inner.sample(prompts, n, how)]


def seed_of_a_counter() -> Callable[[Sampler, Sequence[Prompt], int, Sampling], list[list[Completion]]]:
    calls: list[int] = []

    def sample(inner: Sampler, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
        calls.append(0)
        return inner.sample(prompts, n, replace(how, seed=how.seed + len(calls)))

    return sample


@pytest.mark.parametrize(
    ("fault", "suggestion"),
    [
        (constant_seed, "the seed is not used"),
        (shared_noise, "share their noise"),
        (seed_of_a_counter(), "not a function of the seed"),
    ],
    ids=["constant seed", "shared noise", "a counter"],
)
def test_a_sampler_whose_noise_is_wrong(
    healthy: Healthy,
    fault: Callable[[Sampler, Sequence[Prompt], int, Sampling], list[list[Completion]]],
    suggestion: str,
) -> None:
    sampler = Faulty(healthy.sampler, fault)
    sampled, _ = models.samples(sampler, healthy.some, RECIPE, 8, True, time.perf_counter)
    m = replace(healthy.measured, noise=models.noise(sampler, healthy.some, RECIPE, 8))
    if fault is shared_noise:  # what the samples look like then points to the sampler, not to the temperature
        m = replace(m, samples=sampled)
    found = only_red(judged(RECIPE, m))
    assert found.name == "sampler noise" and suggestion in found.suggestion


def test_a_sampler_at_another_temperature_than_the_trainer(healthy: Healthy) -> None:
    def hotter(inner: Sampler, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
        return inner.sample(prompts, n, replace(how, temperature=how.temperature * 1.3))

    sampler = Faulty(healthy.sampler, hotter)
    made = models.agreement(healthy.policy, sampler, healthy.some, RECIPE, 8)
    found = only_red(judged(RECIPE, replace(healthy.measured, agreement=made)))
    assert found.name == "log-probabilities" and found.figures["p99"] > 0.19


def test_a_sampler_that_has_not_the_trainers_adapter(healthy: Healthy) -> None:
    """The sampler's adapter at half its size: invisible while B is zero, which is why it is moved first."""

    def halved(inner: Sampler, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
        model = healthy.policy.model
        whole = adapter(model)
        try:
            set_adapter(model, {name: x / 2 if name.endswith("_b") else x for name, x in whole.items()})
            return inner.sample(prompts, n, how)
        finally:
            set_adapter(model, whole)

    made = models.agreement(healthy.policy, Faulty(healthy.sampler, halved), healthy.some, RECIPE, 8)
    found = only_red(judged(RECIPE, replace(healthy.measured, agreement=made)))
    assert found.name == "log-probabilities"


def test_log_probabilities_that_are_not_there(healthy: Healthy) -> None:
    def silent(inner: Sampler, prompts: Sequence[Prompt], n: int, how: Sampling) -> list[list[Completion]]:
        return [[replace(c, logprobs=None) for c in g] for g in inner.sample(prompts, n, how)]

    made = models.agreement(healthy.policy, Faulty(healthy.sampler, silent), healthy.some, RECIPE, 8)
    assert only_red(judged(RECIPE, replace(healthy.measured, agreement=made))).name == "log-probabilities"


def test_a_temperature_near_zero(healthy: Healthy) -> None:
    cold = recipe("grpo.temperature=0.001")
    sampled, _ = models.samples(healthy.sampler, healthy.some, cold, 8, True, time.perf_counter)
    found = only_red(judged(cold, replace(healthy.measured, samples=sampled)))
    assert found.name == "temperature" and "100%" in found.measured


# Policies that have nothing to learn


@pytest.mark.parametrize(
    ("answer", "suggestion"),
    [("right", "harder ones"), ("wrong", "easier tasks, or more SFT")],
)
def test_data_that_are_all_solved_or_never(healthy: Healthy, answer: str, suggestion: str) -> None:
    roomy = recipe("grpo.max_tokens=2000")  # a token of the scripted sampler is a character
    tasks = list(healthy.tasks.sft[:12])
    others = {t.id: tasks[(i + 1) % 12] for i, t in enumerate(tasks)}
    by_id = {t.id: t for t in tasks}

    def script(asked: Prompt, sample: int) -> str:
        text = render(gold(by_id[asked.task_id] if answer == "right" else others[asked.task_id]))
        return text.replace("Step 1: ", f"Step 1: {'Well, ' * sample}")  # texts differ, what they earn does not

    sampled, _ = models.samples(ScriptedSampler(script), tasks, roomy, 8, True, time.perf_counter)
    assert sampled.rates == [1.0 if answer == "right" else 0.0] * 12
    m = replace(healthy.measured, samples=sampled)
    found = only_red(judged(roomy, replace(m, lengths=replace(m.lengths, positions=None) if m.lengths else None)))
    assert found.name == "dead groups" and suggestion in found.suggestion


# Faults in the recipe


@pytest.mark.parametrize(
    ("overrides", "name", "reason"),
    [
        (("grpo.max_tokens=32",), "completion length", "of gold is longer than grpo.max_tokens = 32"),
        (("evaluate.max_tokens=48",), "completion length", "longer than evaluate.max_tokens = 48"),
        (("hours=0.0005",), "hours", "of 0.0 min"),
        (("grpo.learning_rate=1.0",), "learning rates", "grpo.learning_rate 1"),
        (("grpo.beta=50.0",), "beta", "grpo.beta 50"),
        (("grpo.micro_prompts=3",), "batches", "3 prompts at a time"),
        (("grpo.steps=3000", "hours=1000"), "data amount", "GRPO draws 24000 of 199"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_recipe_that_cannot_work(healthy: Healthy, overrides: tuple[str, ...], name: str, reason: str) -> None:
    """The measurements of the healthy recipe, held against these values."""
    found = only_red(judged(recipe(*overrides), healthy.measured))
    assert found.name == name and reason in found.measured


def test_an_evaluation_that_shows_nothing(healthy: Healthy) -> None:
    few = recipe("data.worked.test=12")
    _, data = texts.read_data(few, None, healthy.policy.tokenizer, lambda line: None, time.perf_counter)
    found = only_red(judged(few, replace(healthy.measured, data=data)))
    assert found.name == "evaluation size" and found.measured.startswith("12 tasks")


@pytest.mark.parametrize(
    ("reward", "reason"),
    [
        ("{parts: {format: 1.0}}", "wrong 0, right 0"),
        ("{parts: {correctness: -1.0, format: 0.1}}", "right -1"),
        ("{preset: verfied}", "did you mean 'verified'"),
    ],
)
def test_a_reward_that_does_not_tell_right_from_wrong(healthy: Healthy, reward: str, reason: str) -> None:
    other = recipe(f"reward={reward}")
    probe = texts.probe(healthy.tasks.sft, other, healthy.policy.tokenizer)
    found = only_red(judged(other, replace(healthy.measured, probe=probe)))
    assert found.name == "reward" and reason in found.measured


def judge_finding(healthy: Healthy, other: Recipe) -> tuple[Findings, Finding]:
    asked = texts.ask_judge(other, texts.gold_of(healthy.tasks.sft, "none"), time.perf_counter)
    found = judged(other, replace(healthy.measured, judged=asked))
    return found, next(f for f in found.found if f.name == "judge")


def test_a_judge_that_is_needed(healthy: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing; not there any more (a port of loopback that was closed); failing its canaries; and a sound
    one."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found, judge = judge_finding(healthy, recipe("reward={preset: rubric}"))
    assert only_red(found) == judge and "no section judge" in judge.measured
    with serving(sound_reply) as server:
        url = server.url
        section = f"judge={{base_url: '{url}', model: stub, timeout: 5.0}}"
        asking = recipe("reward={preset: rubric}", section)
        found, judge = judge_finding(healthy, asking)
        assert judge.light is Light.GREEN and not found.red and server.asked
        before = len(server.asked)
        judge_finding(healthy, asking)
        assert len(server.asked) > before  # it is asked again, not looked up
    found, judge = judge_finding(healthy, asking)
    assert only_red(found) == judge
    praise = '{"rationale": "fine", "reasoning_quality": 5, "coherence": 5, "step_clarity": 5}'
    with serving(lambda request, before: Reply(praise)) as server:
        found, judge = judge_finding(healthy, recipe("reward={preset: rubric}", section.replace(url, server.url)))
        assert only_red(found) == judge and "canary" in judge.measured


# Faults of the place


def test_too_little_disk_and_eight_chips_on_one(healthy: Healthy) -> None:
    quick = Effort(prompts=4, samples=8, steps=False)
    found = preflight(RECIPE, effort=quick, free=1_000_000)
    assert only_red(found).name == "disk" and "of 1.0 MB free" in found.red[0].measured
    chips = measure(RECIPE, effort=quick, chips=8).chips
    found = judged(RECIPE, replace(healthy.measured, chips=chips))
    assert only_red(found).name == "devices" and "laid out for 8, 1 there" in found.red[0].measured


# A run


def test_a_run_is_measured_on_its_sft_policy(healthy: Healthy, tmp_path: Path) -> None:
    """The adapter that SFT left is what is sampled; preflight.json is written; and the run's recipe can
    still be mended, since nothing but a preflight has been done."""
    quick = Effort(prompts=4, samples=4, steps=False)
    with open_run(tmp_path / "run", RECIPE) as run:
        found = preflight(RECIPE, run, effort=quick)
        assert found.stage == "base"
        assert json.loads(run.preflight.read_text()) == json.loads(json.dumps(found.to_json()))
    with open_run(tmp_path / "run", recipe("grpo.beta=0.1")) as run:
        arrays = adapter(healthy.policy.model)
        random = np.random.default_rng(0)  # an adapter that spoils whatever the base could do
        arrays = {k: v + random.normal(0, 0.5, v.shape).astype(v.dtype) for k, v in arrays.items()}
        run.adapter("sft").parent.mkdir(parents=True)
        save_adapter(run.adapter("sft"), arrays, {})
        start = models.start(RECIPE, run)
        assert start.stage == "sft" and start.ready
        kept, _ = load_adapter(run.adapter("sft"))
        assert all((adapter(start.model)[name] == kept[name]).all() for name in kept)
        found = preflight(recipe("grpo.beta=0.1"), run, effort=quick)
    assert found.stage == "sft" and "right for a forgiving reader" not in str(found.to_json())
    figures = next(f.figures for f in found.found if f.name == "dead groups")
    assert figures["pass_rate"] == 0 and figures["stage_is_where_grpo_starts"]


def test_a_base_that_grpo_starts_from_is_ready() -> None:
    """`grpo.start: base` means that what is measured is what is trained."""
    assert models.start(recipe("grpo.start=base"), None).ready and not models.start(RECIPE, None).ready


def everystep(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "everystep", "preflight", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=280)


def test_the_verb(tmp_path: Path) -> None:
    """G = 1 is red by the recipe's own schema; a red finding is exit code 2, with all the others shown."""
    done = everystep("recipes/tiny.yaml", "grpo.group=1", "--json")
    (finding,) = json.loads(done.stdout)["findings"]
    assert done.returncode == 2 and finding["light"] == "red" and "grpo.group" in finding["measured"]
    assert "greater than or equal to 2" in finding["measured"]
    where = tmp_path / "run"
    few = ["--prompts", "4", "--samples", "4", "--no-steps"]
    done = everystep("recipes/tiny.yaml", *SMALL, "grpo.beta=50.0", *few, "--dir", str(where))
    assert done.returncode == 2, done.stderr
    assert "✗ red" in done.stdout and "✓ green" in done.stdout and "! amber" in done.stdout
    assert all(name in done.stdout for name in ALL)
    done = everystep("recipes/tiny.yaml", *SMALL, *few, "--dir", str(where), "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((where / "preflight.json").read_text())

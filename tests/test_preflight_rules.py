"""Preflight's arithmetic and judgements without a model: estimators against exact expectations, powers
against the test they are about, and every threshold from both sides."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from everystep.core import recipe as recipes
from everystep.core.recipe import Recipe
from everystep.evaluate.stats import mcnemar
from everystep.forecast import hours, rules
from everystep.forecast.findings import Finding, Findings, Light, amber, green, red
from everystep.forecast.measured import (
    Agreement,
    Data,
    Ends,
    Judged,
    Lengths,
    Memory,
    Noise,
    Pace,
    Probe,
    Samples,
    Steps,
    Storage,
    Template,
)
from everystep.forecast.rates import after_refills, dead_share, histogram, quantile, refill_draws
from everystep.show.preflight import findings, summary

G, A, R = Light.GREEN, Light.AMBER, Light.RED


def recipe(*overrides: tuple[str, Any]) -> Recipe:
    tree: dict[str, Any] = {"name": "pure", "data": {"worked": {}}}
    for key, value in overrides:
        section, _, name = key.partition(".")
        if name:
            tree.setdefault(section, {})[name] = value
        else:
            tree[section] = value
    return recipes.validate(tree, "test")


# Estimators


@pytest.mark.parametrize("p", [0.0, 0.03, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("n", "size"), [(2, 2), (8, 2), (8, 5), (8, 8), (16, 2), (16, 8), (16, 16)])
def test_the_dead_share_is_unbiased(p: float, n: int, size: int) -> None:
    """Its expectation over all outcomes of n samples is p^G + (1-p)^G, exactly."""
    chance = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    mean = sum(c * dead_share([(k, n - k)], size).value for k, c in enumerate(chance))
    assert mean == pytest.approx(p**size + (1 - p) ** size, abs=1e-12)


def test_the_observed_shares_themselves_would_mislead() -> None:
    """What the estimator is for: at p = 0.9 and 8 samples, plugging p̂ in overstates the dead share at 16."""
    n, p, size = 8, 0.9, 16
    chance = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    plugged = sum(c * ((k / n) ** size + (1 - k / n) ** size) for k, c in enumerate(chance))
    assert plugged > 2 * (p**size + (1 - p) ** size)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (2.0, 1.0), (0.2, 3.0), (8.0, 8.0)])
def test_extrapolated_bounds_hold_the_truth(a: float, b: float) -> None:
    """Pass rates Beta(a, b): E[p^G + (1-p)^G] in closed form lies between the bounds from 8 samples."""
    random = np.random.default_rng(0)
    counts = [(int(k), 8 - int(k)) for k in random.binomial(8, random.beta(a, b, 3000))]
    found = dead_share(counts, 16)
    i = np.arange(16)
    truth = np.prod((a + i) / (a + b + i)) + np.prod((b + i) / (a + b + i))
    assert found.extrapolated and not dead_share(counts, 8).extrapolated
    assert found.low <= truth <= found.high
    assert found.low <= found.value <= found.high <= dead_share(counts, 8).high


def test_the_interval_covers() -> None:
    """95 % intervals over 32 prompts hold the truth in most of 200 draws, and have a width where all are
    alike."""
    random, held = np.random.default_rng(1), 0
    for _ in range(200):
        counts = [(int(k), 16 - int(k)) for k in random.binomial(16, random.beta(2, 1, 32))]
        share = dead_share(counts, 8)
        i = np.arange(8)
        held += share.low <= np.prod((2 + i) / (3 + i)) + np.prod((1 + i) / (3 + i)) <= share.high
    assert held >= 175
    alike = dead_share([(16,)] * 32, 8)
    assert alike.value == 1.0 and 0.85 < alike.low < 0.95 and alike.high == 1.0
    assert dead_share([(4, 4)], 8).high == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize(("counts", "size"), [([], 2), ([(1,)], 2), ([(4, 4), (4,)], 2), ([(4, 4)], 1)], ids=str)
def test_what_cannot_be_estimated_is_refused(counts: list[tuple[int, ...]], size: int) -> None:
    with pytest.raises(ValueError, match="no dead share"):
        dead_share(counts, size)


def test_refills_by_simulation() -> None:
    """The two formulas against groups drawn one by one, as `train.groups.refilled` does it."""
    random, dead, n = np.random.default_rng(0), 0.6, 4000
    left, drawn = int((random.random(n) < dead).sum()), 0
    for _ in range(2):
        asked = min(n, math.ceil(1.5 * left))
        drawn += asked
        left = max(0, left - int((random.random(asked) >= dead).sum()))
    assert after_refills(dead, 2) == pytest.approx(left / n, abs=0.03)
    assert refill_draws(dead, 2) == pytest.approx(drawn / n, abs=0.05)
    assert after_refills(0.7, 0) == 0.7 and refill_draws(0.7, 0) == 0


def test_histogram_and_quantile() -> None:
    assert list(histogram([0.0, 0.25, 0.26, 0.75, 0.99, 1.0]).values()) == [1, 1, 1, 1, 1, 1]
    assert quantile(range(1, 101), 0.99) == 99 and quantile([7], 0.5) == 7
    with pytest.raises(ValueError):
        quantile([], 0.5)


@pytest.mark.parametrize("n", [60, 250, 600])
def test_the_smallest_difference_is_seen_four_times_in_five(n: int) -> None:
    """Stages that differ by it, simulated, against the exact McNemar test; half of it is seen far less
    often."""
    d = rules.smallest_difference(n)
    random = np.random.default_rng(n)
    seen = []
    for gain in (d, d / 2):
        share = max(rules.CHANGING, gain)
        draws = random.multinomial(n, [(share + gain) / 2, (share - gain) / 2, 1 - share], 400)
        seen.append(sum(mcnemar(int(g), int(lost)) < 0.05 for g, lost, _ in draws) / 400)
    assert 0.65 <= seen[0] <= 0.9 and seen[1] < 0.45


# Findings


def test_a_finding_has_a_mend_unless_it_is_green() -> None:
    for light, mend in ((G, "do something"), (A, ""), (R, "")):
        with pytest.raises(ValueError, match="suggestion"):
            Finding("x", light, "1", mend)
    found = Findings((green("a", "1"), amber("b", "2", "look"), red("c", "3", "stop")), "sft", "1 x cpu", 1.0)
    assert found.light is R and [f.name for f in found.red] == ["c"]
    assert Findings(found.found[:2]).light is A and Findings(found.found[:1]).light is G
    assert found.to_json()["findings"][1] == {
        "name": "b",
        "light": "amber",
        "measured": "2",
        "suggestion": "look",
        "figures": {},
    }


def test_the_table_needs_no_colour_and_no_more_than_80_columns() -> None:
    long = "x" * 30 + " \x1b[31mred\x1b[0m " + "word " * 40
    found = Findings((green("a", "1"), amber("completion length", long, "look"), red("c", "3", "stop")))
    console = Console(width=80, no_color=True)
    with console.capture() as captured:
        console.print(findings(found, "preflight of x"), highlight=False)
    text = captured.get()
    assert "✓ green" in text and "! amber" in text and "✗ red" in text and "→ stop" in text
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= 80
    assert summary(found).startswith("✗ red: 1 of 3 must be corrected first (c)")
    assert "nothing stops the run; 1 of 2" in summary(Findings(found.found[:2]))
    assert "all 1 are green" in summary(Findings(found.found[:1]))


# Rules, each from both sides of its threshold

DATA = Data({"train": 100, "sft": 50, "dev": 20, "test": 60}, 130, 0, "", {}, 0, 180, 1.0)
ENDS = Ends((1, 106), (106,), 0, 0, {"<t>": (105,), "<e>": (106,)}, {"config.json": (1, 106)}, (2, 105), 2, 0)
HALF = Samples(True, 8, [(4, 4)] * 16, [0.5] * 16, 0.0, 0.0, [50] * 128, [50] * 128, (), {"c": 0.0}, 900.0)
LONG = [90] * 98 + [140] * 2
LENGTHS = Lengths([40, 60], [80] * 99 + [100], [90] * 100, 1024)


def samples(**changes: Any) -> Samples:  # the only place where the tests change many fields at once
    return replace(HALF, **changes)


ROWS: list[tuple[str, Finding, Light]] = [
    ("data", rules.data(DATA, 0.05), G),
    ("a failing gold", rules.data(replace(DATA, failures=1, first="why"), 0.05), R),
    ("3 % dropped of 5", rules.data(replace(DATA, dropped={"long": 6}), 0.05), A),
    ("2 % dropped of 5", rules.data(replace(DATA, dropped={"long": 4}), 0.05), G),
    ("solutions off", rules.data(replace(DATA, solutions_off=3), 0.05), A),
    ("reward", rules.reward(Probe(8, parts=("c",)), HALF), G),
    ("wrong pays", rules.reward(Probe(8, wrong=1, first="why"), HALF), R),
    ("malformed pays", rules.reward(Probe(8, malformed=1, first="why"), HALF), R),
    ("a broken mix", rules.reward(Probe(0, error="no"), None), R),
    ("nothing to try", rules.reward(Probe(0), None), A),
    ("a blind part", rules.reward(Probe(8, blind=("x",)), None), A),
    ("a constant part", rules.reward(Probe(8), samples(constant=("x",))), A),
    ("constant before SFT", rules.reward(Probe(8), samples(constant=("x",), ready=False)), G),
    ("an unknown part", rules.reward(Probe(8), samples(unknown={"x": 0.6})), A),
    ("no judge needed", rules.judge(Judged(())), G),
    ("a judge that answers", rules.judge(Judged(("coherence",), None, 0.1)), G),
    ("no answer", rules.judge(Judged(("coherence",), "refused")), R),
    ("the same prompts", rules.prompts({"sft": [(2, 5)], "grpo": [(2, 5)]}), G),
    ("another id", rules.prompts({"sft": [(2, 5)], "grpo": [(2, 6)]}), R),
    ("a longer prompt", rules.prompts({"sft": [(2, 5)], "grpo": [(2, 5, 5)]}), R),
    ("fewer prompts", rules.prompts({"sft": [(2, 5)], "evaluate": []}), R),
    ("no prompts", rules.prompts({"sft": [], "grpo": []}), A),
    ("ends", rules.ends(ENDS), G),
    ("a turn mark in pieces", rules.ends(replace(ENDS, pieces={"<t>": (5, 6)})), R),
    ("padding that ends", rules.ends(replace(ENDS, pad=1)), R),
    ("targets nobody stops at", rules.ends(replace(ENDS, targets=(107,))), R),
    ("a stop inside", rules.ends(replace(ENDS, inside=1)), R),
    ("an end nobody stops at", rules.ends(replace(ENDS, declared={"config.json": (1, 107)})), R),
    ("an end to be learned", rules.ends(replace(ENDS, declared={"config.json": (1,)})), A),
    ("no ends declared", rules.ends(replace(ENDS, declared={})), A),
    ("another start", rules.ends(replace(ENDS, declared_start=1)), R),
    ("two starts", rules.ends(replace(ENDS, starts=(2, 2))), R),
    ("other padding", rules.ends(replace(ENDS, declared_pad=3)), R),
    ("no template", rules.template(Template(None)), G),
    ("the same template", rules.template(Template("x", 16)), G),
    ("another template", rules.template(Template("x", 16, 1, ("abc", "abd"))), R),
    ("a broken template", rules.template(Template("x", error="no")), A),
    ("agreement", rules.agreement(Agreement(99, 9, 1e-6, 1e-5, 1e-5), 0.2, 1e-5), G),
    ("some disagreement", rules.agreement(Agreement(99, 9, 0.005, 0.05, 0.1), 0.2, None), A),
    ("on average", rules.agreement(Agreement(99, 9, 0.03, 0.05, 0.1), 0.2, None), R),
    ("one in a hundred", rules.agreement(Agreement(99, 9, 0.01, 0.2, 0.3), 0.2, None), R),
    ("in the loss", rules.agreement(Agreement(99, 9, 1e-6, 1e-5, 1e-5), 0.2, 0.3), R),
    ("no log-probabilities", rules.agreement(Agreement(99, 9, math.inf, math.inf, math.inf), 0.2, None), R),
    ("noise", rules.noise(Noise(8, 8, 8, 8)), G),
    ("one text", rules.noise(Noise(8, 0, 8, 8)), R),
    ("not repeated", rules.noise(Noise(8, 8, 7, 8)), R),
    ("not moved", rules.noise(Noise(8, 8, 8, 0)), R),
    ("temperature", rules.temperature(0.7, HALF, None), G),
    ("cold", rules.temperature(0.7, samples(identical=0.95), Noise(8, 8, 8, 8)), R),
    ("cold by a broken sampler", rules.temperature(0.7, samples(identical=1.0), Noise(8, 0, 8, 8)), A),
    ("rather cold", rules.temperature(0.7, samples(identical=0.6), None), A),
    ("cold, not sampled", rules.temperature(0.01, None, None), R),
    ("low", rules.temperature(0.2, HALF, None), A),
    ("hot", rules.temperature(2.0, HALF, None), A),
    ("half right", rules.dead(HALF, 8, 0), G),
    ("all solved", rules.dead(samples(kinds=[(8,)] * 16, rates=[1.0] * 16), 8, 0), R),
    ("none solved", rules.dead(samples(kinds=[(8,)] * 16, rates=[0.0] * 16), 8, 0), R),
    ("none before SFT", rules.dead(samples(kinds=[(8,)] * 16, rates=[0.0] * 16, ready=False), 8, 0), A),
    ("all before SFT", rules.dead(samples(kinds=[(8,)] * 16, rates=[1.0] * 16, ready=False), 8, 0), R),
    ("most dead", rules.dead(samples(kinds=[(8,)] * 11 + [(4, 4)] * 5), 8, 0), A),
    ("most dead, refilled", rules.dead(samples(kinds=[(8,)] * 11 + [(4, 4)] * 5), 8, 2), G),
    ("dead by being cut", rules.dead(samples(kinds=[(8,)] * 16, rates=[0.0] * 16, truncated=0.9), 8, 0), A),
    ("dead by one text", rules.dead(samples(kinds=[(8,)] * 16, rates=[0.0] * 16, identical=1.0), 8, 0), A),
    ("lengths", rules.completion_length(LENGTHS, HALF, 128, 128), G),
    ("gold too long", rules.completion_length(LENGTHS, HALF, 64, 128), R),
    ("gold too long to be evaluated", rules.completion_length(LENGTHS, HALF, 128, 64), R),
    ("two in a hundred", rules.completion_length(replace(LENGTHS, tested=LONG), HALF, 128, 128), A),
    ("cut", rules.completion_length(LENGTHS, samples(truncated=0.4), 128, 128), R),
    ("cut before SFT", rules.completion_length(LENGTHS, samples(truncated=0.4, ready=False), 128, 128), A),
    ("some cut", rules.completion_length(LENGTHS, samples(truncated=0.1), 128, 128), A),
    ("prompts", rules.prompt_length(LENGTHS, {}, 100, 96, 128), G),
    ("too few positions", rules.prompt_length(replace(LENGTHS, positions=180), {}, 100, 96, 128), R),
    ("dropped for length", rules.prompt_length(LENGTHS, {"prompt too long (x)": 2}, 100, 96, 128), A),
    ("kept, but long", rules.prompt_length(LENGTHS, {}, 100, 48, 128), A),
    ("rates", rules.learning_rates(recipe()), G),
    ("a high rate", rules.learning_rates(recipe(("grpo.learning_rate", 0.01))), A),
    ("a mad rate", rules.learning_rates(recipe(("grpo.learning_rate", 0.1))), R),
    ("a tiny rate", rules.learning_rates(recipe(("sft.learning_rate", 1e-10))), R),
    ("beta", rules.beta(recipe()), G),
    ("no beta", rules.beta(recipe(("grpo.beta", 0.0))), G),
    ("a strong beta", rules.beta(recipe(("grpo.beta", 1.0))), A),
    ("a mad beta", rules.beta(recipe(("grpo.beta", 10.0))), R),
    ("batches", rules.batches(recipe(("grpo.prompts", 16), ("grpo.micro_prompts", 4))), G),
    ("uneven batches", rules.batches(recipe(("grpo.prompts", 16), ("grpo.micro_prompts", 5))), R),
    ("small batches", rules.batches(recipe(("grpo.prompts", 4), ("grpo.group", 2))), A),
    ("data enough", rules.amount(recipe(("grpo.steps", 10), ("grpo.prompts", 10)), 100, 4000), G),
    ("seen again", rules.amount(recipe(("grpo.steps", 11), ("grpo.prompts", 10)), 100, 4000), A),
    ("by heart", rules.amount(recipe(("grpo.steps", 101), ("grpo.prompts", 10)), 100, 4000), R),
    ("few traces", rules.amount(recipe(("grpo.steps", 10), ("grpo.prompts", 10)), 100, 3599), A),
    ("traces enough", rules.amount(recipe(("grpo.steps", 10), ("grpo.prompts", 10)), 100, 3600), G),
    ("600 tests", rules.evaluation_size(600), G),
    ("100 tests", rules.evaluation_size(100), A),
    ("20 tests", rules.evaluation_size(20), R),
    ("one chip", rules.chips(1, 1), G),
    ("idle chips", rules.chips(1, 8), A),
    ("eight chips on one", rules.chips(8, 1), R),
    ("memory", rules.memory(Memory(2, 10, 0.5), None), G),
    ("memory, longer rows", rules.memory(Memory(5, 10, 0.5), None), A),
    ("memory full", rules.memory(Memory(98, 100, 1.0), None), R),
    ("no room", rules.memory(None, "grpo"), R),
    ("on a device", rules.memory(None, None), G),
]  # fmt: skip


@pytest.mark.parametrize(("finding", "light"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_every_threshold_from_both_sides(finding: Finding, light: Light) -> None:
    assert finding.light is light, finding.measured
    assert "\n" not in finding.measured and "\n" not in finding.suggestion
    assert len(finding.suggestion) <= 110


PACE = Pace(0.01, 1.0, Steps(10.0, 1.0), Steps(20.0, 4.0))
COUNTS = {"train": 1000, "sft": 320, "dev": 128, "test": 300}
NEED = recipe(("hours", 1.0), ("grpo.steps", 100), ("grpo.eval_every", 50))


def judged(
    pace: Pace,
    samples_: Samples,
    given: Recipe,
    rounds: int = 0,
    done: frozenset[str] = frozenset(),
    gold: tuple[int, ...] = (100,),
) -> Finding:
    seconds, _ = hours.measured(pace, samples_, given, gold, 30.0, rounds)
    return hours.hours(hours.stages(given, COUNTS, 100, seconds, done), given)


def needed(pace: Pace, samples_: Samples, rounds: int = 0, done: frozenset[str] = frozenset()) -> float:
    return 3600 * judged(pace, samples_, NEED, rounds, done).figures["needed"]


def test_hours_are_the_sum_of_what_is_left() -> None:
    whole = 30 + (10 + 100) + (20 + 100 * 4 + 2 * 128 * 0.01) + 3 * 300 * 0.01
    assert needed(PACE, HALF) == pytest.approx(whole)
    assert needed(PACE, HALF, done=frozenset({"data", "evaluate base"})) == pytest.approx(whole - 33)
    assert needed(replace(PACE, sft=None), HALF) == pytest.approx(whole - 110)
    dead = samples(kinds=[(8,)] * 16)  # all dead: two rounds draw as many groups each as a step has
    assert needed(PACE, dead, 2) == pytest.approx(whole + 100 * 2 * 1.0)
    base = samples(ready=False, lengths=[50] * 128)  # gold is twice as long as what the base writes
    assert needed(PACE, base) == pytest.approx(30 + 110 + 20 + 2 * (100 * 4 + 2.56) + 2 * 9)


def test_traces_that_the_model_makes_itself_take_their_time() -> None:
    own = recipe(("hours", 1.0), ("sft.data", "self"), ("sft.self_made", {"samples": 4, "probe": 50}))
    for done, seconds in ((frozenset[str](), (4 * 320 + 3 * 50) * 0.01), (frozenset({"self"}), 0.0)):
        minutes = judged(PACE, HALF, own, done=done).figures["minutes"]
        assert 60 * minutes.get("self-made data", 0.0) == pytest.approx(seconds)


@pytest.mark.parametrize(("given", "light"), [(0.01, R), (0.16, A), (1.0, G)])
def test_hours_needed_against_hours_given(given: float, light: Light) -> None:
    """A tenth of them, or ten minutes, is kept free at the end of a session."""
    wanted = recipe(("hours", given), ("grpo.steps", 100), ("grpo.eval_every", 50))
    found = judged(PACE, HALF, wanted, gold=(50,))
    assert found.light is light and found.figures["needed"] == pytest.approx(0.16, abs=0.01)


@pytest.mark.parametrize("share", [0.7, 0.9, 1.1, 1.3])
def test_plan_and_preflight_judge_hours_alike(share: float) -> None:
    """The same seconds have the same light, counted or measured; beyond the hours the steps that fit are named."""
    spent = [hours.Stage("evaluate base", 100.0, ""), hours.Stage("grpo", 3_000 * share - 100, "")]
    found = hours.hours(spent, NEED)  # one hour, of which ten minutes are kept free
    assert found.light is {0.7: G, 0.9: A, 1.1: A, 1.3: R}[share]
    assert ("grpo.steps=" in found.suggestion) == (share > 1)


def test_disk_counts_what_is_kept() -> None:
    stored = Storage(base=4_000_000, values=100_000, itemsize=2, record=1000.0, task=400.0, free=10**12)
    how = recipe(("checkpoint.keep", 2), ("grpo.steps", 100), ("grpo.prompts", 16), ("grpo.group", 8))
    found = rules.disk(stored, how, COUNTS, 100)
    assert found.light is G
    # adapter 0.2 MB and 1.2 MB of masters and moments, three files at most; GRPO's holds the best adapter too
    assert found.figures["checkpoints"] == 3 * (1_400_000 + 1_600_000)
    assert found.figures["records"] == 1000 * 100 * 128 and found.figures["evaluations"] == 6 * 1000 * 300
    assert found.figures["export"] == 4_400_000
    kept = how.model_copy(update={"checkpoint": how.checkpoint.model_copy(update={"keep_every": 10})})
    assert rules.disk(stored, kept, COUNTS, 100).figures["checkpoints"] == 13 * 3_000_000
    need = int(found.figures["needed"])
    assert rules.disk(replace(stored, free=need - 1), how, COUNTS, 100).light is R
    assert rules.disk(replace(stored, free=need + 1), how, COUNTS, 100).light is A
    assert rules.disk(replace(stored, free=2 * need + 2), how, COUNTS, 100).light is G


def test_the_limit_that_is_asked_for_holds_the_gold_and_the_completions() -> None:
    found = rules.completion_length(LENGTHS, samples(ended=[120] * 9), 32, 128)
    assert found.figures["asks"] == 144 and "144" in found.suggestion  # 1.1 x 120, up to a multiple of 16
    assert found.figures["gold_over"] == {"grpo.max_tokens": 1.0, "evaluate.max_tokens": 0.0}


def test_what_is_extrapolated_is_said() -> None:
    found = rules.dead(HALF, 16, 0)
    assert "~" in found.measured and "extrapolated from 8 samples" in found.measured
    assert "~" not in rules.dead(samples(size=16, kinds=[(8, 8)] * 16), 16, 0).measured

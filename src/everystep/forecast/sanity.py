"""What can be said of a recipe by its values alone, and of how much data it has for them. Pure functions.

That values are of the right type and in their range (a group of at least two, a positive rate) the recipe's
schema says; this is about values that are allowed and will not work.
"""

import math
from statistics import NormalDist

from everystep.core.recipe import Recipe
from everystep.forecast.findings import Finding, amber, green, red

RATES = (1e-7, 5e-3)  # learning rates of adapters that are known to teach without breaking
IMPOSSIBLE = (1e-9, 5e-2)
STRONG, CRUSHING = 0.5, 5.0  # β above which the policy hardly moves, or not at all
AGAIN, TOO_OFTEN = 1.0, 10.0  # times that GRPO sees its tasks
FEWER = 0.9  # of the traces that SFT was to have
CHANGING = 0.17  # share of the tasks on which two stages differ: as much as in the README's runs
HOPED, HOPELESS = 0.05, 0.2  # differences in the share of right answers that an evaluation should show


def learning_rates(recipe: Recipe) -> Finding:
    """Are the rates of SFT and GRPO ones that adapters learn at?"""
    rates = {"sft.learning_rate": recipe.sft.learning_rate, "grpo.learning_rate": recipe.grpo.learning_rate}
    said = ", ".join(f"{name} {value:g}" for name, value in rates.items())
    suggestion = f"adapters learn between {RATES[0]:g} and {RATES[1]:g} (docs/log.md)"
    if any(not IMPOSSIBLE[0] <= r <= IMPOSSIBLE[1] for r in rates.values()):
        return red("learning rates", said, suggestion, rates)
    if any(not RATES[0] <= r <= RATES[1] for r in rates.values()):
        return amber("learning rates", said, suggestion, rates)
    return green("learning rates", said, rates)


def beta(recipe: Recipe) -> Finding:
    """Does β hold the policy near SFT's without freezing it?"""
    value = recipe.grpo.beta
    figures = {"beta": value}
    if value > CRUSHING:
        return red("beta", f"grpo.beta {value:g}", "the KL outweighs every reward: 0.01 to 0.1 is usual", figures)
    if value > STRONG:
        return amber("beta", f"grpo.beta {value:g}", "the policy will hardly move: 0.01 to 0.1 is usual", figures)
    return green("beta", f"grpo.beta {value:g}" + ("" if value else ": nothing holds the policy"), figures)


def batches(recipe: Recipe) -> Finding:
    """Can a step be cut into the micro-batches that the recipe asks for?"""
    config = recipe.grpo
    micro = config.micro_prompts or config.prompts
    figures = {"prompts": config.prompts, "group": config.group, "micro_prompts": micro}
    said = f"{config.prompts} prompts x {config.group} a step, {micro} prompts at a time"
    if config.prompts % micro:
        return red("batches", said, "grpo.micro_prompts must divide grpo.prompts", figures)
    if config.prompts * config.group < 32:
        return amber("batches", said, "so few completions make a noisy gradient: 64 and more is usual", figures)
    return green("batches", said, figures)


def amount(recipe: Recipe, train: int, traces: int) -> Finding:
    """Are there as many tasks and traces as the recipe's steps want?"""
    wanted = recipe.grpo.steps * recipe.grpo.prompts
    seen = wanted / max(1, train)
    figures = {"epochs": seen, "train": train, "traces": traces, "wanted_traces": recipe.sft.traces}
    said = f"GRPO draws {wanted} of {train} ({seen:.2g} times), SFT {traces} of {recipe.sft.traces} traces"
    if seen > TOO_OFTEN:
        return red("data amount", said, "fewer grpo.steps, or more tasks: they would be learned by heart", figures)
    if seen > AGAIN:
        return amber("data amount", said, "tasks are seen again; watch the dev share of right answers", figures)
    if traces < FEWER * recipe.sft.traces and recipe.grpo.start == "sft":
        suggestion = f"sft.traces of {traces} says what there is; more need other sources or levels"
        return amber("data amount", said, suggestion, figures)
    return green("data amount", said, figures)


def evaluation_size(tests: int) -> Finding:
    """Is the evaluation large enough to show the gain that is hoped for?"""
    least = smallest_difference(tests)
    figures = {"tests": tests, "smallest_difference": least, "changing": CHANGING}
    said = f"{tests} tasks show a difference of {100 * least:.1f} points (power 80 %, p < 0.05, paired)"
    need = next(n for n in range(50, 100_000, 50) if smallest_difference(n) <= HOPED)
    if least > HOPELESS:
        return red("evaluation size", said, f"a gain could not be told from luck: {need} test tasks or more", figures)
    if least > HOPED:
        return amber("evaluation size", said, f"for {100 * HOPED:g} points {need} test tasks are needed", figures)
    return green("evaluation size", said, figures)


def smallest_difference(n: int, changing: float = CHANGING, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest gain in the share of right answers that n paired tasks show with this power.

    With a share ψ = max(`changing`, d) of tasks on which the two sides differ, the difference d that solves
    n = ((z_{1-level/2} √ψ + z_power √(ψ - d²)) / d)²; no less than six tasks gained and none lost, the least
    that an exact test shows. Source: O. S. Miettinen, Biometrics 24 (1968) 339-352; R. J. Connor, Biometrics
    43 (1987) 207-211. 1 where no difference shows; ValueError for n below 1.

    >>> [round(smallest_difference(n), 3) for n in (5, 50, 600, 1319)]
    [1.0, 0.16, 0.047, 0.032]
    """
    if n < 1:
        raise ValueError(f"an evaluation needs a task, got {n}")
    normal = NormalDist()
    alpha, beta_ = normal.inv_cdf(1 - level / 2), normal.inv_cdf(power)

    def needed(d: float) -> float:
        share = max(changing, d)
        return ((alpha * math.sqrt(share) + beta_ * math.sqrt(max(0.0, share - d * d))) / d) ** 2

    low, high = 0.0, 1.0
    if needed(high) > n:
        return 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if needed(middle) <= n else (middle, high)
    return min(1.0, max(high, 6 / n))

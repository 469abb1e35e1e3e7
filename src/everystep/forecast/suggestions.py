"""Which single change to a recipe would make it fit: tried in the order of what it costs, and analysed before
it is named.

First what changes nothing of the result (smaller parts of the same batch, weights spread over the chips),
then what does (groups, lengths).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from everystep.core.recipe import Recipe, resolve, validate
from everystep.core.strict import apply
from everystep.forecast.devices import FRACTION, Device, fraction
from everystep.forecast.memory import Analysis, Use, analyse, uses
from everystep.forecast.programs import micro, steps_of, uneven

_TRIED = 4  # analyses for one plan, at most
_MOST = 0.92  # of a GPU's memory, given to JAX by hand
_FEWEST_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Change:
    """Overrides as the command line takes them, and the recipe that they make."""

    words: str
    recipe: Recipe


def changed(recipe: Recipe, words: str) -> Recipe:
    """The recipe with overrides, several of them with a space between."""
    tree = resolve(recipe)
    for override in words.split():
        apply(tree, override)
    return validate(tree, f"recipe {recipe.name} with {words}")


def suggestion(recipe: Recipe, device: Device, analysis: Analysis, failing: Sequence[Use]) -> str | None:
    """The first single change with which all failing steps fit, as overrides (or a variable of the
    environment); None where none of those tried does."""
    largest = max(use.total for use in failing)
    if device.family == "gpu" and fraction() < _MOST and largest <= _MOST * device.memory:
        return f"{FRACTION}={_MOST} in the environment: JAX takes {fraction():.0%} of a GPU by itself"
    left = _TRIED
    for change in changes(recipe, [use.step.name for use in failing], device.chips):
        if left and all(_estimate(use, analysis, change.recipe, device) <= device.room() for use in failing):
            left -= 1
            if fits(change.recipe, device, [use.step.name for use in failing]):
                return change.words
    return None


def fits(recipe: Recipe, device: Device, names: Sequence[str]) -> bool:
    """Whether steps of these names fit a chip."""
    prefills = {f"{name.removesuffix(' decoding')} prefill" for name in names if name.endswith(" decoding")}
    steps = [s for s in steps_of(recipe, device.chips) if s.name in prefills or s.name in names]
    wanted = [use for use in uses(analyse(recipe, device, steps), steps) if use.step.name in names]
    return all(use.total <= device.room() for use in wanted)


def changes(recipe: Recipe, names: Sequence[str], chips: int) -> Iterator[Change]:
    """Single changes that make all the steps of these names smaller, and that training would take."""
    for words in _words(recipe, frozenset(names), chips):
        made = changed(recipe, words)
        if not uneven(made, chips):
            yield Change(words, made)


def _words(recipe: Recipe, names: frozenset[str], chips: int) -> Iterator[str]:
    config, batch = recipe.grpo, recipe.evaluate.batch
    families = {_FAMILY[name.split(" ")[0]] for name in names}
    if families == {"update"}:
        yield from (f"grpo.micro_prompts={n}" for n in _halves(micro(recipe)) if config.prompts % n == 0)
    if families == {"evaluate"}:
        yield from (f"evaluate.batch={n}" for n in _halves(batch, 16))
    if families == {"sft"}:
        for n in _halves(recipe.sft.batch):
            yield f"sft.batch={n} sft.accumulate={recipe.sft.accumulate * recipe.sft.batch // n}"
    if families == {"self"}:
        own = recipe.sft.self_made
        yield from (f"sft.self_made.batch={n}" for n in _halves(own.batch, 4))
    if chips > 1 and recipe.model.weights == "replicated":
        yield "model.weights=fsdp"
    if families <= {"update", "rollout"}:
        for n in _halves(config.prompts):
            parts = f" grpo.micro_prompts={math.gcd(n, micro(recipe))}" if config.micro_prompts else ""
            yield f"grpo.prompts={n}{parts}"
        yield from (f"grpo.group={n}" for n in _halves(config.group, 2))
        yield from (f"grpo.max_tokens={n}" for n in _halves(config.max_tokens, _FEWEST_TOKENS))


_FAMILY = {"grpo": "update", "reference": "update"} | {k: k for k in ("rollout", "evaluate", "sft", "self")}


def _halves(n: int, least: int = 1) -> list[int]:
    """Half of it, a quarter and so on.

    >>> _halves(12), _halves(64, 16)
    ([6, 3], [32, 16])
    """
    out = []
    while n % 2 == 0 and n // 2 >= least:
        n //= 2
        out.append(n)
    return out


def _estimate(use: Use, analysis: Analysis, recipe: Recipe, device: Device) -> float:
    """What the step would hold in another recipe, if all but the model grew with rows times length; 0 where
    nothing can be said without an analysis."""
    if recipe.model.weights == "fsdp":
        return 0.0
    now = use.step.size
    new = next(s for s in steps_of(recipe, device.chips) if s.name == use.step.name).size
    held = analysis.held["weights"]
    scale = _extent(new) / _extent(now)
    return use.beside + held + max(0.0, use.total - use.beside - held) * scale


def _extent(size: object) -> float:
    assert isinstance(size, dict)
    return size["rows"] * (size["size"] if "size" in size else size["length"] + size.get("last", 0))

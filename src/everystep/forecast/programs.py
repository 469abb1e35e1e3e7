"""Which steps a recipe makes, and at which sizes: the longest prompts and completions it allows.

The sizes are those that training and decoding make of the recipe's values; what a step holds in memory and
how long it takes is `memory.py` and `work.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from everystep.core.recipe import Recipe
from everystep.core.sizes import CHUNK, bucket, padded


@dataclass(frozen=True, slots=True)
class Step:
    """A compiled step: what it is called, of which `stage` it is, and its `size` as `train/footprint.py`
    reads it (`kind` in it). `what`: the size in words."""

    name: str
    stage: str
    size: Mapping[str, int | str | bool | None]
    what: str


def prompt_tokens(recipe: Recipe) -> int:
    """The padded length of the longest prompt, its beginning-of-sequence id included."""
    return padded(recipe.data.max_prompt_tokens + 1)


def micro(recipe: Recipe) -> int:
    """Prompts of a micro-batch of GRPO."""
    return recipe.grpo.micro_prompts or recipe.grpo.prompts


def sharing(recipe: Recipe, chips: int) -> int:
    """For how many rows of a micro-batch a prompt is computed once (`train.grpo.rows_with_one_prompt`)."""
    return 1 if micro(recipe) % chips else recipe.grpo.group


def uneven(recipe: Recipe, chips: int) -> list[tuple[str, str]]:
    """What training would refuse, each with a suggestion: batches that the chips do not divide.

    A run makes these errors itself, only later.
    """
    found: list[tuple[str, str]] = []
    config, sft = recipe.grpo, recipe.sft
    if config.prompts % micro(recipe):
        found.append(
            (
                f"grpo.micro_prompts is {config.micro_prompts}, which does not divide {config.prompts} prompts",
                f"grpo.micro_prompts={math.gcd(config.prompts, micro(recipe))}",
            )
        )
    elif micro(recipe) * config.group % chips:
        least = chips // math.gcd(chips, config.group)
        more = f"grpo.micro_prompts={least}"
        if config.prompts % least:
            more = f"grpo.prompts={math.ceil(config.prompts / least) * least} {more}"
        found.append((f"{micro(recipe)} prompts x group {config.group} cannot be spread over {chips} chips", more))
    if config.start == "sft" and sft.batch % chips:
        found.append(
            (
                f"sft.batch is {sft.batch}, which cannot be spread over {chips} chips",
                f"sft.batch={math.ceil(sft.batch / chips) * chips}",
            )
        )
    return found


def steps_of(recipe: Recipe, chips: int) -> list[Step]:
    """The steps that decide what memory a run needs, in the order in which they come."""
    config, length = recipe.grpo, prompt_tokens(recipe)
    out: list[Step] = []
    if config.start == "sft":
        if recipe.sft.data == "self":
            own = recipe.sft.self_made
            out += _decoding("self", own.batch, own.samples, length, own.max_tokens, greedy=False)
        sft, time = recipe.sft, padded(recipe.data.max_prompt_tokens + recipe.data.max_trace_tokens + 2)
        size = {"kind": "sft", "rows": sft.batch, "length": time}
        size |= {"accumulate": sft.accumulate if sft.accumulate > 1 else None}
        out.append(Step("sft update", "sft", size, f"{sft.batch} rows x {time} tokens"))
    drawn = config.prompts * (2 if config.refill else 1)  # at most (`train/groups.py`)
    out += _decoding("rollout", drawn, config.group, length, config.max_tokens, greedy=False)
    rows, last = micro(recipe) * config.group, padded(config.max_tokens)
    size = {"rows": rows, "length": length, "last": last, "group": sharing(recipe, chips)}
    what = f"{rows} rows x ({length} + {last}) tokens"
    if size["group"] > 1:
        what += ", prompts computed once"
    if config.beta:
        out.append(Step("reference", "grpo", {"kind": "reference", **size}, what))
    several = config.prompts // micro(recipe) > 1  # then a mean of gradients is held beside
    out.append(Step("grpo update", "grpo", {"kind": "grpo", **size, "accumulate": 2 if several else None}, what))
    out += _decoding("evaluate", recipe.evaluate.batch, 1, length, recipe.evaluate.max_tokens, greedy=True)
    return out


def _decoding(stage: str, prompts: int, n: int, length: int, most: int, greedy: bool) -> list[Step]:
    size = length + math.ceil(most / CHUNK) * CHUNK
    same = {"length": length, "size": size, "greedy": greedy}
    first, rows = bucket(prompts), bucket(prompts * n)
    return [
        Step(
            f"{stage} prefill", stage, {"kind": "prefill", "rows": first} | same, f"{first} prompts x {length} tokens"
        ),
        Step(f"{stage} decoding", stage, {"kind": "chunk", "rows": rows} | same, f"{rows} rows x {size} positions"),
    ]

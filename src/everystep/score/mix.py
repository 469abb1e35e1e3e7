"""Mixes: which parts with which weights make the reward, and how groups are scored with them.

A mix comes from a recipe's section `reward`, from a preset (a file beside this module), or from a file with
such a section. Scoring itself is in `groups`.

>>> mix_of(RewardMix(preset="composite")).weights
{'correctness': 0.6, 'structure': 0.25, 'confidence': 0.15}
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from everystep.core.recipe import RewardMix, load_reward
from everystep.core.types import Reward
from everystep.score.rewards import (
    CONFIDENCE,
    JUDGE,
    PARTS,
    bounds,
    check_names,
    correctness,
    length,
)

PRESETS = {p.stem: p for p in sorted((Path(__file__).parent / "presets").glob("*.yaml"))}
FLOOR = 0.05  # the least standard deviation that a group's values are divided by

Normalise = Literal["total", "parts"]


@dataclass(frozen=True, slots=True)
class Mix:
    """A mix, complete. `weights` by part; `only_if`: a part counts only where another one has its most, and
    is 0 elsewhere; `normalise`: the total is the weighted sum of the parts ("total"), or of
    the parts each brought to mean 0 and deviation 1 in its group ("parts"); `floor`: the least deviation
    that is divided by; `parts`: the functions of the parts that are functions of one completion.

    Raises ValueError, naming the part, for names that are no parts', weights that are not finite, and a mix
    in which nothing has a weight.
    """

    weights: Mapping[str, float]
    normalise: Normalise = "total"
    only_if: Mapping[str, str] = field(default_factory=dict)
    floor: float = FLOOR
    parts: Mapping[str, Reward] = field(default_factory=lambda: PARTS)

    def __post_init__(self) -> None:
        names = [*self.weights, *self.only_if, *self.only_if.values()]
        known = [*self.parts, CONFIDENCE]
        check_names(names, known)
        for name, weight in self.weights.items():
            if not math.isfinite(weight):
                raise ValueError(f"reward part {name!r} has the weight {weight}; give a finite number")
        if not any(self.weights.values()):
            raise ValueError(f"no reward part has a weight; give at least one of {', '.join(sorted(known))}")
        for name, gate in self.only_if.items():
            if name not in self.weights or gate == name or gate in self.only_if:
                raise ValueError(
                    f"reward.only_if: {name!r} if {gate!r} makes no sense; the first must have a weight, and "
                    "the second must be another part that depends on none"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that are computed: those with a weight, and those that others depend on."""
        return tuple(dict.fromkeys([*self.weights, *self.only_if.values()]))

    @property
    def judged(self) -> tuple[str, ...]:
        """The criteria that a judge is to score."""
        return tuple(name.removeprefix(JUDGE) for name in self.names if name.startswith(JUDGE))


def mix_of(section: RewardMix) -> Mix:
    """The mix that a recipe's section `reward` describes; what it does not say, its preset does.

    Raises ValueError for a preset that does not exist, and what `Mix` raises.
    """
    base = RewardMix(parts=section.parts) if section.preset is None else _preset(section.preset)
    said = {k: v for k, v in section.model_dump().items() if v is not None and k != "preset"}
    whole = RewardMix(**(base.model_dump() | said))
    assert whole.parts is not None
    functions = dict(PARTS)
    if whole.tolerance:
        functions["correctness"] = partial(correctness, tolerance=whole.tolerance)
    if whole.budget:
        functions["length"] = partial(length, budget=whole.budget)
    return Mix(whole.parts, whole.normalise or "total", whole.only_if or {}, whole.floor or FLOOR, functions)


def read_mix(name: str) -> Mix:
    """The mix of a preset's name, or of a YAML file: one with the keys of `reward`, or a whole recipe.

    Raises ValueError, one line, for a name that is neither, and for a file that holds no such section.
    """
    return mix_of(RewardMix(preset=name) if name in PRESETS or not _is_file(name) else load_reward(name))


def order(mix: Mix) -> dict[str, tuple[float, float]]:
    """Between what the totals of right, of wrong (both in form) and of malformed completions can lie, by the
    bounds of the parts (all known, weights as given). The mix keeps the order where these do not touch."""
    out = {}
    for rank in ("right", "wrong", "malformed"):
        low, high = 0.0, 0.0
        for name, weight in mix.weights.items():
            ends = [weight * value for value in getattr(bounds(name), rank)]
            if gate := mix.only_if.get(name):
                least, most = getattr(bounds(gate), rank)
                open_ = max(high for _, high in bounds(gate))
                ends = [0.0] if most < open_ else [*ends, 0.0] if least < open_ else ends
            low, high = low + min(ends), high + max(ends)
        out[rank] = (low, high)
    return out


def _preset(name: str) -> RewardMix:
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PRESETS)}, or give a .yaml file"
        raise ValueError(f"reward preset {name!r} does not exist; {hint}")
    return load_reward(PRESETS[name])


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or "/" in name

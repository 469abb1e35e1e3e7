"""What preflight says: findings, each green, amber or red, with what was measured and what to do.

Only the types are here. What is measured is in `measure.py` and `texts.py`, what is made of it in `rules.py`
and `hours.py`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Light(StrEnum):
    """How much a finding matters: nothing to do, look at it, do not start."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was measured in one line, and for amber and red a suggestion in one line. `figures` are the
    measured numbers by name, as plain values."""

    name: str
    light: Light
    measured: str
    suggestion: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.light is Light.GREEN) == bool(self.suggestion):
            raise ValueError(f"finding {self.name!r} is {self.light.value} and a suggestion is {self.suggestion!r}")


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings of one preflight, in the order in which they are shown. `stage`: which policy was measured
    ("base", "sft"; "" for none), `device` on what, `minutes` how long it took."""

    found: tuple[Finding, ...]
    stage: str = ""
    device: str = ""
    minutes: float = 0.0

    @property
    def light(self) -> Light:
        """The worst light of all.

        >>> Findings((Finding("a", Light.AMBER, "1", "do this"), Finding("b", Light.GREEN, "2"))).light.value
        'amber'
        """
        lights = [f.light for f in self.found]
        return next((x for x in (Light.RED, Light.AMBER) if x in lights), Light.GREEN)

    @property
    def red(self) -> tuple[Finding, ...]:
        """The findings that must stop a run."""
        return tuple(f for f in self.found if f.light is Light.RED)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        told = {"light": self.light.value, "stage": self.stage, "device": self.device, "minutes": self.minutes}
        return told | {"findings": [asdict(f) | {"light": f.light.value} for f in self.found]}


def green(name: str, measured: str, figures: Mapping[str, Any] | None = None) -> Finding:
    """A finding that asks for nothing."""
    return Finding(name, Light.GREEN, measured, figures=figures or {})


def amber(name: str, measured: str, suggestion: str, figures: Mapping[str, Any] | None = None) -> Finding:
    """A finding to look at."""
    return Finding(name, Light.AMBER, measured, suggestion, figures or {})


def red(name: str, measured: str, suggestion: str, figures: Mapping[str, Any] | None = None) -> Finding:
    """A finding that stops the run."""
    return Finding(name, Light.RED, measured, suggestion, figures or {})

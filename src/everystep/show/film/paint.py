"""What a painted scene is: a row of pictures, each with one thing more than the one before, the moments at
which they come, and what appears little by little on top of them. And what several kinds of scenes share.
"""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

from everystep.show.film.canvas import (
    ACCENT,
    BAD,
    BAD_BACK,
    GOOD,
    GOOD_BACK,
    Laid,
    box,
    write,
)
from everystep.show.film.script import TAIL, Scene, Shown, Words

LEFT, RIGHT, TOP, BOTTOM = 96, 1824, 196, 880  # of what belongs to a scene; captions stand below
SPEED = 45.0  # characters a second
TEXT = (38, 34, 30, 27, 24, 22)


@dataclass(frozen=True, slots=True)
class Typed:
    """A text that appears sign by sign, from a moment on."""

    laid: Laid
    x: int
    y: int
    begin: float
    speed: float

    @property
    def end(self) -> float:
        return self.begin + self.laid.length / self.speed


def typed(laid: Laid, x: int, y: int, begin: float, until: float) -> Typed:
    """A text that is whole by a moment, however long it is."""
    room = max(0.5, until - begin)
    return Typed(laid, x, y, begin, max(SPEED, laid.length / room))


@dataclass(frozen=True, slots=True)
class Wipe:
    """A picture that appears from left to right between two of its columns."""

    image: Image.Image
    x: int
    y: int
    left: int
    right: int
    begin: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Painted:
    """A scene ready to be shown: `states[i]` from `times[i]` on."""

    states: tuple[Image.Image, ...]
    times: tuple[float, ...]
    typed: tuple[Typed, ...] = ()
    wipes: tuple[Wipe, ...] = ()


def arrival(scene: Scene, item: int) -> float:
    """When the `item`-th thing (from 1) of a scene comes: with the sentence that shows it, or before the end
    where that sentence was left out."""
    late = max(0.5, scene.seconds - TAIL - 2.5)
    return min((at for s, at in zip(scene.sentences, scene.starts(), strict=True) if s.shows >= item), default=late)


def states(base: Image.Image, scene: Scene, steps: list[Callable[[Image.Image], None]]) -> Painted:
    """One picture more for each thing that is drawn."""
    states, times = [base], [0.0]
    for i, step in enumerate(steps, 1):
        image = states[-1].copy()
        step(image)
        states.append(image)
        times.append(max(times[-1], arrival(scene, i)))
    return Painted(tuple(states), tuple(times))


def question(image: Image.Image, question: Words, top: int, bottom: int) -> None:
    ImageDraw.Draw(image).rectangle((LEFT, top + 6, LEFT + 6, bottom - 10), fill=ACCENT)
    write(image, (LEFT + 26, top, RIGHT, bottom), question, (34, 30, 26, 23), middle=True)


def strip(image: Image.Image, shown: Shown, at: tuple[int, int, int, int]) -> None:
    """The outcome below a completion."""
    fill, back = (GOOD, GOOD_BACK) if shown.right else (BAD, BAD_BACK)
    box(image, at, back, fill)
    left, top, right, bottom = at
    write(
        image,
        (left + 22, top + 6, right - 22, bottom - 6),
        shown.outcome,
        (28, 26, 24, 22, 20),
        fill,
        middle=True,
    )

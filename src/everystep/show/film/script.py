"""The film of a run as plain data: its scenes, what is said in them and when, and where every figure is from.

`scenes.py` makes a film from a run, `render.py` makes files from a film.
"""

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any

from everystep.core.files import to_json
from everystep.show.figures import Words, plain

LONGEST = 180.0  # seconds; no film is longer
PACE = 2.5  # spoken words a second: 150 a minute
LEAD, PAUSE, TAIL = 0.6, 0.35, 0.9  # seconds of a scene before, between and after its sentences
CUE = 92  # characters of one caption


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said at one time. `shows`: how many of the scene's blocks are seen from then on. `rank`: 0 for what
    must be said; the highest is left out first where time is short."""

    words: Words
    shows: int
    rank: int = 0

    @property
    def seconds(self) -> float:
        return spoken(plain(self.words)) / PACE


@dataclass(frozen=True, slots=True)
class Chart:
    """Values over steps: of each line, by its metric in the rows of `file`, its name and points."""

    file: str
    lines: dict[str, tuple[str, list[tuple[float, float]]]]
    axis: str
    share: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A box of a scene: a heading, and whichever of these it has, in this order. `trace`: a record's text with its
    claims, as `checked.marked` takes it; `sound` whether the record is."""

    heading: Words = ()
    text: Words = ()
    trace: dict[str, Any] | None = None
    sound: bool | None = None
    chart: Chart | None = None
    head: tuple[str, ...] = ()
    rows: tuple[tuple[Words, ...], ...] = ()
    code: tuple[Words, ...] = ()
    items: tuple[Words, ...] = ()
    wide: bool = False  # as wide as the picture


@dataclass(frozen=True, slots=True)
class Scene:
    """`kicker` stands above the title; `least`: seconds that what is shown needs; `rank`: as a sentence's."""

    kicker: str
    title: str
    sentences: tuple[Sentence, ...]
    blocks: tuple[Block, ...]
    source: str
    least: float = 0.0
    rank: int = 0

    @property
    def seconds(self) -> float:
        said = sum(s.seconds for s in self.sentences) + PAUSE * (len(self.sentences) - 1)
        # In whole tenths, so that a sum of many is exact enough to be counted in frames.
        return math.ceil(10 * max(self.least, LEAD + said + TAIL)) / 10


@dataclass(frozen=True, slots=True)
class Cue:
    """One caption: its scene, how many blocks of that are seen, and from when to when in seconds of the film."""

    scene: int
    shows: int
    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Film:
    """All of it. `remarks`: what the run has not got, or damage that was met."""

    name: str
    scenes: tuple[Scene, ...]
    remarks: tuple[str, ...] = field(default=())

    @property
    def seconds(self) -> float:
        return round(sum(s.seconds for s in self.scenes), 1)


def spoken(text: str) -> int:
    """How many words a text is when spoken; each digit and decimal point counts as one.

    >>> spoken("right on 87.8 percent"), spoken("plus 5")
    (7, 2)
    """
    return len(re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d|\.(?=\d)", text))


def fit(film: Film, seconds: float = LONGEST) -> Film:
    """The film without what has the highest rank, until it lasts no longer than `seconds`. Raises ValueError, with
    the least that is possible, where what must stay is longer, and for more than `LONGEST`."""
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"a film lasts at most {LONGEST:.0f} seconds, asked for {seconds:g}")
    some = list(film.scenes)
    while (lasts := round(sum(s.seconds for s in some), 1)) > seconds:
        ranks = [(s.rank, i, -1) for i, s in enumerate(some)]
        ranks += [(one.rank, i, k) for i, s in enumerate(some) for k, one in enumerate(s.sentences)]
        rank, i, k = max(ranks)
        if rank == 0:
            raise ValueError(f"the film of this run needs at least {math.ceil(lasts)} seconds; give as many")
        if k < 0:
            del some[i]
        else:
            some[i] = replace(some[i], sentences=some[i].sentences[:k] + some[i].sentences[k + 1 :])
    return replace(film, scenes=tuple(some))


def starts(scene: Scene) -> list[float]:
    """When each sentence begins, in seconds of its scene; spare time lies between them."""
    spare = scene.seconds - TAIL - LEAD - sum(s.seconds for s in scene.sentences)
    gap = min(1.6, spare / max(1, len(scene.sentences) - 1))
    return [LEAD + sum(s.seconds + gap for s in scene.sentences[:k]) for k in range(len(scene.sentences))]


def cues(film: Film) -> list[Cue]:
    """The captions: what is said, cut into pieces of at most `CUE` characters, each as long as it is spoken. With
    the last sentence of a scene all of its blocks are seen."""
    out, begin = [], 0.0
    for i, scene in enumerate(film.scenes):
        for sentence, start in zip(scene.sentences, starts(scene), strict=True):
            shows = len(scene.blocks) if sentence is scene.sentences[-1] else sentence.shows
            chunks, at = _chunks(plain(sentence.words)), begin + start
            for chunk in chunks:
                end = at + sentence.seconds * spoken(chunk) / (sum(map(spoken, chunks)) or 1)
                out.append(Cue(i, shows, round(at, 3), round(end, 3), chunk))
                at = end
        begin += scene.seconds
    return out


def _chunks(text: str) -> list[str]:
    """A text in lines of at most `CUE` characters that are about equally long."""
    aim, out = len(text) / math.ceil(len(text) / CUE), [""]
    for word in [w[i : i + CUE] for w in text.split() for i in range(0, len(w), CUE)]:
        joined = f"{out[-1]} {word}".strip()
        if out[-1] and len(joined) > min(CUE, aim + len(word) / 2):
            out.append(word)
        else:
            out[-1] = joined
    return out


def narration(film: Film) -> str:
    """All that is said, a paragraph for each scene."""
    return "\n\n".join(" ".join(plain(s.words) for s in scene.sentences) for scene in film.scenes)


def webvtt(film: Film) -> str:
    """The captions as a WebVTT file."""

    def clock(seconds: float) -> str:
        minutes, ms = divmod(round(1000 * seconds), 60_000)
        return f"00:{minutes:02d}:{ms // 1000:02d}.{ms % 1000:03d}"

    lines = ["WEBVTT", ""]
    for i, cue in enumerate(cues(film), 1):
        text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        lines += [str(i), f"{clock(cue.start)} --> {clock(cue.end)}", text, ""]
    return "\n".join(lines)


def as_json(film: Film) -> dict[str, Any]:
    """The film as plain values: scenes with their times, captions, figures with their sources."""
    out, begin = to_json(film) | {"seconds": film.seconds, "captions": to_json(cues(film))}, 0.0
    for scene, own in zip(film.scenes, out["scenes"], strict=True):
        own |= {"begins": round(begin, 1), "lasts": scene.seconds}
        begin += scene.seconds
    return out

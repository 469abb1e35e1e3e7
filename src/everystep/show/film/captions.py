"""The captions of a film, and its narration as text: what is said, cut into pieces that two lines hold."""

import math
from dataclasses import dataclass

from everystep.show.film.script import Film, spoken

CUE = 92  # characters of one caption


@dataclass(frozen=True, slots=True)
class Cue:
    """One caption: from when to when, in seconds of the film."""

    start: float
    end: float
    text: str


def cues(film: Film) -> tuple[Cue, ...]:
    """The captions: what is said, cut into pieces that two lines hold, each as long as it is spoken."""
    out, begin = [], 0.0
    for scene in film.scenes:
        for sentence, start in zip(scene.sentences, scene.starts(), strict=True):
            chunks = _chunks(sentence.words.text)
            whole = sum(map(spoken, chunks)) or 1
            at = begin + start
            for chunk in chunks:
                end = at + sentence.seconds * spoken(chunk) / whole
                out.append(Cue(round(at, 3), round(end, 3), chunk))
                at = end
        begin += scene.seconds
    return tuple(out)


def narration(film: Film) -> str:
    """All that is said, a paragraph for each scene."""
    return "\n\n".join(" ".join(s.words.text for s in scene.sentences) for scene in film.scenes if scene.sentences)


def webvtt(film: Film) -> str:
    """The captions as a WebVTT file."""
    lines = ["WEBVTT", ""]
    for i, cue in enumerate(cues(film), 1):
        text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        lines += [str(i), f"{_clock(cue.start)} --> {_clock(cue.end)}", text, ""]
    return "\n".join(lines)


def _chunks(text: str) -> list[str]:
    """A text in the least number of pieces of at most `CUE` characters, as even as words allow."""
    words = [w[i : i + CUE] for w in text.split() for i in range(0, len(w), CUE)]
    for n in range(max(1, math.ceil(len(" ".join(words)) / CUE)), len(words) + 1):
        aim, out = len(" ".join(words)) / n, [""]
        for word in words:
            joined = f"{out[-1]} {word}".strip()
            over = len(joined) > CUE or (len(out) < n and len(joined) > aim + len(word) / 2)
            if out[-1] and over:
                out.append(word)
            else:
                out[-1] = joined
        if all(len(c) <= CUE for c in out) and len(out) <= n:
            return out
    return words


def _clock(seconds: float) -> str:
    whole = round(1000 * seconds)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"

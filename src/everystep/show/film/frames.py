"""A film as frames: what is to be seen at each moment, drawn anew only where something changed.

The same film gives the same frames, byte by byte.
"""

from collections.abc import Iterator

from PIL import Image, ImageDraw

from everystep.show.film.canvas import INK, WIDTH, drawable, font, put
from everystep.show.film.captions import Cue, cues
from everystep.show.film.paint import Painted
from everystep.show.film.painters import paint
from everystep.show.film.script import Film

FADE = 0.4  # seconds in which a picture becomes the next one
_LEVELS = 6  # of a fade
_CAPTION = (900, 1024)  # between which rows the captions stand
_WIDE = 1400  # pixels of a line of theirs

State = tuple[int, int, tuple[int, ...], tuple[int, ...]]


def frames(film: Film, rate: int) -> Iterator[tuple[Image.Image, int]]:
    """The pictures of the film and for how many frames each stays, at `rate` frames a second."""
    captions, begin, before = cues(film), 0.0, None
    first = 0
    for number, scene in enumerate(film.scenes, 1):
        painted = paint(scene, number, len(film.scenes))
        last = round((begin + scene.seconds) * rate)
        last_key, stays, image = None, 0, before
        for frame in range(first, last):
            t = frame / rate - begin
            key = (state(painted, t), cue_at(captions, frame / rate), _level(t / FADE) if before else _LEVELS)
            if key == last_key:
                stays += 1
                continue
            if image is not None and last_key is not None:
                yield image, stays
            last_key, stays = key, 1
            image = draw(painted, key[0])
            if key[2] < _LEVELS and before is not None:
                image = Image.blend(before, image, key[2] / _LEVELS)
            if key[1] is not None:
                _caption(image, key[1].text)
        if image is not None and stays:
            yield image, stays
        before = draw(painted, state(painted, scene.seconds))
        begin, first = begin + scene.seconds, last


def still(film: Film, at: float) -> Image.Image:
    """The picture at one moment, in seconds of the film, without fades between scenes."""
    begin = 0.0
    for number, scene in enumerate(film.scenes, 1):
        if at < begin + scene.seconds or number == len(film.scenes):
            painted = paint(scene, number, len(film.scenes))
            image = draw(painted, state(painted, min(at - begin, scene.seconds)))
            cue = cue_at(cues(film), at)
            if cue is not None:
                _caption(image, cue.text)
            return image
        begin += scene.seconds
    raise ValueError("this film has no scene")


def state(painted: Painted, t: float) -> State:
    """What tells a scene's pictures apart: which state, how far faded in, how much is typed and wiped."""
    i = max(k for k, time in enumerate(painted.times) if time <= max(t, 0.0))
    level = _level((t - painted.times[i]) / FADE) if i else _LEVELS
    typed = tuple(max(0, min(x.laid.length, int((t - x.begin) * x.speed))) for x in painted.typed)
    wiped = tuple(
        round((x.right - x.left) * max(0.0, min(1.0, (t - x.begin) / x.seconds)) / 4) * 4 for x in painted.wipes
    )
    return i, level, typed, wiped


def draw(painted: Painted, what: State) -> Image.Image:
    """The picture of a state."""
    i, level, typed, wiped = what
    image = painted.states[i].copy()
    if level < _LEVELS:
        image = Image.blend(painted.states[i - 1], image, level / _LEVELS)
    for text, n in zip(painted.typed, typed, strict=True):
        put(image, text.laid, text.x, text.y, n)
    for wipe, n in zip(painted.wipes, wiped, strict=True):
        if n:
            # To the right of the axes is only a margin, which belongs to the last column.
            right = wipe.image.width if n >= wipe.right - wipe.left - 4 else wipe.left + n
            image.paste(wipe.image.crop((0, 0, right, wipe.image.height)), (wipe.x, wipe.y))
    return image


def cue_at(captions: tuple[Cue, ...], t: float) -> Cue | None:
    return next((c for c in captions if c.start <= t < c.end), None)


def _level(share: float) -> int:
    return max(0, min(_LEVELS, int(share * _LEVELS)))


def _caption(image: Image.Image, text: str) -> None:
    """The caption, in one line or two."""
    top, bottom = _CAPTION
    size = next((s for s in (38, 34, 30) if font("sans", s).getlength(text) < 1.8 * _WIDE), 26)
    rows = _rows(drawable(text), size)
    deep = round(1.32 * size)
    for i, row in enumerate(rows):
        wide = font("sans", size).getlength(row)
        y = top + (bottom - top - deep * len(rows)) // 2 + deep * i
        ImageDraw.Draw(image).text(((WIDTH - wide) / 2, y), row, INK, font("sans", size))


def _rows(text: str, size: int) -> list[str]:
    """One line, or two that are as even as can be."""
    one = font("sans", size)
    if one.getlength(text) <= _WIDE:
        return [text]
    words = text.split(" ")
    cuts = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))]
    cuts = cuts or [(text[: len(text) // 2], text[len(text) // 2 :])]
    return list(min(cuts, key=lambda rows: max(one.getlength(row) for row in rows)))

"""How each kind of scene looks. Frames are made of what comes out of this in `film.frames`."""

from collections.abc import Callable

from PIL import Image, ImageDraw

from everystep.show.film.canvas import (
    ACCENT,
    BACK,
    INK,
    LINE,
    SOFT,
    Laid,
    Run,
    best,
    blank,
    box,
    marked,
    runs_of,
    signs,
    write,
)
from everystep.show.film.drawings import charts, diagram, training
from everystep.show.film.paint import (
    BOTTOM,
    LEFT,
    RIGHT,
    TEXT,
    TOP,
    Painted,
    arrival,
    question,
    states,
    strip,
    typed,
)
from everystep.show.film.script import (
    TAIL,
    Card,
    Charts,
    Diagram,
    Example,
    Insights,
    Panels,
    Result,
    Scene,
    Training,
    Words,
    say,
)


def paint(scene: Scene, number: int, of: int) -> Painted:
    """A scene drawn; it is the `number`-th `of` so many."""
    base = blank()
    if not isinstance(scene.content, Card):
        _header(base, scene)
    _dots(base, number, of)
    write(base, (LEFT, 1040, RIGHT, 1070), scene.source, (20, 18, 16), SOFT)
    content = scene.content
    if isinstance(content, Card):
        return _card(base, scene, content)
    if isinstance(content, Panels):
        return _panels(base, scene, content)
    if isinstance(content, Diagram):
        return diagram(base, scene, content)
    if isinstance(content, Training):
        return training(base, scene, content)
    if isinstance(content, Charts):
        return charts(base, scene, content)
    if isinstance(content, Example):
        return _example(base, scene, content)
    if isinstance(content, Insights):
        return _insights(base, scene, content)
    return _result(base, scene, content)


def _header(image: Image.Image, scene: Scene) -> None:
    write(image, (LEFT, 58, 1500, 94), scene.kicker.upper(), (26,), ACCENT, "bold")
    write(image, (LEFT, 94, 1500, 180), scene.title, (52, 44, 36), INK, "bold")


def _dots(image: Image.Image, number: int, of: int) -> None:
    draw = ImageDraw.Draw(image)
    for i in range(of):
        x = RIGHT - 26 * (of - i) + 8
        draw.rounded_rectangle((x, 72, x + 18, 78), 3, ACCENT if i < number else LINE)


def _card(base: Image.Image, scene: Scene, card: Card) -> Painted:
    ImageDraw.Draw(base).rectangle((LEFT, 226, LEFT + 12, 452), fill=ACCENT)
    write(base, (LEFT + 44, 212, RIGHT, 350), scene.title, (92, 80, 64), INK, "bold")
    write(base, (LEFT + 44, 372, RIGHT, 452), card.under, (42, 36), SOFT)

    def facts(image: Image.Image) -> None:
        y = 508
        for fact in card.facts[:6]:
            write(image, (LEFT + 44, y, RIGHT, y + 52), runs_of(fact, INK, number=ACCENT), (34, 30, 26, 22))
            y += 60

    return states(base, scene, [facts])


def _panels(base: Image.Image, scene: Scene, panels: Panels) -> Painted:
    question(base, panels.question, TOP, TOP + 96)
    n, gap = len(panels.panels), 28
    wide = (RIGHT - LEFT - gap * (n - 1)) // n
    top, foot, bottom = TOP + 112, 718, 822
    laids = _same_size([marked(p) for p in panels.panels], wide - 48, foot - top - 76)
    states, times, texts = [base], [0.0], []
    for i, (panel, laid) in enumerate(zip(panels.panels, laids, strict=True)):
        x = LEFT + i * (wide + gap)
        image = states[-1].copy()
        box(image, (x, top, x + wide, bottom))
        write(image, (x + 24, top + 14, x + wide - 24, top + 58), panel.heading, (30,), ACCENT, "bold")
        begin = max(times[-1], arrival(scene, i + 1))
        until = arrival(scene, i + 2) if i + 1 < n else scene.seconds - TAIL - 0.8
        one = typed(laid, x + 24, top + 66, begin + 0.3, until)
        states.append(image)
        times.append(begin)
        image = image.copy()
        strip(image, panel, (x, foot, x + wide, bottom))
        states.append(image)
        times.append(one.end)
        texts.append(one)
    image = states[-1].copy()
    write(image, (LEFT, 834, RIGHT, 880), panels.note, (24, 22, 20), SOFT)
    return Painted((*states, image), (*times, times[-1] + 0.6), tuple(texts))


def _same_size(texts: list[list[Run]], width: int, height: int) -> list[Laid]:
    """Texts in the one largest size at which all of them go in."""
    size = min(best(t, width, height, TEXT).size for t in texts)
    return [best(t, width, height, (size,)) for t in texts]


def _example(base: Image.Image, scene: Scene, example: Example) -> Painted:
    question(base, example.question, TOP, TOP + 100)
    box(base, (LEFT, TOP + 116, 1250, 806))
    box(base, (1278, TOP + 116, RIGHT, 806), BACK)
    write(base, (1302, TOP + 130, 1800, TOP + 170), say("Claims, checked"), (28,), ACCENT, "bold")
    write(base, (LEFT, 822, RIGHT, 878), runs_of(example.rate, SOFT, number=INK), (28, 26, 24, 21))
    laid = best(marked(example.shown), 1250 - LEFT - 64, 708 - TOP - 140, TEXT, 26)
    one = typed(laid, LEFT + 32, TOP + 138, max(0.8, arrival(scene, 1)), scene.seconds - TAIL - 0.6)
    states, times = [base], [0.0]
    y, reward = TOP + 180, example.shown.reward
    if len(reward) > 5:  # the last is the total
        reward = (*reward[:4], reward[-1])
    foot = 800 - 34 * (len(reward) + 1) if reward else 800
    for at, piece, fill in signs(example.shown):
        if y + 72 > foot or at > laid.length:
            break
        image = states[-1].copy()
        runs = [Run(f"{piece.sign[:1]} ", fill, "bold"), Run(piece.claim, INK, "mono")]
        write(image, (1302, y, 1806, y + 36), runs, (25, 23, 21, 19))
        write(image, (1336, y + 34, 1806, y + 64), piece.why, (21, 19), SOFT)
        y += 74
        states.append(image)
        times.append(one.begin + at / one.speed)
    image = states[-1].copy()
    if reward:
        write(image, (1302, foot, 1800, foot + 34), say("What it would earn"), (25,), ACCENT, "bold")
        for i, (part, value) in enumerate(reward, 1):
            write(image, (1302, foot + 34 * i, 1640, foot + 34 * i + 32), part.text, (23, 20), SOFT)
            write(image, (1650, foot + 34 * i, 1806, foot + 34 * i + 32), value, (23, 20))
    strip(image, example.shown, (LEFT, 718, 1250, 806))
    return Painted((*states, image), (*times, one.end + 0.3), (one,))


def _insights(base: Image.Image, scene: Scene, insights: Insights) -> Painted:
    n = max(1, len(insights.items))
    foot = 46 * len(insights.left_out) + (44 if insights.left_out else 0)
    deep = min(150, (BOTTOM - TOP - foot - 12) // n)

    def item(i: int, words: Words) -> Callable[[Image.Image], None]:
        def draw(image: Image.Image) -> None:
            y = TOP + i * deep
            ImageDraw.Draw(image).rectangle((LEFT, y + 8, LEFT + 8, y + deep - 18), fill=ACCENT)
            runs = runs_of(words, INK, number=ACCENT)
            place = (LEFT + 34, y + 4, RIGHT, y + deep - 14)
            write(image, place, runs, (34, 32, 30, 28, 26, 24), middle=True)

        return draw

    if insights.left_out:
        y = BOTTOM - foot
        write(base, (LEFT, y, RIGHT, y + 40), say("Not supported by this run"), (26,), SOFT, "bold")
        for i, words in enumerate(insights.left_out):
            write(base, (LEFT, y + 42 + 46 * i, RIGHT, y + 86 + 46 * i), say("– ", words), (26, 24, 22), SOFT)
    return states(base, scene, [item(i, words) for i, words in enumerate(insights.items)])


def _result(base: Image.Image, scene: Scene, r: Result) -> Painted:
    columns = (LEFT, 300, 760, 1090, 1410, RIGHT)

    def table(image: Image.Image) -> None:
        draw = ImageDraw.Draw(image)
        for i, head in enumerate(r.head):
            write(image, (columns[i], TOP, columns[i + 1] - 12, TOP + 40), head, (25, 23), SOFT)
        for k, row in enumerate(r.rows):
            y = TOP + 52 + 62 * k
            draw.line((LEFT, y - 6, RIGHT, y - 6), fill=LINE, width=2)
            for i, cell in enumerate(row):
                fill, kind = (ACCENT, "bold") if i == 0 else (INK, "sans")
                write(image, (columns[i], y, columns[i + 1] - 12, y + 52), cell, (34, 30), fill, kind)
        y = TOP + 62 + 62 * len(r.rows)
        for words in r.pairs[:3]:
            write(image, (LEFT, y, RIGHT, y + 40), runs_of(words, SOFT, number=INK), (26, 24, 22))
            y += 42

    top = TOP + 78 + 62 * len(r.rows) + 42 * len(r.pairs[:3])
    painted = states(base, scene, [table])
    image = painted.states[-1].copy()
    box(image, (LEFT, top, RIGHT, BOTTOM))
    write(image, (LEFT + 28, top + 14, 800, top + 56), r.shown.heading, (28,), ACCENT, "bold")
    write(image, (LEFT + 28, top + 64, 800, BOTTOM - 110), r.question, (26, 24, 22, 20))
    strip(image, r.shown, (LEFT + 28, BOTTOM - 104, 800, BOTTOM - 16))
    laid = best(marked(r.shown), RIGHT - 850 - 30, BOTTOM - top - 30, (32, 28, 26, 24, 22, 20))
    begin = painted.times[-1] + 1.0
    one = typed(laid, 850, top + 16, begin + 0.3, scene.seconds - TAIL)
    return Painted((*painted.states, image), (*painted.times, begin), (one,))

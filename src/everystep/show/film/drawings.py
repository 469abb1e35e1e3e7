"""How the scenes on model and training look: the diagram, the three columns, the charts."""

from PIL import Image, ImageDraw

from everystep.show.film.canvas import (
    ACCENT,
    BACK,
    BAD,
    GOOD,
    INK,
    LINE,
    PANEL,
    SOFT,
    arrow,
    box,
    runs_of,
    write,
)
from everystep.show.film.charts import pictures
from everystep.show.film.paint import BOTTOM, LEFT, RIGHT, TOP, Painted, Wipe, arrival, states
from everystep.show.film.script import Charts, Diagram, Scene, Training, Words, say


def diagram(base: Image.Image, scene: Scene, d: Diagram) -> Painted:
    def model(image: Image.Image) -> None:
        write(image, (LEFT, TOP, 920, TOP + 50), d.model, (34, 30, 26), INK)
        if not d.stack:
            return
        box(image, (LEFT, 768, 420, 876))
        _named(image, d.stack[0], (LEFT, 768, 420, 876))
        _layers(image, d.layers, d.stack[1], (LEFT, 388, 420, 736))
        box(image, (LEFT, 256, 420, 356))
        _named(image, d.stack[2], (LEFT, 256, 420, 356))
        arrow(image, [(258, 768), (258, 740)])
        arrow(image, [(258, 388), (258, 360)])
        box(image, (476, 388, 940, 736), BACK)
        write(image, (500, 398, 900, 436), say("One block"), (28,), SOFT)
        ImageDraw.Draw(image).line((420, 562, 476, 562), fill=LINE, width=3)
        for i, row in enumerate(d.block[:2]):
            _named_box(image, row, (496, 442 + 96 * i, 920, 530 + 96 * i))
        write(image, (476, 768, 940, 876), _legend(d), (26, 24, 22), SOFT, middle=True)

    def adapters(image: Image.Image) -> None:
        if d.block:
            _named_box(image, d.block[-1], (496, 634, 920, 722), GOOD)
        else:
            write(image, (LEFT, TOP + 60, 920, 400), scene.sentences[0].words, (30,), SOFT)

    flow = d.flow

    def sft(image: Image.Image) -> None:
        for i, row in enumerate(flow[:-2]):
            _named_box(image, row, (1010, TOP + 116 * i, 1490, TOP + 88 + 116 * i))
            if i:
                arrow(image, [(1250, TOP - 28 + 116 * i), (1250, TOP - 4 + 116 * i)])

    def grpo(image: Image.Image) -> None:
        top = TOP + 116 * (len(flow) - 2)
        arrow(image, [(1250, top - 28), (1250, top - 4)])
        _named_box(image, flow[-2], (1010, top, 1490, top + 88), ACCENT)
        _named_box(image, flow[-1], (1010, top + 132, 1490, top + 220), ACCENT)
        arrow(image, [(1200, top + 88), (1200, top + 128)], ACCENT)
        arrow(image, [(1490, top + 176), (1560, top + 176), (1560, top + 44), (1494, top + 44)], ACCENT)
        write(image, (1222, top + 92, 1400, top + 128), say("completions"), (23,), SOFT)
        write(image, (1580, top + 60, RIGHT, top + 164), say("what earns more becomes likelier"), (24, 22), SOFT)

    def form(image: Image.Image) -> None:
        box(image, (1010, 676, RIGHT, 876), BACK)
        write(image, (1034, 692, 1240, 730), say("The form"), (28,), SOFT)
        write(image, (1250, 686, 1800, 872), "\n".join(d.form), (26, 24), INK, "mono")

    return states(base, scene, [model, adapters, sft, grpo, form])


def _legend(d: Diagram) -> Words:
    if "local" not in d.layers:
        return say("")
    return say("Blocks from below: dim ones see a window, bright ones everything before them.")


def _layers(
    image: Image.Image, layers: tuple[str, ...], named: tuple[Words, Words], at: tuple[int, int, int, int]
) -> None:
    """The blocks from below, those that see everything brighter."""
    left, top, right, bottom = at
    box(image, at)
    write(image, (left + 20, top + 10, right - 20, top + 46), say(named[1], " ", "blocks"), (26,), INK)
    n = max(1, len(layers))
    step = (bottom - top - 64) / n
    draw = ImageDraw.Draw(image)
    for i, kind in enumerate(layers):
        y = bottom - 12 - (i + 1) * step
        fill = ACCENT if kind == "global" else "#2f5273" if kind == "local" else SOFT
        draw.rectangle((left + 20, y, right - 20, y + max(1, step - min(8, step / 3))), fill=fill)


def _named(image: Image.Image, row: tuple[Words, Words], at: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = at
    half = (top + bottom) // 2
    write(image, (left + 20, top + 10, right - 16, half), row[0], (28, 26), INK, "bold")
    write(image, (left + 20, half, right - 16, bottom - 4), row[1], (25, 23, 21, 19), SOFT)


def _named_box(image: Image.Image, row: tuple[Words, Words], at: tuple[int, int, int, int], edge: str = LINE) -> None:
    box(image, at, PANEL, edge, 3 if edge != LINE else 2)
    _named(image, row, at)


def training(base: Image.Image, scene: Scene, t: Training) -> Painted:
    def data(image: Image.Image) -> None:
        box(image, (LEFT, TOP, 720, BOTTOM))
        write(image, (LEFT + 28, TOP + 18, 692, TOP + 62), say("Data"), (32,), ACCENT, "bold")
        y = TOP + 76
        for i, (key, words) in enumerate(t.task):
            if i == 0 or t.task[i - 1][0] != key:
                write(image, (LEFT + 28, y, 692, y + 30), key, (21,), SOFT)
                y += 31
            laid = write(image, (LEFT + 28, y, 692, y + 110), words, (25, 23, 21), INK, "mono")
            y += laid.height + 7
            if y > 640:
                break
        y = 660
        for words in t.counts[:4]:
            write(image, (LEFT + 28, y, 692, y + 46), runs_of(words, SOFT, number=INK), (27, 24, 21))
            y += 48

    def reward(image: Image.Image) -> None:
        box(image, (748, TOP, 1180, BOTTOM))
        write(image, (776, TOP + 18, 1160, TOP + 62), say("Reward"), (32,), ACCENT, "bold")
        write(image, (776, TOP + 64, 1160, TOP + 100), t.reward, (24, 22), SOFT)
        most = max((abs(w.value) for _, w in t.parts), default=1.0)
        y, draw = TOP + 122, ImageDraw.Draw(image)
        deep = min(92, (BOTTOM - y - 12) // max(1, len(t.parts[:8])))
        for part, weight in t.parts[:8]:
            write(image, (776, y, 1060, y + 36), part.text, (26, 23, 20))
            write(image, (1066, y, 1160, y + 36), weight.text, (26, 23), INK, "bold")
            wide = max(4, round(384 * abs(weight.value) / most))
            draw.rounded_rectangle((776, y + 40, 776 + wide, y + 54), 5, GOOD if weight.value > 0 else BAD)
            y += deep
        y = max(y + 10, 640)
        for words in t.order[:4] if y < 760 else ():
            write(image, (776, y, 1160, y + 40), runs_of(words, SOFT, number=INK), (25, 23, 21))
            y += 44

    def loop(image: Image.Image) -> None:
        box(image, (1208, TOP, RIGHT, BOTTOM))
        write(image, (1236, TOP + 18, 1800, TOP + 62), say("Loop"), (32,), ACCENT, "bold")
        y = TOP + 78
        for words in t.loop:
            runs = runs_of(words, INK, "mono", ACCENT)
            laid = write(image, (1236, y, 1806, y + 64), runs, (24, 22, 20), INK, "mono")
            y += laid.height + 8
        _bars(image, t)

    return states(base, scene, [data, reward, loop])


def _bars(image: Image.Image, t: Training) -> None:
    """The rewards of one group as bars from their least, and a line at their mean."""
    if not t.group:
        return
    values = [f.value for f in t.group]
    low, high = min(0.0, *values), max(0.0, *values)
    left, right, top, bottom = 1236, 1796, 606, 790
    draw, step = ImageDraw.Draw(image), (right - left) / len(values)
    mean = sum(values) / len(values)

    def row(value: float) -> int:
        return round(bottom - (bottom - top) * (value - low) / (high - low or 1.0))

    for i, f in enumerate(t.group):
        x, ends = round(left + i * step), sorted((row(f.value), row(0.0)))
        draw.rectangle(
            (x, ends[0], round(x + 0.7 * step), max(ends[0] + 3, ends[1])),
            fill=GOOD if f.value > mean else BAD,
        )
        write(image, (x, bottom + 4, round(x + step), bottom + 34), f.text, (20, 17, 14), SOFT)
    draw.line((left - 6, row(mean), right, row(mean)), fill=INK, width=2)
    write(image, (left, bottom + 40, right, bottom + 78), runs_of(t.group_of, SOFT, number=INK), (23, 21))


def charts(base: Image.Image, scene: Scene, charts: Charts) -> Painted:
    n = len(charts.charts)
    wide, deep = (850, 330) if n > 2 else (850, 480) if n == 2 else (RIGHT - LEFT, 560)
    states, times, wipes = [base], [0.0], []
    for i, chart in enumerate(charts.charts):
        x, y = LEFT + (i % 2) * (wide + 28), TOP + (i // 2) * (deep + 20)
        bare, full, left, right = pictures(chart, wide - 36, deep - 94)
        image = states[-1].copy()
        box(image, (x, y, x + wide, y + deep))
        write(image, (x + 24, y + 10, x + 440, y + 50), chart.title, (27, 24), INK, "bold")
        write(image, (x + 24, y + 48, x + wide - 24, y + 84), runs_of(chart.ends, SOFT, number=INK), (22, 20))
        image.paste(bare, (x + 18, y + 86))
        begin = max(times[-1], arrival(scene, i + 1))
        states.append(image)
        times.append(begin)
        wipes.append(Wipe(full, x + 18, y + 86, left, right, begin + 0.4, 3.0))
    return Painted(tuple(states), tuple(times), (), tuple(wipes))

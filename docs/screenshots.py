"""The images of README.md, made from one finished run by the package's own commands and pages.

    python docs/screenshots.py RUN [--out docs/images]

RUN needs base, SFT and GRPO evaluated, and the adapters for the playground. It is only read: the report is
made again, elsewhere. Needs what `make` installs (playwright, Pillow, gradio) and Chromium (Debian: apt-get
install chromium); nothing is asked of any machine but this one. Images in which a path, the host's name or an
address of this machine could be read are not written.
"""

import argparse
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from rich.console import Console
from rich.text import Text

from everystep.core.files import read_json
from everystep.core.run import Run, read_run
from everystep.core.types import Task, Truth
from everystep.show.findings import Findings, read_findings
from everystep.show.report import page

IMAGES = (
    "report-light.png",
    "report-dark.png",
    "work-light.png",
    "work-dark.png",
    "playground-light.png",
    "playground-dark.png",
    "terminal.png",
)
BYTES = 300_000  # of one image, at most
COLOURS, EXACT = 80, 24  # of one image: text on a few plain backgrounds, which are exact
WIDTH, SCALE = 1100, 2  # CSS pixels, and the image's for each of them
COLUMNS = 92  # of the terminal
SHORT = 170  # characters of the question for the playground
HOST = socket.gethostname()
PATIENCE = 300_000  # milliseconds for a first answer, which compiles

# What can be read between two heights of the window: texts, and what is written in fields.
_SEEN = """([top, bottom]) => {
  const seen = [], range = document.createRange();
  const inside = (box) => box.height > 0 && box.bottom > top && box.top < bottom;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    range.selectNodeContents(texts.currentNode);
    if ([...range.getClientRects()].some(inside)) seen.push(texts.currentNode.data);
  }
  for (const field of document.querySelectorAll("input, textarea"))
    if (inside(field.getBoundingClientRect())) seen.push(field.value);
  return seen.join("\\n");
}"""

Shot = tuple[str, bytes]


def main(words: Sequence[str] | None = None) -> int:
    wanted = argparse.ArgumentParser(description="The images of README.md, from one run.")
    wanted.add_argument("run", type=Path, metavar="RUN", help="the directory of a finished run")
    wanted.add_argument("--out", type=Path, default=Path(__file__).parent / "images", metavar="DIR")
    given = wanted.parse_args(words)
    try:
        run = read_run(given.run)
        found = read_findings(run)
        with chromium() as browser:
            shots = [
                *report_shots(browser, found),
                terminal_shot(browser, run),
                *playground_shots(browser, run, question(found)),
            ]
        images = [(name, small(name, png)) for name, png in shots]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    for name, png in images:
        (given.out / name).write_bytes(png)
        print(f"{given.out / name} ({len(png) / 1000:.0f} kB)")
    print(origin(run))
    return 0


def origin(run: Run) -> str:
    """Which run it was, as its own files say: recipe, seed, commit."""
    recipe, came = read_json(run.recipe_resolved), read_json(run.provenance)
    changed = ", with changes" if came["changes"] else ""
    return f"recipe {recipe['name']}, seed {recipe['seed']}, commit {str(came['commit'])[:7]}{changed}"


def question(found: Findings) -> Task:
    """The first short task on which the last stage but one makes a false claim and the last is right."""
    if len(found.stages) < 2:
        raise ValueError(f"{found.name}: one stage only has been evaluated; a comparison needs two")
    before, after = found.stages[-2:]
    for key, line in after.lines.items():
        task = line.graded.task
        if key not in before.lines or not line.graded.contract or len(task.question) > SHORT:
            continue
        was = before.lines[key].graded
        if not was.contract and any(c.truth is Truth.FALSE for c in was.checks):
            return task
    raise ValueError(f"{found.name}: there is no short task that {after.name} mended; take another run")


@contextmanager
def chromium() -> Iterator[Browser]:
    path = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if path is None:
        raise ValueError("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--hide-scrollbars"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, theme: str, width: int = WIDTH) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if theme == "dark" else "light",
        device_scale_factor=SCALE,
        reduced_motion="reduce",
    )
    view = context.new_page()
    view.set_default_timeout(PATIENCE)
    view.goto(url)
    yield view
    context.close()


def report_shots(browser: Browser, found: Findings) -> Iterator[Shot]:
    """The report's head down to what the gain is made of, and two tasks before and after."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "index.html"
        place.write_text(page(found), encoding="utf-8")
        for theme in ("light", "dark"):
            with opened(browser, place.as_uri(), theme) as view:
                view.wait_for_selector("html[data-ready]")
                yield f"report-{theme}.png", shot(view, view.locator("header"), view.locator("#stages"))
                if len(found.stages) > 1:
                    view.locator("#f-before").select_option(index=len(found.stages) - 2)
                    view.locator("#f-change").select_option(label="fixed")
                    view.locator("#f-was").select_option(label="calculation error")
                tasks = view.locator("#tasks article")
                if not tasks.count():
                    raise ValueError(f"{found.name}: no calculation error was mended; take another run")
                tasks.first.locator("mark.false[tabindex]").last.hover()  # its reason is shown
                yield (
                    f"work-{theme}.png",
                    shot(view, view.locator("#work"), tasks.nth(min(1, tasks.count() - 1))),
                )


def terminal_shot(browser: Browser, run: Run) -> Shot:
    """What `everystep show` writes to a terminal, drawn by rich."""
    environment = os.environ | {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    root = run.root.resolve()
    words = ["everystep", "show", root.name, "--examples", "1"]
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env=environment,
        cwd=root.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"everystep show: {done.stderr.strip()}")
    shown = Text.from_ansi(done.stdout.strip("\n"))
    with open(os.devnull, "w") as nowhere:
        console = Console(width=COLUMNS, record=True, file=nowhere, force_terminal=True)
        console.print(shown)
        drawn = console.export_svg(title=" ".join(words))
    # rich's drawing would ask a server for its font; the machine's own will do.
    drawn = re.sub(r"@font-face\s*\{[^}]*\}", "", drawn).replace("Fira Code", "DejaVu Sans Mono")
    with opened(browser, "about:blank", "dark", 10 * COLUMNS) as view:
        view.set_content(f"<style>body {{ margin: 0 }} svg {{ display: block; width: 100% }}</style>{drawn}")
        picture = view.locator("svg")
        return "terminal.png", shot(view, picture, picture)


def playground_shots(browser: Browser, run: Run, task: Task) -> Iterator[Shot]:
    """The playground of the run, on which its stages answer one question side by side."""
    with playground(run.root) as url:
        for theme in ("light", "dark"):
            with opened(browser, url, theme) as view:
                view.wait_for_selector("html[data-playground=ready]")
                over = view.locator("#board [data-over=yes]")
                for _ in range(2):  # a first answer has to wait for its program
                    view.locator("#question textarea").fill(task.question)
                    view.locator("#gold textarea, #gold input").first.fill(task.answer)
                    view.locator("#go").click()
                    expect(view.locator("#board [data-over=no]")).to_be_attached(timeout=PATIENCE)
                    expect(over).to_be_visible(timeout=PATIENCE)
                yield (
                    f"playground-{theme}.png",
                    shot(view, view.locator(".sw.top"), view.locator("#board .raw")),
                )


@contextmanager
def playground(root: Path) -> Iterator[str]:
    """`everystep play`, on this machine only; its address."""
    command = [sys.executable, "-m", "everystep", "play", str(root), "--seconds", str(PATIENCE // 1000)]
    with subprocess.Popen([*command, "--quiet"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url.startswith("http://127.0.0.1:"):
                raise ValueError(f"{root}: the playground did not start")
            yield url
            process.send_signal(signal.SIGINT)
            process.wait(30)
        finally:
            process.kill()


def shot(view: Page, first: Locator, last: Locator) -> bytes:
    """The page from the top of one of its parts to the end of another, over its whole width."""
    top, end = first.bounding_box(), last.bounding_box()
    assert top is not None and end is not None
    margin = 0 if first is last else 16
    if found := personal(view.evaluate(_SEEN, [top["y"] - margin, end["y"] + end["height"] + margin])):
        raise ValueError(f"{view.title()}: shows what belongs to this machine: {found}")
    y = top["y"] + view.evaluate("window.scrollY")
    height = end["y"] + end["height"] - top["y"]
    width = view.evaluate("window.innerWidth")
    return view.screenshot(
        full_page=True,
        clip={"x": 0, "y": max(0.0, y - margin), "width": width, "height": height + 2 * margin},
    )


def personal(text: str) -> str:
    """The first thing in a text that tells about the machine it was made on: an absolute path, its name, an
    address other than 127.0.0.1. Nothing where there is none.

    >>> personal("evaluate/test/grpo/records.jsonl, 42 km/h, http://127.0.0.1:7860/")
    ''
    >>> personal("see file:///srv/run/x"), personal("in /srv/run/x"), personal("at 10.1.2.3:80")
    ('file://', '/srv/run', '10.1.2.3')
    """
    rules = [r"\b(?:https?|file)://(?!127\.0\.0\.1\b)", r"(?<![\w.:/])/[A-Za-z][\w.-]*/[\w.-]+"]
    rules += [r"\b(?!127\.0\.0\.1\b)\d{1,3}(?:\.\d{1,3}){3}\b"]
    rules += [rf"\b{re.escape(HOST)}\b"] if HOST != "localhost" else []
    found = (re.search(rule, text) for rule in rules)
    return next((one.group() for one in found if one), "")


def small(name: str, png: bytes) -> bytes:
    """The image with few colours and nothing besides; ValueError where it is still too large.

    The most frequent colours, which are the backgrounds, stay as they are; the others become the nearest of a
    palette that covers all there are, so that a rare one keeps its hue.
    """
    with Image.open(io.BytesIO(png)) as image:
        full = image.convert("RGB")
    wide = full.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    pixels = np.asarray(full).reshape(-1, 3)
    packed, at, counts = np.unique(pixels @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True, return_counts=True)
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)
    palette = np.concatenate(
        [colours[np.argsort(-counts, kind="stable")[:EXACT]], np.reshape(wide.getpalette() or [], (-1, 3))]
    )[:256]
    nearest = np.concatenate(
        [((some[:, None] - palette) ** 2).sum(2).argmin(1) for some in np.array_split(colours, 64)]
    )
    few = Image.fromarray(nearest[at].reshape(full.height, full.width).astype(np.uint8), "P")
    few.putpalette(palette.astype(np.uint8).tobytes())
    out = io.BytesIO()
    few.save(out, "PNG", optimize=True)
    if len(out.getvalue()) > BYTES:
        raise ValueError(f"{name}: has {len(out.getvalue())} bytes, and {BYTES} are the most; show less")
    return out.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())

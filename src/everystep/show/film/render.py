"""A film as files: `film.mp4` (H.264), its structure, captions and narration, and the one-page write-up.

The scenes are one HTML page. Headless Chromium takes a still of it for each caption; ffmpeg holds the stills and
fades from one to the next. Model text is hostile: the page escapes it, runs no script and may load nothing.
"""

import os
import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from everystep.core.files import write_bytes, write_json, write_text
from everystep.show import plots
from everystep.show.checked import marked
from everystep.show.figures import Quote, Words
from everystep.show.film.script import PAUSE, Chart, Film, as_json, cues, narration, starts, webvtt

RATE = 12  # frames a second: nothing moves but the fades
FADE = 4  # frames from one still to the next
VOICES = ("espeak-ng", "piper", "say")  # in the order in which they are asked for
READING = (
    "Right in form: the gold answer in exactly the agreed form, with its Wilson interval. Right in any form: for a "
    "forgiving reader. Differences are paired over the same tasks, with bootstrap intervals; p is McNemar's, exact, "
    "after Holm's correction. Tasks vary in these intervals, training seeds do not."
)
_TEMPLATES = Path(__file__).parents[1] / "templates"
_SAMPLES = 22_050  # a second of speech, one channel
_SLOWEST = 60.0  # seconds that a voice may take for one sentence
# Show one scene with so many of its blocks, and make its text so small that it goes into its box.
SHOW = """([scene, shows, caption]) => {
  document.querySelectorAll(".scene").forEach((s, i) => s.classList.toggle("on", i === scene));
  const body = document.querySelectorAll(".body")[scene];
  [...body.children].forEach((b, i) => b.classList.toggle("shown", i < shows));
  for (let size = 34; size > 12; size--) {
    body.style.fontSize = `${size}px`;
    if (body.scrollHeight <= body.clientHeight && body.scrollWidth <= body.clientWidth) break;
  }
  document.getElementById("caption").textContent = caption;
}"""
# Make the text of the write-up so small that it goes into two columns of one page.
_FIT = """() => {
  const paper = document.body;
  for (let size = 12; size >= 5; size -= 0.25) {
    paper.style.fontSize = `${size}px`;
    if (paper.scrollWidth <= paper.clientWidth) return true;
  }
  return false;
}"""
# Whatever can begin a mark, a link, a list or an element in Markdown.
_SPECIAL = re.compile(r"[\\`*_{}\[\]()#!|~$>:@]|^[-+]|(?<=\w{3})\.(?=\w)|(?<=^\d)\.|(?<=^\d\d)\.")


def chromium() -> str:
    """The path of Chromium. Raises ValueError, saying what to install, where it or playwright is missing."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        raise ValueError("the film needs playwright: pip install playwright imageio-ffmpeg") from None
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    if (path := next(filter(None, map(shutil.which, names)), None)) is None:
        raise ValueError("the film needs Chromium (Debian: apt-get install chromium)")
    return path


def ffmpeg() -> str:
    """The path of ffmpeg. Raises ValueError, saying what to install, where there is none."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        raise ValueError("the film needs ffmpeg: pip install playwright imageio-ffmpeg") from None
    try:
        return get_ffmpeg_exe()
    except RuntimeError:
        raise ValueError("imageio-ffmpeg has no ffmpeg for this machine; install ffmpeg itself") from None


def page(film: Film, paper: bool = False) -> str:
    """The film's scenes as one page; `paper`: the write-up, for a page of A4."""
    loader = FileSystemLoader(_TEMPLATES)
    env = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters.update(marked=marked, drawn=_drawn)
    style = Markup((_TEMPLATES / "film.css").read_text(encoding="utf-8"))
    return env.get_template("film.html").render(film=film, style=style, paper=paper, reading=READING)


def _drawn(chart: Chart, name: str) -> Markup:
    return plots.curves(dict(chart.lines.values()), chart.axis, name, chart.share, height=1.6)


@contextmanager
def opened(html: str, wide: int, high: int) -> Iterator[Any]:
    """A page in Chromium, without a network."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--hide-scrollbars"])
        view = browser.new_context(viewport={"width": wide, "height": high}, offline=True).new_page()
        view.set_content(html)
        yield view
        browser.close()


def stills(film: Film) -> Iterator[bytes]:
    """A still as PNG (1920 × 1080) for each caption of the film, in order."""
    with opened(page(film), 1920, 1080) as view:
        for cue in cues(film):
            view.evaluate(SHOW, [cue.scene, cue.shows, cue.text])
            yield view.screenshot()


def write_video(film: Film, path: Path, voice: str | None, height: int, done: Callable[[int], None]) -> bool:
    """Render a film to an MP4 file of that height; `voice` is what `find_voice` found, None for silence. `done` is
    called after each still. The file appears whole or not at all. Returns whether it speaks. Raises ValueError
    where Chromium or ffmpeg is missing or fails."""
    program = ffmpeg()
    with tempfile.TemporaryDirectory() as made:
        folder, times = Path(made), [cue.start for cue in cues(film)]
        lines = []
        ends = [*times[1:], film.seconds]
        begins = [0.0, *times[1:]]
        for i, (png, begin, end) in enumerate(zip(stills(film), begins, ends, strict=True)):
            (folder / f"{i}.png").write_bytes(png)
            lines.append(f"file {i}.png\nduration {(round(end * RATE) - round(begin * RATE)) / RATE:.6f}\n")
            done(1)
        (folder / "stills").write_text("".join(lines) + lines[-1].splitlines()[0] + "\n")
        sound = None if voice is None else speak(film, voice, program, folder)
        look = f"scale=-2:{height}:flags=area:out_color_matrix=bt709:out_range=tv,format=yuv420p,fps={RATE}"
        command = [
            program, "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
            "-f", "concat", "-i", str(folder / "stills"),
            *(["-i", str(sound), "-c:a", "aac", "-b:a", "96k"] if sound else []), "-t", f"{film.seconds:.1f}",
            # The mean of the last frames: a cross-fade wherever the still changes, and nothing elsewhere.
            "-vf", f"{look},tmix=frames={FADE}", "-c:v", "libx264", "-preset", "veryfast", "-tune", "animation",
            "-crf", "20", "-g", str(10 * RATE), "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc",
            "bt709", "-fflags", "+bitexact", "-flags", "+bitexact", "-map_metadata", "-1", "-movflags", "+faststart",
            str(folder / "film.mp4"),
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=900, check=False)
        if ran.returncode:
            said = ran.stderr.strip().splitlines() or ["it says nothing"]
            raise ValueError(f"ffmpeg failed: {said[-1][:200]}")
        write_bytes(path, (folder / "film.mp4").read_bytes())
    return sound is not None


def write_texts(film: Film, whole: Film, folder: Path) -> None:
    """The film's structure, captions and narration, and the write-up of all that the run gives to tell."""
    write_json(folder / "film.json", as_json(film))
    write_text(folder / "film.vtt", webvtt(film))
    write_text(folder / "narration.txt", narration(film) + "\n")
    write_text(folder / "writeup.md", markdown(whole))
    write_bytes(folder / "writeup.pdf", pdf(whole))


# The write-up


def on_paper(whole: Film) -> Film:
    """The write-up's scenes: the result first, then the others but for the single examples."""
    title, *scenes, result = whole.scenes
    return replace(whole, scenes=(title, result, *(s for s in scenes if s.kicker != "Examples")))


def pdf(whole: Film) -> bytes:
    """The write-up as one page of A4; its type becomes smaller until all of it fits."""
    with opened(page(on_paper(whole), paper=True), 718, 1043) as view:
        view.evaluate(_FIT)
        edge = {"top": "10mm", "bottom": "10mm", "left": "10mm", "right": "10mm"}
        return view.pdf(format="A4", margin=edge, print_background=True, page_ranges="1")


def markdown(whole: Film) -> str:
    """The write-up as Markdown."""
    lines: list[str] = []
    for i, scene in enumerate(on_paper(whole).scenes):
        lines += [f"# {scene.title}" if i == 0 else f"## {scene.title}", ""]
        for block in scene.blocks:
            lines += [f"**{_safe(block.heading)}**", ""] if block.heading else []
            lines += [_safe(block.text), ""] if block.text else []
            code = block.trace["text"] if block.trace else "\n".join(_raw(line) for line in block.code)
            if code:
                fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
                lines += [fence, code.strip("\n"), fence, ""]
            if block.rows:
                head = block.head or ("",) * len(block.rows[0])
                lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
                lines += [*("| " + " | ".join(map(_safe, row)) + " |" for row in block.rows), ""]
            lines += [*(f"- {_safe(item)}" for item in block.items), ""] if block.items else []
    return "\n".join([*lines, READING, ""])


def _raw(words: Words) -> str:
    return "".join(p if isinstance(p, str) else p.text for p in words)


def _safe(words: Words) -> str:
    """A text that Markdown shows as it is, on one line: in quotes every sign that could mean something to it is named
    by its number, so that there is no link, no mark and no element in them."""
    out = [
        _SPECIAL.sub(lambda m: f"&#{ord(m.group())};", p.text.replace("&", "&amp;").replace("<", "&lt;"))
        if isinstance(p, Quote)
        else (p if isinstance(p, str) else p.text).replace("<", "&lt;")
        for p in words
    ]
    return " ".join("".join(out).split())


# The voice


def find_voice() -> str | None:
    """The path of the first voice that is installed; piper counts only with its model in `PIPER_MODEL`."""
    for name in VOICES:
        path = shutil.which(name)
        if path is not None and (name != "piper" or os.environ.get("PIPER_MODEL")):
            return path
    return None


def speak(film: Film, voice: str, program: str, folder: Path) -> Path | None:
    """The narration as one sound file as long as the film: each sentence at its time, made faster (twice as fast at
    most, then cut) where the voice needs more time than it has. None where the voice fails."""
    whole, begin = bytearray(2 * round(film.seconds * _SAMPLES)), 0.0
    for scene in film.scenes:
        for sentence, start in zip(scene.sentences, starts(scene), strict=True):
            samples = _sentence(_raw(sentence.words), voice, program, sentence.seconds + PAUSE / 2, folder)
            if samples is None:
                return None
            at = 2 * round((begin + start) * _SAMPLES)
            whole[at : at + len(samples)] = samples[: len(whole) - at]
        begin += scene.seconds
    out = folder / "narration.wav"
    with wave.open(str(out), "wb") as file:
        file.setparams((1, 2, _SAMPLES, 0, "NONE", ""))
        file.writeframes(bytes(whole))
    return out


def _sentence(text: str, voice: str, program: str, seconds: float, folder: Path) -> bytes | None:
    """One sentence as samples, not longer than so many seconds. The text goes through a file, never into the
    command: it holds names that the run chose."""
    said, spoken, raw = folder / "said.txt", folder / "said.wav", folder / "said.raw"
    said.write_text(text, encoding="utf-8", errors="replace")
    commands = {
        "say": [voice, "-r", "150", "-o", str(spoken), "--data-format=LEI16@22050", "-f", str(said)],
        "piper": [voice, "--model", os.environ.get("PIPER_MODEL", ""), "--output_file", str(spoken)],
    }
    other = [voice, "-s", "150", "-w", str(spoken), "-f", str(said)]
    try:
        with open(said, "rb") as given:
            command = commands.get(Path(voice).name, other)
            subprocess.run(command, stdin=given, capture_output=True, timeout=_SLOWEST, check=True)
        with wave.open(str(spoken), "rb") as file:
            faster = min(2.0, max(1.0, file.getnframes() / file.getframerate() / seconds))
        command = [program, "-loglevel", "error", "-nostdin", "-y", "-i", str(spoken), "-filter:a",
                   f"atempo={faster:.4f}", "-t", f"{seconds:.3f}", "-ac", "1", "-ar", str(_SAMPLES),
                   "-f", "s16le", str(raw)]  # fmt: skip
        subprocess.run(command, capture_output=True, timeout=_SLOWEST, check=True)
    except (OSError, subprocess.SubprocessError, wave.Error, EOFError, ZeroDivisionError):
        return None
    return raw.read_bytes()

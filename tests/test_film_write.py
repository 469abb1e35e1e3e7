"""The film as a file: a real render in a small size, a voice, and the write-up on one page."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from everystep.cli.app import main
from everystep.core.run import Run
from everystep.show.film import speech, write
from everystep.show.film.captions import narration, webvtt
from everystep.show.film.frames import frames
from everystep.show.film.scenes import film_of, shortened, told_whole
from everystep.show.film.script import Figure, every
from everystep.show.writeup import fits, markdown, pdf, writeup
from run_fixtures import finished

# A voice that says everything as a tone, half a second a word; like espeak-ng it takes -w FILE and -f FILE.
VOICE = """#!{python}
import math, struct, sys, wave
words = len(open(sys.argv[sys.argv.index("-f") + 1], encoding="utf-8").read().split())
with wave.open(sys.argv[sys.argv.index("-w") + 1], "wb") as out:
    out.setnchannels(1), out.setsampwidth(2), out.setframerate(16000)
    out.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i / 9))) for i in range(8000 * words)))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished(tmp_path_factory.mktemp("runs") / "small", n=30, steps=12)


def probed(path: Path) -> tuple[float, list[str]]:
    """The duration in seconds and the streams, as ffmpeg tells them."""
    said = subprocess.run(
        [write.ffmpeg(), "-hide_banner", "-i", str(path)], capture_output=True, text=True, check=False
    )
    hours, minutes, seconds = re.findall(r"Duration: (\d+):(\d+):([\d.]+)", said.stderr)[0]
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds), re.findall(r"Stream #0:.*", said.stderr)


def test_a_render_plays_and_lasts_as_long_as_the_film(run: Run, tmp_path: Path) -> None:
    film = shortened(told_whole(run), 85)
    given: list[int] = []
    path = tmp_path / "film.mp4"
    assert not write.write_video(film, path, None, height=180, rate=2, done=given.append)
    seconds, streams = probed(path)
    assert seconds == pytest.approx(film.seconds, abs=0.6) and seconds <= 85
    assert len(streams) == 1 and "h264" in streams[0] and "320x180" in streams[0] and "yuv420p" in streams[0]
    assert sum(given) == round(2 * film.seconds)
    decoded = subprocess.run(
        [write.ffmpeg(), "-v", "error", "-i", str(path), "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert decoded.returncode == 0 and decoded.stderr == ""
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]  # nothing half-made stays


def test_frames_are_as_many_as_the_film_has_at_any_rate(run: Run) -> None:
    film = shortened(told_whole(run), 85)
    assert sum(stays for _, stays in frames(film, 1)) == round(film.seconds)


def test_a_voice_is_heard_and_never_makes_it_longer(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = tmp_path / "bin" / "espeak-ng"
    voice.parent.mkdir()
    voice.write_text(VOICE.format(python=sys.executable))
    voice.chmod(voice.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(voice.parent))
    assert speech.find_voice() == str(voice)
    film = shortened(told_whole(run), 80)
    path = tmp_path / "film.mp4"
    assert write.write_video(film, path, str(voice), height=90, rate=1)
    seconds, streams = probed(path)
    assert seconds <= film.seconds + 1 and any("Audio: aac" in s for s in streams)


def test_a_voice_that_fails_leaves_a_silent_film(run: Run, tmp_path: Path) -> None:
    voice = tmp_path / "espeak-ng"
    voice.write_text("#!/bin/sh\nexit 1\n")
    voice.chmod(0o755)
    film = shortened(told_whole(run), 80)
    assert speech.speak(film, str(voice), write.ffmpeg(), tmp_path) is None


def test_piper_counts_only_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "piper").write_text("#!/bin/sh\n")
    (tmp_path / "piper").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PIPER_MODEL", raising=False)
    assert speech.find_voice() is None
    monkeypatch.setenv("PIPER_MODEL", "voice.onnx")
    assert speech.find_voice() == str(tmp_path / "piper")


def test_an_encoder_that_fails_says_why_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    film = shortened(told_whole(run), 80)
    with pytest.raises(ValueError, match="ffmpeg failed: "):
        write.write_video(film, tmp_path / "film.mp4", None, height=181, rate=1)
    assert not list(tmp_path.iterdir())


def test_the_texts_beside_the_film(run: Run, tmp_path: Path) -> None:
    film = film_of(run)
    write.write_texts(film, tmp_path)
    assert (tmp_path / "film.vtt").read_text() == webvtt(film)
    assert (tmp_path / "narration.txt").read_text() == narration(film) + "\n"
    assert '"captions"' in (tmp_path / "film.json").read_text()


# The write-up


def test_the_write_up_has_the_films_figures_on_one_page(run: Run) -> None:
    whole = told_whole(run)
    made = writeup(whole)
    of_film = {(f.text, f.file, f.at) for f in every(whole, Figure)}
    own = list(every(made, Figure))
    assert len(own) > 40 and {(f.text, f.file, f.at) for f in own} <= of_film
    text = markdown(made)
    for figure in own:
        assert figure.text.replace("<", "&lt;") in text
    page = pdf(made)
    assert page == pdf(writeup(told_whole(run))) and page.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", page)) == 1
    assert len(page) < 300_000 and fits(made)


def test_hostile_text_stays_text_in_markdown(tmp_path: Path) -> None:
    whole = told_whole(finished(tmp_path / "run", n=20, hostile=True))
    text = markdown(writeup(whole))
    outside = re.sub(r"^(`{3,})\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"<[a-z/!]", outside) and "javascript:" not in outside and "](" not in outside
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", text)
    assert pdf(writeup(whole)).startswith(b"%PDF")


def test_the_write_up_of_a_run_that_is_not_finished(tmp_path: Path) -> None:
    import shutil

    run = finished(tmp_path / "run", n=12)
    for gone in ("grpo", "sft", "evaluate/test/grpo", "evaluate/test/sft"):
        shutil.rmtree(run.root / gone)
    made = writeup(told_whole(run))
    assert "This run is not finished" in markdown(made) and not made.charts
    assert pdf(made).startswith(b"%PDF")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_verb_at_full_size(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    assert main(["video", str(run.root), "--out", str(out), "--no-speech", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    seconds, streams = probed(out / "film.mp4")
    assert seconds <= 180 and "1920x1080" in streams[0] and len(streams) == 1
    names = {p.name for p in out.iterdir()}
    assert names == {"film.mp4", "film.vtt", "film.json", "narration.txt", "writeup.md", "writeup.pdf"}

"""A film as files: `film.mp4` (H.264), its script, its captions and its narration.

ffmpeg comes from the Python package imageio-ffmpeg, which the extra `video` installs.
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from everystep.core.extras import install_hint
from everystep.core.files import to_json, write_json, write_text
from everystep.show.film.captions import cues, narration, webvtt
from everystep.show.film.frames import frames
from everystep.show.film.script import Film
from everystep.show.film.speech import speak

RATE = 24  # frames a second


def ffmpeg() -> str:
    """The path of ffmpeg. Raises ValueError, saying what to install, where there is none."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        raise ValueError(
            f"the video needs ffmpeg from the package imageio-ffmpeg: {install_hint('video')}"
        ) from None
    try:
        return get_ffmpeg_exe()
    except RuntimeError:
        raise ValueError("imageio-ffmpeg has no ffmpeg for this machine; install ffmpeg itself") from None


def as_json(film: Film) -> dict[str, Any]:
    """The film's structure as plain values: scenes with their times, captions, figures with their sources."""
    scenes, begin = [], 0.0
    for scene in film.scenes:
        times = {"begins": round(begin, 1), "lasts": scene.seconds}
        scenes.append(times | to_json(scene))
        begin += scene.seconds
    return {
        "name": film.name,
        "seconds": film.seconds,
        "remarks": list(film.remarks),
        "scenes": scenes,
        "captions": [to_json(cue) for cue in cues(film)],
    }


def write_texts(film: Film, folder: Path) -> None:
    """The film's script, captions and narration."""
    write_json(folder / "film.json", as_json(film))
    write_text(folder / "film.vtt", webvtt(film))
    write_text(folder / "narration.txt", narration(film) + "\n")


def write_video(
    film: Film,
    path: Path,
    voice: str | None = None,
    height: int = 1080,
    rate: int = RATE,
    done: Callable[[int], None] = lambda frames: None,
) -> bool:
    """Render a film to an MP4 file; `voice` is what `speech.find_voice` found, None for silence. `done`
    is called with how many frames were given to the encoder.

    The file appears whole or not at all. Returns whether it speaks. Raises ValueError where ffmpeg is
    missing or fails.
    """
    program = ffmpeg()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    with tempfile.TemporaryDirectory() as made:
        sound = None if voice is None else speak(film, voice, program, Path(made))
        command = [
            program, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-f", "rawvideo",
            "-pixel_format", "rgb24", "-video_size", "1920x1080", "-framerate", str(rate), "-i", "-",
            *(["-i", str(sound), "-c:a", "aac", "-b:a", "96k"] if sound else []), "-t", f"{film.seconds:.1f}",
            "-vf", f"scale=-2:{height}:flags=area:out_color_matrix=bt709:out_range=tv,format=yuv420p",
            "-c:v", "libx264", "-preset", "veryfast", "-tune", "animation", "-crf", "20",
            "-g", str(10 * rate), "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
            "-color_range", "tv", "-fflags", "+bitexact", "-flags", "+bitexact", "-map_metadata", "-1",
            "-movflags", "+faststart", "-f", "mp4", str(beside),
        ]  # fmt: skip
        try:
            _encode(film, command, rate, Path(made) / "errors", done)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    return sound is not None


def _encode(film: Film, command: list[str], rate: int, errors: Path, done: Callable[[int], None]) -> None:
    """Give all frames to ffmpeg, and wait for its end."""
    with open(errors, "wb") as log:
        encoder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
    assert encoder.stdin is not None
    try:
        for image, stays in frames(film, rate):
            content = image.tobytes()
            for _ in range(stays):
                encoder.stdin.write(content)
            done(stays)
        encoder.stdin.close()
        failed = encoder.wait(timeout=600) != 0
    except (BrokenPipeError, subprocess.TimeoutExpired):
        failed = True
    finally:
        if encoder.poll() is None:
            encoder.kill()
            encoder.wait()
        with contextlib.suppress(OSError):  # what it did not take is of no use any more
            encoder.stdin.close()
    if failed:
        said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ValueError(f"ffmpeg failed: {said[-1][:200] if said else 'it says nothing'}")

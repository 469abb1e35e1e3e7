"""The narration spoken by a voice of this machine: espeak-ng, piper or say, where one is installed.

A sentence never takes longer than its time in the film: where a voice is slower, it is made faster.
"""

import os
import shutil
import subprocess
import wave
from pathlib import Path

from everystep.show.film.script import PAUSE, Film

VOICES = ("espeak-ng", "piper", "say")  # in the order in which they are asked for
_SAMPLES = 22_050  # a second of speech, one channel
_SLOWEST = 60.0  # seconds that a voice may take for one sentence
_FASTEST = 2.0  # how much faster a sentence may be made


def find_voice() -> str | None:
    """The path of the first voice that is installed; piper counts only with its model in `PIPER_MODEL`."""
    for name in VOICES:
        path = shutil.which(name)
        if path is not None and (name != "piper" or os.environ.get("PIPER_MODEL")):
            return path
    return None


def speak(film: Film, voice: str, program: str, folder: Path) -> Path | None:
    """The narration as one sound file as long as the film: each sentence at its time, made faster where the
    voice needs more time than it has. None where the voice fails."""
    whole = bytearray(2 * round(film.seconds * _SAMPLES))
    begin = 0.0
    for number, scene in enumerate(film.scenes):
        for k, (sentence, start) in enumerate(zip(scene.sentences, scene.starts(), strict=True)):
            raw = folder / f"{number}-{k}.wav"
            spoken = _sentence(sentence.words.text, voice, raw)
            samples = _samples(raw, program, sentence.seconds + PAUSE / 2, folder) if spoken else None
            if samples is None:
                return None
            at = 2 * round((begin + start) * _SAMPLES)
            whole[at : at + len(samples)] = samples[: len(whole) - at]
        begin += scene.seconds
    out = folder / "narration.wav"
    with wave.open(str(out), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_SAMPLES)
        file.writeframes(bytes(whole))
    return out


def _sentence(text: str, voice: str, path: Path) -> bool:
    """Have a voice write one sentence to a file; whether it did. The text goes through standard input or a
    file, never into the command: it holds names that the run chose."""
    name = Path(voice).name
    said = path.with_suffix(".txt")
    said.write_text(text, encoding="utf-8", errors="replace")
    if name == "say":
        command = [voice, "-r", "150", "-o", str(path), "--data-format=LEI16@22050", "-f", str(said)]
    elif name == "piper":
        command = [voice, "--model", os.environ.get("PIPER_MODEL", ""), "--output_file", str(path)]
    else:
        command = [voice, "-s", "150", "-w", str(path), "-f", str(said)]
    try:
        with open(said, "rb") as text_in:
            done = subprocess.run(command, stdin=text_in, capture_output=True, timeout=_SLOWEST, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and path.is_file()


def _samples(path: Path, program: str, seconds: float, folder: Path) -> bytes | None:
    """A sound file as samples, not longer than so many seconds: made faster first, then cut."""
    try:
        with wave.open(str(path), "rb") as file:
            lasts = file.getnframes() / file.getframerate()
    except (wave.Error, EOFError, OSError, ZeroDivisionError):
        return None
    faster = min(_FASTEST, max(1.0, lasts / seconds))
    raw = folder / "sentence.raw"
    command = [
        program, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i", str(path),
        "-filter:a", f"atempo={faster:.4f}", "-t", f"{seconds:.3f}",
        "-ac", "1", "-ar", str(_SAMPLES), "-f", "s16le", str(raw),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SLOWEST, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return raw.read_bytes() if done.returncode == 0 else None

"""`video`: the film of a run."""

from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, Quiet, RunFolder, print_json


def video(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="where it goes [RUN/video]")] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="no longer than that; 180 at most")] = 180.0,
    speech: Annotated[bool, typer.Option("--speech/--no-speech", help="use a voice, if there is one")] = True,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make the film of a run (film.mp4, captions, narration), and its one-page write-up.

    --json prints the film's structure, each figure with its source, and renders nothing.
    """
    from everystep.core.run import read_run
    from everystep.show.film.render import chromium, ffmpeg, find_voice, write_texts, write_video
    from everystep.show.film.scenes import film_of
    from everystep.show.film.script import as_json as structure
    from everystep.show.film.script import cues, fit
    from everystep.show.screen import Screen

    opened = read_run(run)
    whole = film_of(opened)
    film = fit(whole, seconds)
    if as_json:
        print_json(structure(film))
        return
    for needed in (chromium, ffmpeg):  # before anything is written: without them there is no film
        needed()
    folder = out or opened.folder("video")
    screen, voice, made = Screen(quiet=quiet), find_voice() if speech else None, folder / "film.mp4"
    for remark in film.remarks:
        screen.say(remark)
    write_texts(film, whole, folder)
    with screen.progress(f"film, {film.seconds:.0f} s", len(cues(film))) as advance:
        spoken = write_video(film, made, voice, 1080, advance)
    if speech and not spoken:
        screen.say("the film is silent: no voice (espeak-ng, piper or say) works here; its captions are in it")
    if not quiet:
        print(f"{made} ({made.stat().st_size / 1e6:.1f} MB); beside it film.vtt, writeup.md, writeup.pdf")

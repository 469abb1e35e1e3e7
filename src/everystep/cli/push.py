"""The verb `push`: an exported model, published where others find it, behind an explicit word."""

from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import AsJson, Debug, Quiet, print_json
from everystep.cli.process import end_when_interrupted

_PATIENCE = 10.0  # seconds that a library has to let go of a connection


def push(
    target: Annotated[str, typer.Argument(metavar="hf|kaggle", help="where it goes")],
    source: Annotated[Path, typer.Argument(metavar="RUN|FOLDER", help="a run with exports, or one export")],
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="hf: OWNER/NAME; kaggle: OWNER/MODEL/FRAMEWORK/VARIATION"),
    ],
    kind: Annotated[str | None, typer.Option("--format", help="hf, peft or tunix [of a run: hf]")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="of a run: sft or grpo [the last]")] = None,
    public: Annotated[bool, typer.Option("--public/--private", help="whether all may see it")] = False,
    license_name: Annotated[
        str | None, typer.Option("--license", metavar="NAME", help="on Kaggle [Gemma; of tiny: Apache 2.0]")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="upload; without it, say what would be")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Publish an export on the Hugging Face hub or on Kaggle. Nothing is sent without --yes."""
    from everystep.ship import push as ship

    if target not in ship.TARGETS:
        raise ValueError(f"{target!r}: is no target of a push; there are {', '.join(ship.TARGETS)}")
    if license_name is not None and target != "kaggle":
        raise ValueError("--license: is for Kaggle; on the hub the licence is the one that the card names")
    to = ship.TARGETS[target]
    what = ship.bundle(source, kind, stage)
    page, found, size = to.page(name), to.account(), sum(what.files.values())
    seen = "public" if public else "private"
    if not (quiet or as_json):
        width = max(len(file) for file in what.files)
        print(f"{what.folder}: {what.title}, compared with its policy, unchanged since")
        for file, bytes_ in what.files.items():
            print(f"  {file:<{width}}  {bytes_:>14,} bytes")
        print(f"  {len(what.files)} files, {size / 1e6:,.1f} MB")
        print(f"to {page}, {seen}")
        print(f"account: {found or 'no token is found'}")
    if yes:
        end_when_interrupted(_PATIENCE)
        ship.push(to, what, name, public, license_name)
    if as_json:
        print_json(
            {"address": page, "seen": seen, "account": found, "title": what.title, "files": what.files}
            | {"bytes": size, "sent": yes}
        )
    elif yes:
        print(page)
    elif not quiet:
        print("nothing was sent; the same command with --yes uploads it")

"""`score`: what would a reward pay the completions in a file?"""

from pathlib import Path
from typing import Annotated

import typer

from everystep.cli.options import Debug, Reward
from everystep.cli.rows import collect_rarely, json_line, lines, require_readable


def score(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="JSON lines: id, group, question, gold, completion; - is stdin"),
    ],
    reward: Reward = "verified",
    debug: Debug = False,
) -> None:
    """Score the completions in a file by a reward, group by group. Prints a line of JSON for each."""
    from everystep.score.files import score_file
    from everystep.score.mix import read_mix

    mix = read_mix(reward)
    errors: list[bool] = []
    collect_rarely()
    for row in score_file(lines(file), mix):
        errors.append("error" in row)
        print(json_line(row))
    require_readable(sum(errors), len(errors), file)

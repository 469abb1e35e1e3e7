"""`pretrain`: train the tiny base model from nothing."""

from everystep.cli.options import Accept, AsJson, Debug, Folder, From, Overrides, Quiet, RecipeFile
from everystep.cli.run import train


def pretrain(
    recipe: RecipeFile,
    overrides: Overrides = None,
    folder: Folder = None,
    source: From = None,
    accept: Accept = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train the tiny base model from nothing. The same command again resumes."""
    train("pretrain", recipe, overrides, folder, source, accept, None, quiet, as_json)

"""`pocketsam train RECIPE.yaml`: run a training recipe, or go on with it."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.utils.install import importing


def train(
    recipe: Annotated[
        Path,
        typer.Argument(readable=False, help="A recipe, such as those in recipes/.", metavar="RECIPE.yaml"),
    ],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field of the recipe.", metavar="KEY=VALUE")
    ] = None,
) -> None:
    """Train a model by a recipe.

    The same command resumes a run that was interrupted: Ctrl-C and SIGTERM end it after a whole step.
    """
    with importing("train", "training"):
        from pocketsam.training.loop import train as run
        from pocketsam.training.recipe import read_recipe
    run(read_recipe(recipe, changes))

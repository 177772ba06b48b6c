"""`pocketsam convert-labels`: annotations of one format to another."""

import typer

from pocketsam.cli.options import warn, with_options
from pocketsam.predict.formats.arguments import LabelArguments


@with_options(args=LabelArguments)
def convert_labels(*, args: LabelArguments) -> None:
    """Convert annotations of photos from one format to another.

    Masks stay the same, pixel for pixel. At the end, a line names what the new format cannot hold.
    """
    from pocketsam.predict.formats.converting import convert_labels
    from pocketsam.utils.progress import Progress

    with Progress("photos") as progress:
        done = convert_labels(**vars(args), after_photo=progress.update)
    warn(done.warnings)
    typer.echo(done)

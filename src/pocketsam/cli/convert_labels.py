"""`pocketsam convert-labels`: annotations of one format to another."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.predict.formats import FORMATS
from pocketsam.utils.words import count

FROM = ", ".join(format.name for format in FORMATS if format.reads)
TO = ", ".join(format.name for format in FORMATS if format.needs != "logits")


def convert_labels(
    source: Annotated[
        Path, typer.Argument(help="A file of labels, or a folder or ZIP file of them.", metavar="LABELS")
    ],
    target: Annotated[
        Path,
        typer.Argument(help="The file to write, whose suffix chooses the format; or a folder, with --to."),
    ],
    source_format: Annotated[
        str | None,
        typer.Option(
            "--from",
            help=f"The format of LABELS, if it is not recognised: {FROM}.",
            metavar="FORMAT",
        ),
    ] = None,
    target_format: Annotated[
        str | None, typer.Option("--to", help=f"The format to write into a folder: {TO}.", metavar="FORMAT")
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the photos, for formats that need their sizes or pixels; by default that of LABELS.",
            metavar="FOLDER",
        ),
    ] = None,
) -> None:
    """Convert annotations of photos from one format to another.

    Masks stay the same, pixel for pixel. At the end, a line names what the new format cannot hold.
    """
    from pocketsam.predict.formats.converting import convert_labels
    from pocketsam.utils.progress import Progress

    with Progress("photos") as progress:
        done = convert_labels(source, target, source_format, target_format, photos, progress.update)
    for line in done.left_out:
        typer.echo(f"pocketsam: left out: {line}", err=True)
    if done.lost:
        typer.echo(f"pocketsam: {done.target.name} does not hold {', '.join(done.lost)}", err=True)
    several = f"{count(len(done.files), 'file')} in " if len(done.files) > 1 else ""
    typer.echo(f"{count(done.objects, 'mask')} of {count(done.photos, 'photo')}: {several}{target}")

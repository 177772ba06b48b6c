"""`pocketsam embed`: a teacher's embeddings of many photos, stored for training students."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.cli.options import open_model, output_option, with_options
from pocketsam.config import Running


@with_options(running=Running)
def embed(
    photos: Annotated[
        list[Path],
        typer.Argument(help="Tar shards, folders of tar shards, or folders of photos.", metavar="PHOTOS"),
    ],
    teacher: Annotated[
        str, typer.Option(help="A model's name, its folder, or a checkpoint file.", metavar="MODEL")
    ],
    output: Annotated[Path, output_option("The folder of the embeddings.", "STORE")],
    bits: Annotated[
        int, typer.Option(help="Bits of each stored number: 16, or 8 for half the size.", metavar="16|8")
    ] = 16,
    *,
    running: Running,
) -> None:
    """Store a teacher's embeddings of photos, for training students.

    The same command continues a run that was stopped or killed, and repairs damaged files. Several processes may run
    it at the same time: each embeds other shards.
    """
    from pocketsam.embeddings.job import check_paths
    from pocketsam.embeddings.job import embed as embed_photos
    from pocketsam.embeddings.teacher import locate_teacher
    from pocketsam.utils.progress import Progress

    check_paths(photos, output)  # before a teacher is fetched
    locate_teacher(teacher)  # before hours of work: training a student needs more than ONNX files
    segmenter = open_model(teacher, running)
    with Progress("photos", resumes=True) as progress:
        summary = embed_photos(
            segmenter.engine,
            photos,
            output,
            bits,
            after_photo=lambda now: progress.update(now.done, now.photos, now.status),
            say=progress.warn,
        )
    typer.echo(f"{output}: {summary}")

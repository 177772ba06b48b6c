"""`pocketsam embed`: a teacher's embeddings of many photos, stored for training students."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.cli.options import RAY, open_model, output_option, run_shards, with_options
from pocketsam.config import ExactRunning
from pocketsam.scale.words import ScaleWords


@with_options(running=ExactRunning, scale=RAY)
def embed(
    photos: Annotated[
        list[Path],
        typer.Argument(
            help="Tar shards, folders of tar shards, folders of photos, or URLs of these.", metavar="PHOTOS"
        ),
    ],
    teacher: Annotated[
        str, typer.Option(help="A model's name, its folder, or a checkpoint file.", metavar="MODEL")
    ],
    output: Annotated[Path, output_option("The folder of the embeddings.", "STORE")],
    bits: Annotated[
        int, typer.Option(help="Bits of each stored number: 16, or 8 for half the size.", metavar="16|8")
    ] = 16,
    *,
    running: ExactRunning,
    scale: dict[str, str | None],
) -> None:
    """Store a teacher's embeddings of photos, for training students.

    The same command continues a run that was stopped or killed, and repairs damaged files. Several processes may run
    it at the same time: each embeds other shards.
    """
    from pocketsam.embeddings.job import check_paths
    from pocketsam.embeddings.job import embed as embed_photos
    from pocketsam.embeddings.teacher import locate_teacher
    from pocketsam.scale.jobs.embed import Embed
    from pocketsam.scale.places import is_url
    from pocketsam.utils.progress import Progress

    if scale["ray"] or any(is_url(path) for path in (*photos, output)):
        locate_teacher(teacher)
        return run_shards(Embed(teacher, running, bits), photos, output, ScaleWords(scale["ray"]))
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

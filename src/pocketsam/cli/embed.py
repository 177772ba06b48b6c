"""`pocketsam embed`: a teacher's embeddings of many photos, stored for training students."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pocketsam.cli.options import open_model, output_option, with_options
from pocketsam.config import Running
from pocketsam.errors import InputError

if TYPE_CHECKING:
    from pocketsam.embeddings.job import Progress as Done


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
    from pocketsam.embeddings.job import embed as embed_photos
    from pocketsam.embeddings.teacher import locate_teacher
    from pocketsam.utils.files import check_writable
    from pocketsam.utils.progress import Progress

    for path in photos:  # before a teacher is fetched
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder; check the path")
    check_writable(output, missing=True)
    locate_teacher(teacher)  # before hours of work: training a student needs more than ONNX files
    segmenter = open_model(teacher, running)
    with Progress("photos", resumes=True) as progress:

        def show(now: "Done") -> None:
            status = f"{now.rate:.1f} photos/s" if now.embedded else ""
            progress.update(now.done, status, total=now.photos)

        def say(line: str) -> None:
            progress.print(f"pocketsam: {line}")

        summary = embed_photos(segmenter.engine, photos, output, bits, after_photo=show, say=say)
    typer.echo(f"{output}: {summary}")

"""`pocketsam embed`: a teacher's embeddings of many photos, stored for training students."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pocketsam.cli.options import Device, Engine, Precision, Threads
from pocketsam.cli.words import count
from pocketsam.errors import InputError

if TYPE_CHECKING:
    from pocketsam.embeddings.job import Summary
    from pocketsam.engines import Engine as OpenEngine


def embed(
    photos: Annotated[
        list[Path],
        typer.Argument(help="Tar shards, folders of tar shards, or folders of photos.", metavar="PHOTOS"),
    ],
    teacher: Annotated[
        str, typer.Option(help="A model's name, its folder, or a checkpoint file.", metavar="MODEL")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder of the embeddings.", metavar="STORE")
    ],
    bits: Annotated[
        int, typer.Option(help="Bits of each stored number: 16, or 8 for half the size.", metavar="16|8")
    ] = 16,
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "float32",
    threads: Threads = None,
) -> None:
    """Store a teacher's embeddings of photos, for training students.

    The same command goes on where a killed run stopped, and mends what is damaged. Several processes may run it at
    once: they share the shards out.
    """
    from pocketsam.embeddings.teacher import locate_teacher
    from pocketsam.segmenter import Segmenter
    from pocketsam.utils.files import check_writable

    for path in photos:  # before a teacher is fetched
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder; check the path")
    check_writable(output, missing=True)
    locate_teacher(teacher)  # before hours of work: training a student needs more than ONNX files
    segmenter = Segmenter(teacher, engine, device=device, precision=precision, threads=threads)
    try:
        summary = _run(segmenter.engine, photos, output, bits)
    except KeyboardInterrupt:
        typer.echo(
            "pocketsam: stopped; what is embedded so far is kept, and the same command goes on", err=True
        )
        raise
    typer.echo(f"{output}: {_describe(summary)}")


def _run(engine: "OpenEngine", photos: list[Path], output: Path, bits: int) -> "Summary":
    """Embed, and show how far it is; what has to be rebuilt is said on the way."""
    from pocketsam.embeddings.job import Progress as Done
    from pocketsam.embeddings.job import embed as embed_photos
    from pocketsam.utils.progress import Progress

    with Progress("photos") as progress:

        def show(now: Done) -> None:
            status = f"{now.rate:.1f} photos/s" if now.embedded else ""
            progress.update(now.done, status, total=now.photos)

        def say(line: str) -> None:
            progress.print(f"pocketsam: {line}")

        return embed_photos(engine, photos, output, bits, after_photo=show, say=say)


def _describe(summary: "Summary") -> str:
    text = count(summary.photos, "photo")
    if summary.photos:
        text += f", {_size(summary.bytes / summary.photos)} a photo, {_size(summary.bytes)} in all"
    if summary.embedded:
        text += f"; {summary.embedded} embedded now, {summary.rate:.1f} photos/s"
    if summary.rebuilt:
        text += f"; {count(len(summary.rebuilt), 'shard')} rebuilt"
    if summary.busy:
        text += f"; {count(len(summary.busy), 'shard')} left to other processes: {_some(summary.busy)}"
    return text


def _some(paths: list[Path]) -> str:
    names = [str(path) for path in paths[:3]]
    return ", ".join(names if len(paths) <= 3 else [*names, "…"])


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"

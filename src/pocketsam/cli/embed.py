"""`pocketsam embed`: a teacher's embeddings of many photos, stored for training students."""

import typer

from pocketsam.cli.options import RAY, open_model, with_options
from pocketsam.embeddings.arguments import EmbedArguments
from pocketsam.scale.arguments import ScaleArguments
from pocketsam.utils.running import ExactRunning


@with_options(args=EmbedArguments, running=ExactRunning, scale=RAY)
def embed(*, args: EmbedArguments, running: ExactRunning, scale: dict[str, str | None]) -> None:
    """Store a teacher's embeddings of photos, for training students.

    The same command continues a run that was stopped or killed, and repairs damaged files. Several processes may run
    it at the same time: each embeds other shards.
    """
    from pocketsam.embeddings.job import check_paths
    from pocketsam.embeddings.job import embed as embed_photos
    from pocketsam.embeddings.teacher import locate_teacher
    from pocketsam.scale.storage import is_url
    from pocketsam.utils.progress import Progress

    if scale["ray"] or any(is_url(path) for path in (*args.photos, args.output)):
        from pocketsam.scale.jobs.embed import Embed
        from pocketsam.scale.run import run_with_progress

        locate_teacher(args.teacher)
        job = Embed(args.teacher, running, args.bits)
        return run_with_progress(job, args.photos, args.output, ScaleArguments(scale["ray"]), typer.echo)
    check_paths(args.photos, args.output)  # before a teacher is fetched
    locate_teacher(args.teacher)  # before hours of work: training a student needs more than ONNX files
    segmenter = open_model(args.teacher, running)
    with Progress("photos", resumes=True) as progress:
        summary = embed_photos(
            segmenter.engine,
            args.photos,
            args.output,
            args.bits,
            after_photo=lambda now: progress.update(now.done, now.photos, now.status),
            say=progress.warn,
        )
    typer.echo(f"{args.output}: {summary}")

"""`pocketsam embed`: a teacher's embeddings of many photos, stored for training students."""

import typer

from pocketsam.cli.options import RAY, open_model, with_options
from pocketsam.config import ExactRunning
from pocketsam.embeddings.words import EmbedWords
from pocketsam.scale.words import ScaleWords


@with_options(words=EmbedWords, running=ExactRunning, scale=RAY)
def embed(*, words: EmbedWords, running: ExactRunning, scale: dict[str, str | None]) -> None:
    """Store a teacher's embeddings of photos, for training students.

    The same command continues a run that was stopped or killed, and repairs damaged files. Several processes may run
    it at the same time: each embeds other shards.
    """
    from pocketsam.embeddings.job import check_paths
    from pocketsam.embeddings.job import embed as embed_photos
    from pocketsam.embeddings.teacher import locate_teacher
    from pocketsam.scale.places import is_url
    from pocketsam.utils.progress import Progress

    if scale["ray"] or any(is_url(path) for path in (*words.photos, words.output)):
        from pocketsam.scale.jobs.embed import Embed
        from pocketsam.scale.run import run_with_progress

        locate_teacher(words.teacher)
        job = Embed(words.teacher, running, words.bits)
        return run_with_progress(job, words.photos, words.output, ScaleWords(scale["ray"]), typer.echo)
    check_paths(words.photos, words.output)  # before a teacher is fetched
    locate_teacher(words.teacher)  # before hours of work: training a student needs more than ONNX files
    segmenter = open_model(words.teacher, running)
    with Progress("photos", resumes=True) as progress:
        summary = embed_photos(
            segmenter.engine,
            words.photos,
            words.output,
            words.bits,
            after_photo=lambda now: progress.update(now.done, now.photos, now.status),
            say=progress.warn,
        )
    typer.echo(f"{words.output}: {summary}")

"""`pocketsam everything`: the masks of all objects in a photo or in many, without a prompt."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pocketsam.automatic.options import Options
from pocketsam.automatic.words import EverythingWords
from pocketsam.cli.options import Model, open_model, with_options
from pocketsam.config import Running
from pocketsam.errors import InputError
from pocketsam.scale.words import ScaleWords

if TYPE_CHECKING:
    from pocketsam.automatic.batch import Outcome


@with_options(words=EverythingWords, running=Running, options=Options, scale=ScaleWords)
def everything(
    *, words: EverythingWords, model: Model = "pocket", running: Running, options: Options, scale: ScaleWords
) -> None:
    """Find the masks of all objects in photos, without a prompt.

    The same command continues a run that was stopped or killed.
    """
    from pocketsam.automatic.batch import everything_in_photos, is_one_file, summary
    from pocketsam.engines import PRECISIONS
    from pocketsam.predict.photo_files import check_all_done, find_photos
    from pocketsam.scale.shards import are_shards
    from pocketsam.utils.progress import Progress

    if scale.ray or are_shards(words.photos):
        if words.overlays:
            raise InputError("--overlays is for photos and folders of photos; leave it out for shards")
        from pocketsam.scale.jobs.everything import Everything
        from pocketsam.scale.run import run_with_progress

        job = Everything(model, running, options)
        return run_with_progress(job, words.photos, words.output, scale, typer.echo)
    paths, output = find_photos(words.photos), words.output or Path()
    is_one_file(output, len(paths))  # which says what cannot be one file
    segmenter = open_model(model, running)
    precision = PRECISIONS.get(running.precision, "auto")
    settings = {"precision": precision, "numerics": segmenter.engine.info.numerics}
    resumed = 0
    with Progress("photos", len(paths), resumes=True) as progress:

        def show(outcome: "Outcome") -> None:
            nonlocal resumed
            resumed += outcome.resumed
            line = outcome.error or ("" if outcome.masks else f"{outcome.photo}: no masks found")
            if line and len(paths) > 1:
                progress.warn(line)
            if not outcome.error:
                progress.advance(f"{resumed} of them done by an earlier run" if resumed else "")

        outcomes = everything_in_photos(
            segmenter,
            paths,
            output,
            overlays=words.overlays,
            settings=settings,
            after_photo=show,
            **vars(options),
        )
    if not all(outcome.error for outcome in outcomes):
        typer.echo(summary(outcomes, output))
    check_all_done(outcomes)

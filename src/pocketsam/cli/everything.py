"""`pocketsam everything`: the masks of all objects in a photo or in many, without a prompt."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pocketsam.automatic.arguments import EverythingArguments
from pocketsam.automatic.options import Options
from pocketsam.cli.options import Model, open_model, with_options
from pocketsam.errors import InputError
from pocketsam.scale.arguments import ScaleArguments
from pocketsam.utils.running import Running

if TYPE_CHECKING:
    from pocketsam.automatic.batch import Outcome


@with_options(args=EverythingArguments, running=Running, options=Options, scale=ScaleArguments)
def everything(
    *,
    args: EverythingArguments,
    model: Model = "pocket",
    running: Running,
    options: Options,
    scale: ScaleArguments,
) -> None:
    """Find the masks of all objects in photos, without a prompt.

    The same command continues a run that was stopped or killed.
    """
    from pocketsam.automatic.batch import everything_in_photos, is_one_file, summary
    from pocketsam.engines import PRECISIONS
    from pocketsam.predict.photo_files import check_all_done, find_photos
    from pocketsam.scale.shards import are_shards
    from pocketsam.utils.progress import Progress

    if scale.ray or are_shards(args.photos):
        return _in_shards(args, model, running, options, scale)
    paths, output = find_photos(args.photos), args.output or Path()
    is_one_file(output, len(paths))  # which says what cannot be one file
    segmenter = open_model(model, running)
    precision = PRECISIONS.get(running.precision, "auto")
    settings = {"precision": precision}
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
            overlays=args.overlays,
            settings=settings,
            after_photo=show,
            **vars(options),
        )
    if not all(outcome.error for outcome in outcomes):
        typer.echo(summary(outcomes, output))
    check_all_done(outcomes)


def _in_shards(
    args: EverythingArguments, model: str, running: Running, options: Options, scale: ScaleArguments
) -> None:
    if args.overlays:
        raise InputError("--overlays is for photos and folders of photos; leave it out for shards")
    from pocketsam.scale.jobs.everything import Everything
    from pocketsam.scale.run import run_with_progress

    job = Everything(model, running, options)
    run_with_progress(job, args.photos, args.output, scale, typer.echo)

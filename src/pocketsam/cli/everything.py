"""`pocketsam everything`: the masks of all objects in a photo or in many, without a prompt."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pocketsam.automatic.options import Options
from pocketsam.cli.options import Model, open_model, output_option, with_options
from pocketsam.config import Running
from pocketsam.errors import InputError
from pocketsam.scale.words import ScaleWords

if TYPE_CHECKING:
    from pocketsam.automatic.batch import Outcome


@with_options(running=Running, options=Options, words=ScaleWords)
def everything(
    photos: Annotated[
        list[Path],
        typer.Argument(help="Photos, folders of photos, tar shards, or URLs of these.", metavar="PHOTO"),
    ],
    output: Annotated[
        Path | None,
        output_option(
            "A file for all photos, whose suffix chooses the format, such as FILE.json (COCO); or a folder for a"
            " NAME.masks.json of each. If not given: NAME.masks.json, in the working directory. Of tar shards, and"
            " with --ray, a folder or URL for a NAME.tar of each."
        ),
    ] = None,
    overlays: Annotated[
        bool,
        typer.Option("--overlays", help="Also write NAME.overlay.jpg for each photo: the masks drawn on it."),
    ] = False,
    model: Model = "pocket",
    *,
    running: Running,
    options: Options,
    words: ScaleWords,
) -> None:
    """Find the masks of all objects in photos, without a prompt.

    The same command continues a run that was stopped or killed.
    """
    from pocketsam.automatic.batch import everything_in_photos, is_one_file, summary
    from pocketsam.engines import PRECISIONS
    from pocketsam.predict.photo_files import check_all_done, find_photos
    from pocketsam.scale.shards import are_shards
    from pocketsam.utils.progress import Progress

    if words.ray or are_shards(photos):
        if overlays:
            raise InputError("--overlays is for photos and folders of photos; leave it out for shards")
        from pocketsam.scale.jobs.everything import Everything
        from pocketsam.scale.run import run_with_progress

        return run_with_progress(Everything(model, running, options), photos, output, words, typer.echo)
    paths = find_photos(photos)
    output = output or Path()
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
            segmenter, paths, output, overlays=overlays, settings=settings, after_photo=show, **vars(options)
        )
    if not all(outcome.error for outcome in outcomes):
        typer.echo(summary(outcomes, output))
    check_all_done(outcomes)

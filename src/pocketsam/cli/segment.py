"""`pocketsam segment`: masks of the objects that are clicked on or boxed, in one photo or in many."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pocketsam.apps.text_arguments import TextArguments
from pocketsam.cli.options import Model, begin, open_model, show, show_outcomes, with_options
from pocketsam.predict.prompt_arguments import PromptArguments
from pocketsam.predict.result_arguments import ResultArguments
from pocketsam.scale.arguments import ScaleArguments
from pocketsam.utils.running import Running
from pocketsam.zoo import PACKAGED, open_engine_of

if TYPE_CHECKING:
    from pocketsam.predict.batch import PhotoOpener


@with_options(
    args=PromptArguments, text=TextArguments, results=ResultArguments, running=Running, scale=ScaleArguments
)
def segment(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            readable=False,
            help="Photos, folders of photos, tar shards, or URLs of these; with --prompts, the folder of its photos.",
            metavar="PHOTO",
        ),
    ] = None,
    *,
    args: PromptArguments,
    text: TextArguments,
    results: ResultArguments,
    model: Model = "pocket",
    running: Running,
    scale: ScaleArguments,
) -> None:
    """Segment objects in photos, by clicks, boxes or text.

    Points with the same NAME are clicks on one object, and so are all points without a name. Each box is an object
    of its own. NAME is the object's class in files that contain classes; shoe:1 and shoe:2 are two objects of the
    class shoe. Exit code 2 means an error, or that no object was found.
    """
    from pocketsam.scale.shards import are_shards

    if scale.ray or are_shards(photos or []):
        from pocketsam.scale.jobs.segment import Segment
        from pocketsam.scale.run import run_with_progress

        job = Segment.of(args, text, results, model=model, running=running)
        return run_with_progress(job, photos or [], results.output, scale, typer.echo)
    opens_at_once = model == PACKAGED.name and running.engine in ("auto", "onnx")
    one_photo = not args.prompts and [photo.is_dir() for photo in photos or []] == [False]
    engine = None
    if opens_at_once and one_photo:
        engine = begin(partial(open_engine_of, model, one_image=True, **vars(running)))
    from pocketsam.predict.batch import plan, segment_photos, summary
    from pocketsam.predict.photo_files import check_all_done
    from pocketsam.segmenter import Segmenter

    jobs = plan(photos or [], args, results.output, text.names())
    opened = Segmenter(engine=engine()) if engine else open_model(model, running, one_image=len(jobs) == 1)
    segmenter: PhotoOpener = opened
    if text.text:
        from pocketsam.apps.text import TextSegmenter

        segmenter = TextSegmenter.of(text, opened)
    outcomes = show_outcomes(segment_photos(segmenter, jobs, results), len(jobs))
    show(summary(outcomes, results.output))
    check_all_done(outcomes)
    if not any(outcome.masks for outcome in outcomes):  # each object is named above
        raise typer.Exit(2)

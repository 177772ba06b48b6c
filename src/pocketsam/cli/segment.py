"""`pocketsam segment`: masks of the objects that are clicked on or boxed, in one photo or in many."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pocketsam.apps.text_words import TextWords
from pocketsam.cli.options import Model, open_model, output_option, run_shards, with_options
from pocketsam.config import Running
from pocketsam.predict.formats import FORMATS
from pocketsam.predict.prompt_words import PromptWords
from pocketsam.scale.words import ScaleWords
from pocketsam.utils.words import count

if TYPE_CHECKING:
    from pocketsam.predict.batch import Outcome, PhotoOpener

SUFFIXES = "; ".join(f"{' '.join(format.suffixes)} ({format.what})" for format in FORMATS)


@with_options(words=PromptWords, text=TextWords, running=Running, scale=ScaleWords)
def segment(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos, folders of photos, tar shards, or URLs of these; with --prompts, the folder of its photos.",
            metavar="PHOTO",
        ),
    ] = None,
    *,
    words: PromptWords,
    text: TextWords,
    output: Annotated[
        Path | None,
        output_option(
            f"A folder, or a file whose suffix chooses the format: {SUFFIXES}. COCO, CVAT, Label Studio, YOLO and VOC"
            " files take several photos."
            " If not given: NAME.overlay.jpg and NAME.masks.json, in the working directory."
        ),
    ] = None,
    multimask: Annotated[
        bool,
        typer.Option("--multimask", help="Return three masks for each object, the most confident first."),
    ] = False,
    refine: Annotated[
        bool, typer.Option("--refine", help="Move the outlines to the edges in the photo.")
    ] = False,
    model: Model = "pocket",
    running: Running,
    scale: ScaleWords,
) -> None:
    """Segment objects in photos, by clicks, boxes or text.

    Points with the same NAME are clicks on one object, and so are all points without a name. Each box is an object
    of its own. NAME is the object's class in files that contain classes; shoe:1 and shoe:2 are two objects of the
    class shoe. Exit code 2 means an error, or that no object was found.
    """
    from pocketsam.predict.batch import is_shared, plan, segment_into, segment_photos
    from pocketsam.predict.photo_files import check_all_done
    from pocketsam.scale.shards import are_shards

    if scale.ray or are_shards(photos or []):
        from pocketsam.scale.jobs.segment import Segment

        job = Segment.of(words, text, model=model, running=running, multimask=multimask, refine=refine)
        return run_shards(job, photos or [], output, scale)
    jobs = plan(photos or [], words, output, text.names())
    opened = open_model(model, running, one_image=len(jobs) == 1)
    segmenter: PhotoOpener = opened
    if text.text:
        from pocketsam.apps.text import TextSegmenter

        segmenter = TextSegmenter.of(text, opened)
    if output is not None and is_shared(output, len(jobs)):
        results = segment_into(segmenter, jobs, output, multimask, refine)
    else:
        results = segment_photos(segmenter, jobs, multimask, refine)
    outcomes = []
    for outcome in results:
        outcomes.append(outcome)
        _show(outcome, is_only=len(jobs) == 1)
    if is_shared(output, len(jobs)) and not all(outcome.error for outcome in outcomes):
        typer.echo(
            f"{output}: {count(sum(one.masks for one in outcomes), 'mask')} in {count(len(jobs), 'photo')}"
        )
    check_all_done(outcomes)
    if not any(outcome.masks for outcome in outcomes):  # each object is named above
        raise typer.Exit(2)


def _show(outcome: "Outcome", is_only: bool) -> None:
    """A photo's masks and files, and what was wrong; the error of the only photo ends the command."""
    error = [outcome.error] if outcome.error and not is_only else []
    for line in (*outcome.warnings, *error):
        typer.echo(f"pocketsam: {line}", err=True)
    if outcome.masks:
        typer.echo(outcome.summary)
    for file in outcome.files:
        typer.echo(f"  {file}")

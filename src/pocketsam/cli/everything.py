"""`pocketsam everything`: the masks of all objects in a photo or in many, without a prompt."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pocketsam.cli.options import Device, Engine, Model, Photos, Precision, Threads
from pocketsam.cli.words import count
from pocketsam.errors import InputError

if TYPE_CHECKING:
    from pocketsam.automatic.batch import Outcome
    from pocketsam.segmenter import Segmenter


def everything(
    photos: Photos,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="FILE.json (COCO) for all photos, or a folder for a NAME.masks.json of each."
            " If not given: NAME.masks.json, in the working directory.",
            metavar="OUT",
        ),
    ] = None,
    overlays: Annotated[
        bool,
        typer.Option("--overlays", help="Also write NAME.overlay.jpg for each photo: the masks drawn on it."),
    ] = False,
    points_per_side: Annotated[
        int | None,
        typer.Option(help="Points along each side of the grid; the model's own, if not given.", metavar="N"),
    ] = None,
    hierarchical: Annotated[
        bool,
        typer.Option(
            help="Prompt a coarse grid first, and further points only where they may find new masks;"
            " or prompt all points."
        ),
    ] = True,
    confident_logit: Annotated[
        float | None,
        typer.Option(
            help="Where a mask's logit is above this, the hierarchy prompts no more points;"
            " the model's own, if not given.",
            metavar="T",
        ),
    ] = None,
    pred_iou_thresh: Annotated[
        float | None,
        typer.Option(
            help="The lowest predicted IoU, from 0 to 1; at 0 all masks pass; the model's own, if not given.",
            metavar="T",
        ),
    ] = None,
    stability_score_thresh: Annotated[
        float | None,
        typer.Option(help="The lowest stability, from 0 to 1; the model's own, if not given.", metavar="T"),
    ] = None,
    crop_n_layers: Annotated[
        int, typer.Option(help="Also segment crops of the photo: 4^l of them in layer l.", metavar="N")
    ] = 0,
    min_mask_region_area: Annotated[
        float | None,
        typer.Option(
            help="Fill holes and remove islands of fewer pixels; the model's own, if not given.",
            metavar="PIXELS",
        ),
    ] = None,
    model: Model = "pocket",
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "float32",
    threads: Threads = None,
) -> None:
    """Find the masks of all objects in photos, without a prompt.

    The same command goes on where a run was stopped or killed.
    """
    from pocketsam.automatic.batch import find_photos, not_all_done
    from pocketsam.automatic.options import Options
    from pocketsam.engines import PRECISIONS
    from pocketsam.segmenter import Segmenter

    options: dict[str, Any] = {
        "points_per_side": points_per_side,
        "hierarchical": hierarchical,
        "confident_logit": confident_logit,
        "pred_iou_thresh": pred_iou_thresh,
        "stability_score_thresh": stability_score_thresh,
        "crop_n_layers": crop_n_layers,
        "min_mask_region_area": min_mask_region_area,
    }
    Options(**options)  # which says what makes no sense, before a model is opened
    paths = find_photos(photos)
    output = output or Path()
    _check_place(output)
    segmenter = Segmenter(model, engine, device=device, precision=precision, threads=threads)
    settings = {"precision": PRECISIONS[precision]}
    outcomes = _run(segmenter, paths, output, overlays, settings, options)
    failed = [outcome.photo for outcome in outcomes if outcome.error]
    if len(failed) < len(paths):
        typer.echo(f"{_place(output, paths)}: {_summary(outcomes)}")
    if len(paths) == 1 and outcomes[0].error:
        raise InputError(outcomes[0].error)
    if failed:
        raise not_all_done(len(paths), failed)


def _run(
    segmenter: "Segmenter",
    photos: list[Path],
    output: Path,
    overlays: bool,
    settings: dict[str, Any],
    options: dict[str, Any],
) -> list["Outcome"]:
    """Find everything, and show how far it is; failed photos, and those without masks, are named on the way."""
    from pocketsam.automatic.batch import everything_in_photos
    from pocketsam.utils.progress import Progress

    done: list[Outcome] = []
    resumed = 0
    with _told_when_stopped(done, len(photos)), Progress("photos", len(photos)) as progress:

        def show(outcome: "Outcome") -> None:
            nonlocal resumed
            resumed += outcome.resumed
            if not outcome.error:
                done.append(outcome)
            progress.advance(f"{resumed} of them done by an earlier run" if resumed else "")
            line = outcome.error or ("" if outcome.masks else f"{outcome.photo}: no masks found")
            if line and len(photos) > 1:
                progress.print(f"pocketsam: {line}")

        return everything_in_photos(
            segmenter, photos, output, overlays=overlays, settings=settings, after_photo=show, **options
        )


@contextmanager
def _told_when_stopped(done: list["Outcome"], photos: int) -> Iterator[None]:
    """On Ctrl-C, says how many of the photos are done by then."""
    try:
        yield
    except KeyboardInterrupt:
        line = "stopped before the first photo was done"
        if done:
            line = f"stopped; {len(done)} of {count(photos, 'photo')} are done; the same command goes on from there"
        typer.echo(f"pocketsam: {line}", err=True)
        raise


def _check_place(output: Path) -> None:
    from pocketsam.predict.formats import format_of, means_a_file

    if not output.is_dir() and means_a_file(output) and format_of(output)[0].name != "coco":
        raise InputError(f"{output}: everything is written as FILE.json (COCO), or into a folder; give one")


def _place(output: Path, photos: list[Path]) -> Path:
    """What the summary names: the file, if only one is written, or else the folder."""
    from pocketsam.automatic.batch import is_one_file

    if len(photos) > 1 or is_one_file(output):
        return output
    return output / f"{photos[0].stem}.masks.json"


def _summary(outcomes: list["Outcome"]) -> str:
    done = [outcome for outcome in outcomes if not outcome.error]
    resumed = sum(outcome.resumed for outcome in done)
    masks = sum(outcome.masks for outcome in done)
    text = f"{count(masks, 'mask') if masks else 'no masks found'} in {count(len(done), 'photo')}"
    return f"{text}, {resumed} of them done by an earlier run" if resumed else text

"""`pocketsam everything`: the masks of all there is in a photo or in many, without a prompt."""

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
            " If not given: NAME.masks.json, here.",
            metavar="OUT",
        ),
    ] = None,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Draw a NAME.overlay.jpg of each photo, too.")
    ] = False,
    points_per_side: Annotated[int, typer.Option(min=1, help="Points a side of the grid.", metavar="N")] = 32,
    hierarchical: Annotated[
        bool,
        typer.Option(
            help="A coarse grid first, the whole one where that leaves a doubt and finds something."
        ),
    ] = True,
    confident_logit: Annotated[
        float | None,
        typer.Option(help="The logit that leaves no doubt; the model's own, if not given.", metavar="T"),
    ] = None,
    pred_iou_thresh: Annotated[
        float | None,
        typer.Option(
            help="The least predicted IoU; 0 lets all pass; the model's own, if not given.", metavar="T"
        ),
    ] = None,
    stability_score_thresh: Annotated[
        float | None,
        typer.Option(help="The least stability; the model's own, if not given.", metavar="T"),
    ] = None,
    crop_n_layers: Annotated[
        int, typer.Option(min=0, help="Look closer, layer l at 4^l crops of the photo.", metavar="N")
    ] = 0,
    min_mask_region_area: Annotated[
        int, typer.Option(min=0, help="Fill holes and remove islands of fewer pixels.", metavar="PIXELS")
    ] = 0,
    model: Model = "pocket",
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "float32",
    threads: Threads = None,
) -> None:
    """Find all there is in photos, without a prompt.

    The same command goes on where a killed run stopped.
    """
    from pocketsam.automatic.batch import find_photos, not_all_done
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
    """Find everything under a progress bar; what goes wrong on the way is said above it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from pocketsam.automatic.batch import everything_in_photos

    console = Console(stderr=True, highlight=False)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("photos", total=len(photos))
        resumed = 0

        def show(outcome: "Outcome") -> None:
            nonlocal resumed
            resumed += outcome.resumed
            text = f"photos, {resumed} of them done by an earlier run" if resumed else "photos"
            progress.update(task, advance=1, config=text)
            if outcome.error and len(photos) > 1:
                console.print(f"pocketsam: {outcome.error}", markup=False, soft_wrap=True)

        return everything_in_photos(
            segmenter, photos, output, overlays=overlays, settings=settings, after_photo=show, **options
        )


def _check_place(output: Path) -> None:
    from pocketsam.predict.formats import format_of, means_a_file

    if not output.is_dir() and means_a_file(output) and format_of(output)[0].name != "coco":
        raise InputError(f"{output}: everything is written as FILE.json (COCO), or into a folder; give one")


def _place(output: Path, photos: list[Path]) -> Path:
    """What to look at: the file, if there is but one, or else the folder."""
    from pocketsam.automatic.batch import is_one_file

    if len(photos) > 1 or is_one_file(output):
        return output
    return output / f"{photos[0].stem}.masks.json"


def _summary(outcomes: list["Outcome"]) -> str:
    done = [outcome for outcome in outcomes if not outcome.error]
    resumed = sum(outcome.resumed for outcome in done)
    text = f"{count(sum(outcome.masks for outcome in done), 'mask')} in {count(len(done), 'photo')}"
    return f"{text}, {resumed} of them done by an earlier run" if resumed else text

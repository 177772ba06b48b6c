"""Does a negative click clear what it is put on? Run: python benchmarks/interactive.py SHARDS...

Each ground-truth mask is prompted with one random click inside it. Where the largest connected error of the predicted
mask is a part wrongly included, a background click goes to the middle of that part, where a user would put it. How
much of the mask stays inside the part, with and without the first mask fed back as mask input? What corrective clicks
do to IoU over all masks is for the protocol `interactive`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pocketsam import Segmenter
from pocketsam.config import BACKGROUND, FOREGROUND
from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import Sample
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.prompting import deepest_pixel, sample_clicks
from pocketsam.predict.masks import Masks

# A part counts from this share of the predicted, and this many pixels, on.
PART_SHARE, PART_PIXELS = 0.05, 25


class Corrected(NamedTuple):
    """One mask: IoU of the first prediction, after the click, after the click with mask input.

    inside: pixels of the mask inside the part wrongly included, at these three times. kept: pixels of the mask inside
    the object.
    """

    iou: list[float]
    inside: list[int]
    kept: list[int]


def main(
    shards: Annotated[list[Path], typer.Argument(help="Tar shards or folders of NAME.jpg beside NAME.json.")],
    model: Annotated[str, typer.Option(help="A model's name, or its folder.")] = "pocket",
    engine: Annotated[str, typer.Option(help="auto, onnx, openvino or torch.")] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many photos.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the first clicks.")] = 0,
) -> None:
    segmenter = Segmenter(model, engine=engine)
    data = Shards(shards)
    numbers = range(len(data) if limit is None else min(limit, len(data)))
    photos = track(numbers, console=Console(stderr=True), transient=True)
    masks = [mask for number in photos for mask in correct_photo(segmenter, data.read(number), seed)]
    if not masks:
        raise SystemExit("No mask's largest error was a part wrongly included.")
    report(masks, len(numbers))


def correct_photo(segmenter: Segmenter, sample: Sample, seed: int) -> Iterator[Corrected]:
    """Every mask of one image whose first prediction wrongly includes a part, corrected once."""
    sample = sample.promptable()
    if not sample.rles:
        return
    photo = segmenter.open(sample.image)
    clicks = [
        sample_clicks(mask, 1, seed, sample.name, number)[0]
        for mask, number in zip(sample.each_mask(), sample.ids, strict=True)
    ]
    first = photo.segment(points=np.stack(clicks)[:, None])
    for click, predicted, truth in zip(clicks, first, sample.each_mask(), strict=True):
        part = wrong_part(predicted, truth)
        if part is None:
            continue
        x, y, _ = deepest_pixel(part)
        points, labels = [click, (x, y)], [FOREGROUND, BACKGROUND]
        clicked = photo.segment(points, labels)
        fed_back = photo.segment(points, labels, mask_input=predicted.logits)
        masks = [mask.binary[0] for mask in (predicted, clicked, fed_back)]
        yield Corrected(
            [iou(m, truth) for m in masks],
            [int((m & part).sum()) for m in masks],
            [int((m & truth).sum()) for m in masks],
        )


def wrong_part(predicted: Masks, truth: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest connected error (H, W), if it is a part of the predicted, and large enough; else None."""
    binary = predicted.binary[0]
    excess, lack = largest_part(binary & ~truth), largest_part(truth & ~binary)
    area, least = excess.sum(), max(PART_PIXELS, PART_SHARE * binary.sum())
    return excess if area >= least and area >= lack.sum() else None


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of a mask (H, W); nothing of an empty one."""
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count == 1:
        return mask
    return np.asarray(parts == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax())


def report(masks: list[Corrected], photos: int) -> None:
    title = f"a negative click on the largest error, {photos} photos, {len(masks)} masks"
    table = Table(title=title, title_justify="left")
    for heading in ("", "before", "click", "click + mask"):
        table.add_column(heading, justify="right" if heading else "left")
    ious, inside = np.array([mask.iou for mask in masks]), np.array([mask.inside for mask in masks])
    areas, shrank = inside.mean(axis=0), (inside[:, 1:] < inside[:, :1]).mean(axis=0)
    # IoU beside the area: a click that wipes out the whole mask would clear the wrong part as well.
    table.add_row("mean IoU, %", *(f"{100 * mean:.1f}" for mean in ious.mean(axis=0)))
    table.add_row("mean area inside the wrong part, pixels", *(f"{area:.0f}" for area in areas))
    table.add_row("the same, % of before", *(f"{100 * area / areas[0]:.1f}" for area in areas))
    table.add_row("masks whose area there shrank, %", "", *(f"{100 * share:.1f}" for share in shrank))
    kept = np.array([mask.kept for mask in masks]).sum(axis=0)
    table.add_row(
        "area of the object that the mask covers, % of before", *(f"{100 * k / kept[0]:.1f}" for k in kept)
    )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)

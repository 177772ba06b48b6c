"""Does the model listen when it is corrected? Run: python benchmarks/interactive.py SHARDS...

Each true mask is prompted with one click drawn inside it. Where the answer errs, one corrective click goes to
the middle of its largest connected error, where a person would put it: negative on a part wrongly included,
positive on a part that was missed. Two questions, on photos with masks:

1. Where a part is wrongly included, how much of the mask stays inside that part after a negative click on it?
2. What does a corrective click do to IoU, with and without the first answer fed back as mask input?
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pocketsam import Segmenter
from pocketsam.data.sa1b import Sample, Shards
from pocketsam.evaluation.clicks import draw_clicks, iou

# A wrong part counts for question 1 from this share of the answer, and this many pixels, on.
PART_SHARE, PART_PIXELS = 0.05, 25


@dataclass
class Corrected:
    """One mask: IoU of the first answer, after the click, after the click with mask input.

    part: where a large enough part was wrongly included, pixels of the mask inside it at these three times.
    """

    iou: tuple[float, float, float]
    part: tuple[int, int, int] | None


def main(
    shards: Annotated[list[Path], typer.Argument(help="Tar shards or folders of NAME.jpg beside NAME.json.")],
    model: Annotated[str, typer.Option(help="A model's name, or its folder.")] = "pocket",
    engine: Annotated[str, typer.Option(help="auto, onnx or torch.")] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many photos.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the first clicks.")] = 0,
) -> None:
    segmenter = Segmenter(model, engine=engine)
    data = Shards(shards)
    numbers = range(len(data) if limit is None else min(limit, len(data)))
    photos = track(numbers, console=Console(stderr=True), transient=True)
    masks = [mask for number in photos for mask in correct_photo(segmenter, data.read(number), seed)]
    if not masks:
        raise SystemExit("No answer had an error to correct.")
    report(masks, len(numbers))


def correct_photo(segmenter: Segmenter, sample: Sample, seed: int) -> list[Corrected]:
    """Every mask of one photo whose first answer errs, corrected once."""
    truth = sample.masks()
    present = np.flatnonzero(truth.any(axis=(1, 2)))
    if not len(present):
        return []
    photo = segmenter.open(sample.image)
    clicks = np.stack([draw_clicks(truth[i], 1, seed, sample.name, i) for i in present.tolist()])
    answers = photo.segment(points=clicks)

    wrong = np.flatnonzero((answers.binary != truth[present]).any(axis=(1, 2)))
    if not len(wrong):
        return []
    truth, clicks, first = truth[present[wrong]], clicks[wrong], answers[wrong]
    errors = [largest_error(answer, true) for answer, true in zip(first.binary, truth, strict=True)]
    corrections = np.array([middle(error) for error in errors])
    # A click on what was missed says "this too"; one on what was wrongly included says "not this".
    labels = np.array([int(true[y, x]) for true, (x, y) in zip(truth, corrections, strict=True)])

    prompts = {
        "points": np.concatenate([clicks, corrections[:, None]], axis=1),
        "labels": np.stack([np.ones_like(labels), labels], axis=1),
    }
    answers = first, photo.segment(**prompts), photo.segment(**prompts, mask_input=first.logits)
    ious = np.stack([iou(answer, truth) for answer in answers], axis=1)
    inside = np.array(
        [[np.count_nonzero(m & e) for m, e in zip(a.binary, errors, strict=True)] for a in answers]
    ).T
    large = inside[:, 0] >= np.maximum(PART_PIXELS, PART_SHARE * first.areas)
    return [
        Corrected(tuple(ious[i]), tuple(inside[i]) if large[i] and not labels[i] else None)
        for i in range(len(wrong))
    ]


def largest_error(answer: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part (H, W) of what `answer` has too much or too little. It must have some."""
    parts = [largest_part(error) for error in (answer & ~truth, truth & ~answer) if error.any()]
    return max(parts, key=np.count_nonzero)


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of a mask (H, W) that has pixels."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return parts == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()


def middle(part: NDArray[np.bool_]) -> tuple[int, int]:
    """x, y of the pixel of a part (H, W) that is farthest from its edge; the photo's edge is one, too."""
    depth = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(x) - 1, int(y) - 1


def report(masks: list[Corrected], photos: int) -> None:
    table = Table(title=f"one corrective click, {photos} photos", title_justify="left")
    for heading in ("", "masks", "before", "click", "click + mask"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("all with an error: mean IoU, %", *_ious(masks))
    with_part = [mask for mask in masks if mask.part is not None]
    if with_part:
        count, inside = str(len(with_part)), np.array([mask.part for mask in with_part])
        areas, shrank = inside.mean(axis=0), (inside[:, 1:] < inside[:, :1]).mean(axis=0)
        table.add_section()
        # IoU beside the area: a click that wipes out the whole mask would clear the wrong part as well.
        table.add_row("negative click on a wrong part: mean IoU, %", *_ious(with_part))
        table.add_row("mean area inside that part, pixels", count, *(f"{area:.0f}" for area in areas))
        table.add_row("the same, % of before", count, *(f"{100 * area / areas[0]:.1f}" for area in areas))
        table.add_row(
            "masks whose area there shrank, %", count, "", *(f"{100 * share:.1f}" for share in shrank)
        )
    Console().print(table)


def _ious(masks: list[Corrected]) -> list[str]:
    means = np.mean([mask.iou for mask in masks], axis=0)
    return [str(len(masks)), *(f"{100 * mean:.1f}" for mean in means)]


if __name__ == "__main__":
    typer.run(main)

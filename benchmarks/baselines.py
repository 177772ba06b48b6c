"""Mean IoU by source of masks made of a box without a model: the box, the ellipse inside it, GrabCut from it.

Run: python benchmarks/baselines.py SHARDS... [--limit N]
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import Sample
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.results import PhotoResult, Row, mean_report
from pocketsam.utils.boxes import tight_box

Baseline: TypeAlias = Callable[[NDArray[np.uint8], NDArray[np.int64]], NDArray[np.bool_]]
"""An image uint8 (H, W, 3) and a box (4,) XYXY in its pixels to a mask (H, W)."""
GRABCUT_ROUNDS = 3


def main(
    shards: Annotated[list[Path], typer.Argument(help="Tar shards or folders of NAME.jpg beside NAME.json.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many photos.")] = None,
    grabcut: Annotated[bool, typer.Option(help="GrabCut too: some seconds a photo.")] = False,
) -> None:
    baselines: dict[str, Baseline] = {
        "the box": fill_box,
        "its ellipse": fill_ellipse,
    }
    if grabcut:
        baselines["GrabCut"] = cut_out
    data = Shards(shards)
    numbers = range(len(data) if limit is None else min(limit, len(data)))
    images = track(numbers, console=Console(stderr=True), transient=True)
    results = [measure(data.read(number).promptable(), number, baselines) for number in images]
    Console().print(mean_report(results, list(baselines))[1].rich())


def measure(sample: Sample, number: int, baselines: Mapping[str, Baseline]) -> PhotoResult:
    """The IoU of each baseline's mask with each ground-truth mask of an image."""
    rows = []
    for mask_id, truth in zip(sample.ids, sample.each_mask(), strict=True):
        box = tight_box(truth)
        scores = {name: iou(baseline(sample.image, box), truth) for name, baseline in baselines.items()}
        rows.append(Row(mask_id, int(truth.sum()), scores))
    return PhotoResult(number, sample.name, sample.source, rows)


def fill_box(image: NDArray[np.uint8], box: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(image.shape[:2], bool)
    x0, y0, x1, y1 = box.astype(int)
    mask[y0:y1, x0:x1] = True
    return mask


def fill_ellipse(image: NDArray[np.uint8], box: NDArray[np.int64]) -> NDArray[np.bool_]:
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    centre, radii = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    inside = ((x + 0.5 - centre[0]) / radii[0]) ** 2 + ((y + 0.5 - centre[1]) / radii[1]) ** 2 <= 1
    return np.asarray(inside)


def cut_out(image: NDArray[np.uint8], box: NDArray[np.int64]) -> NDArray[np.bool_]:
    """GrabCut, and the box where it finds nothing (or the box is the whole photo, which it cannot start from)."""
    x0, y0, x1, y1 = (int(v) for v in box)
    labels, models = np.zeros(image.shape[:2], np.uint8), (np.zeros((1, 65)), np.zeros((1, 65)))
    try:
        cv2.grabCut(image, labels, (x0, y0, x1 - x0, y1 - y0), *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_RECT)
    except cv2.error:
        return fill_box(image, box)
    mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return mask if mask.any() else fill_box(image, box)


if __name__ == "__main__":
    typer.run(main)

"""What a box gives without a model: the box itself, the ellipse inside it, GrabCut started from it.

Run: python benchmarks/baselines.py SHARDS... [--limit N]
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from pocketsam.data.sa1b import Shards
from pocketsam.utils.boxes import tight_box

GRABCUT_ROUNDS = 3


def main(
    shards: Annotated[list[Path], typer.Argument(help="Tar shards or folders of NAME.jpg beside NAME.json.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many photos.")] = None,
    grabcut: Annotated[bool, typer.Option(help="GrabCut too: some seconds a photo.")] = False,
) -> None:
    baselines: dict[str, Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.bool_]]] = {
        "the box": fill_box,
        "its ellipse": fill_ellipse,
    }
    if grabcut:
        baselines["GrabCut"] = cut_out
    scores: dict[str, list[float]] = {name: [] for name in baselines}
    data = Shards(shards)
    numbers = range(len(data) if limit is None else min(limit, len(data)))
    for number in track(numbers, console=Console(stderr=True), transient=True):
        sample = data.read(number)
        for truth in sample.masks():
            if not truth.any():
                continue
            for name, baseline in baselines.items():
                mask = baseline(sample.image, tight_box(truth))
                scores[name].append(np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth))
    for name, values in scores.items():
        print(f"{name:12} {100 * np.mean(values):.1f}  ({len(values)} masks)")


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

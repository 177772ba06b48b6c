"""A COCO set with detections, made of any photos with masks: what average precision is rehearsed on.

The boxes are the true ones, moved at random, and their scores tell roughly how far: a detector that is good but not
perfect. Run: python benchmarks/coco_set.py SHARDS... -o FOLDER [--limit N] [--noise 0.1] [--seed 0]
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from pocketsam.data.coco import CocoSet, write_coco
from pocketsam.data.datasets import open_dataset
from pocketsam.utils.files import write

DUPLICATE_EVERY = 5  # masks: without wrong detections, precision would always be 1
DUPLICATE_NOISE = 3  # times the noise
SCORE_NOISE = 0.05


def main(
    shards: Annotated[list[Path], typer.Argument(help="Photos with masks, in any layout that is read.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many photos.")] = None,
    noise: Annotated[float, typer.Option(min=0, help="How far sides move, as a part of their length.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the noise.")] = 0,
) -> None:
    data = open_dataset(shards)
    photos = range(len(data) if limit is None else min(limit, len(data)))
    progress = track(photos, console=Console(stderr=True), transient=True)
    written = CocoSet(write_coco(data, output, progress))
    truth, left_out = written.truth(range(len(written)))
    rng = np.random.default_rng(seed)
    sizes = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
    detections = [
        detection
        for number, annotation in enumerate(truth["annotations"])
        for detection in detect(annotation, sizes[annotation["image_id"]], number, noise, rng)
    ]
    write(output / "detections.json", json.dumps(detections).encode())
    for line in left_out:
        print(line)
    print(f"{len(written)} photos, {len(truth['annotations'])} masks, {len(detections)} boxes in {output}")


def detect(
    annotation: dict[str, Any], size: tuple[int, int], number: int, noise: float, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """COCO results for one true annotation: its box moved and, for some, a worse one of lower score."""
    x, y, width, height = annotation["bbox"]
    true = np.array([x, y, x + width, y + height])
    box = move(true, size, noise, rng)
    score = float(np.clip(box_iou(box, true) - abs(rng.normal(0, SCORE_NOISE)), 0.01, 1))
    yield result(annotation, box, score)
    if number % DUPLICATE_EVERY == 0:
        worse = move(true, size, DUPLICATE_NOISE * noise, rng)
        yield result(annotation, worse, score * float(rng.uniform(0.3, 0.9)))


def move(
    box: NDArray[np.float64], size: tuple[int, int], noise: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A box (4,) XYXY with every side moved by a normal of `noise` × its length, in the photo and 1 pixel or more."""
    sides = np.tile(box[2:] - box[:2], 2)
    limits = np.array(size, np.float64)
    moved = box + noise * sides * rng.standard_normal(4)
    start = np.clip(np.minimum(moved[:2], moved[2:]), 0, limits - 1)
    end = np.clip(np.maximum(moved[:2], moved[2:]), start + 1, limits)
    return np.concatenate([start, end])


def box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes (4,) XYXY."""
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(overlap / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap))


def result(annotation: dict[str, Any], box: NDArray[np.float64], score: float) -> dict[str, Any]:
    x0, y0, x1, y1 = (round(float(value), 2) for value in box)
    return {
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
        "score": round(score, 4),
    }


if __name__ == "__main__":
    typer.run(main)

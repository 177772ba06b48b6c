"""A sheet of what a model with a head finds in photos: the truth on the left, the prediction on the right.

python benchmarks/predictions.py runs/transfer/semantic path/to/instances_val.json -o sheet.jpg --count 8
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pocketsam.data.categories import BACKGROUND, CategorySet, class_map
from pocketsam.data.datasets import evenly_spread
from pocketsam.data.sample import Sample
from pocketsam.engines.head import HeadEngine
from pocketsam.evaluation.heads import HeadPredictor
from pocketsam.evaluation.protocols.detection import detect
from pocketsam.evaluation.protocols.semantic import predict_classes
from pocketsam.predict.drawing import draw_masks
from pocketsam.utils.files import write
from pocketsam.utils.rle import RLE, encode

SIDE, CAPTION, GAP, COLUMNS = 240, 34, 10, 4
LEAST_SCORE = 0.3
"""Detections of less confidence are not drawn."""

Panel = tuple[list[RLE], str]
"""The masks on a photo, and what is written below it."""


def main(
    model: Annotated[Path, typer.Argument(help="The folder or file of a training run.")],
    data: Annotated[Path, typer.Argument(help="A COCO .json or a folder of label maps.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where it goes.")],
    photos: Annotated[Path | None, typer.Option(help="The folder of the photos of a COCO .json.")] = None,
    count: Annotated[int, typer.Option(help="Photos, spread evenly over the data.")] = 8,
) -> None:
    predictor = HeadPredictor(HeadEngine.load(model))
    classes = predictor.engine.head.classes
    dataset = CategorySet([data], photos, classes, leave_out=True)
    tiles = []
    for number in evenly_spread(len(dataset), count):
        sample = dataset.read(number)
        panels = semantic_panels if predictor.engine.head.task == "semantic" else detection_panels
        tiles.append((sample, panels(predictor, sample, classes)))
    write(output, sheet(tiles))


def semantic_panels(predictor: HeadPredictor, sample: Sample, classes: Sequence[str]) -> list[Panel]:
    maps = class_map(sample, 0), predict_classes(predictor, sample.image)
    return [_of_map(labels, classes) for labels in maps]


def _of_map(labels: NDArray[np.uint8], classes: Sequence[str]) -> Panel:
    """Each class has a colour of its own; the background has none."""
    numbers = [i for i, name in enumerate(classes) if name != BACKGROUND]
    shown = [classes[i] for i in numbers if (labels == i).mean() > 0.002]
    return [encode(labels == i) for i in numbers], ", ".join(shown)


def detection_panels(predictor: HeadPredictor, sample: Sample, classes: Sequence[str]) -> list[Panel]:
    found = [one for one in detect(predictor, sample.image) if one["score"] >= LEAST_SCORE]
    named = [f"{classes[one['class']]} {100 * one['score']:.0f}" for one in found]
    truth = ", ".join(classes[i] for i in sample.categories)
    return [(sample.rles, truth), ([one["segmentation"] for one in found], ", ".join(named))]


def sheet(tiles: Sequence[tuple[Sample, list[Panel]]]) -> bytes:
    """A JPEG file of all tiles."""
    columns = min(COLUMNS, len(tiles))
    width, height = 2 * SIDE + GAP, SIDE + CAPTION
    page = Image.new("RGB", (columns * width + GAP, -(-len(tiles) // columns) * height + GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for i, (sample, panels) in enumerate(tiles):
        x, y = GAP + i % columns * width, GAP + i // columns * height
        for column, (masks, words) in enumerate(panels):
            picture = Image.fromarray(draw_masks(sample.image, masks))
            picture.thumbnail((SIDE - 4, SIDE))
            page.paste(picture, (x + column * SIDE, y))
            pen.text((x + column * SIDE, y + SIDE + 3), words[:38], "black", font)
    file = BytesIO()
    page.save(file, "JPEG", quality=88)
    return file.getvalue()


if __name__ == "__main__":
    typer.run(main)

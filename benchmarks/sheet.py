"""The picture in the README: the sample photos with what `pocket` makes of a box.

Run: python benchmarks/sheet.py -o docs/pictures/sheet.jpg
"""

from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from pocketsam import Segmenter

SAMPLES = Path(__file__).parent.parent / "samples"
PROMPTS: dict[str, dict[str, Any]] = {
    "tshirt": {"boxes": (61, 20, 446, 382)},
    "cap": {"boxes": (60, 81, 333, 454)},
    "blouse": {"boxes": (18, 67, 382, 470)},
    "jacket": {"boxes": (18, 78, 382, 397)},
    "sneakers": {"boxes": [(20, 130, 342, 371), (195, 0, 413, 193)]},
    "slippers": {"boxes": [(170, 125, 441, 356), (249, 77, 510, 275)]},
}
HEIGHT, GAP = 300, 6


def main(
    model: Annotated[str, typer.Option(help="A model's name, or its folder.")] = "pocket",
    output: Annotated[Path, typer.Option("-o", "--output", help="Where it goes.")] = Path("sheet.jpg"),
) -> None:
    segmenter = Segmenter(model)
    tiles = [overlay(segmenter, name) for name in PROMPTS]
    half = len(tiles) // 2
    rows = [row(tiles[:half]), row(tiles[half:])]
    width = min(r.shape[1] for r in rows)
    scaled = [cv2.resize(r, (width, round(r.shape[0] * width / r.shape[1]))) for r in rows]
    gap = np.full((GAP, width, 3), 255, np.uint8)
    output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack([scaled[0], gap, scaled[1]])).save(output, quality=88)
    print(f"Written to {output}")


def overlay(segmenter: Segmenter, name: str) -> NDArray[np.uint8]:
    """A sample with its masks, HEIGHT pixels high."""
    masks = segmenter.open(SAMPLES / f"{name}.jpg").segment(**PROMPTS[name])
    print(f"{name:9} predicted IoU", ", ".join(f"{value:.2f}" for value in masks.predicted_iou))
    picture = masks.overlay()
    width = round(picture.shape[1] * HEIGHT / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def row(tiles: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    parts = [part for tile in tiles for part in (tile, gap)]
    return np.hstack(parts[:-1])


if __name__ == "__main__":
    typer.run(main)

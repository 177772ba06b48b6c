"""The sheet of a study: what became of a photo, with its masks, in tiles side by side."""

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pocketsam.predict.drawing import draw_masks
from pocketsam.utils.rle import RLE, decode, encode

SIDE, CAPTION, GAP, COLUMNS = 190, 20, 8, 6
"""Of the sheet, in pixels: a tile's longer side, its caption's height, the space between tiles; tiles a row."""


class Tile(NamedTuple):
    """An image (H, W, 3) with some masks on it, and what it is called. points: (x, y) to be marked."""

    caption: str
    image: NDArray[np.uint8]
    masks: Sequence[RLE] = ()
    points: Sequence[tuple[float, float]] = ()


def sheet(tiles: Sequence[Tile], columns: int = COLUMNS, side: int = SIDE) -> bytes:
    """A JPEG file with all tiles, in rows. side: the longer one of a tile, in pixels."""
    panels = [_panel(tile, side) for tile in tiles]
    height = max(panel.shape[0] for panel in panels) + CAPTION + GAP
    columns, width = min(columns, len(tiles)), max(panel.shape[1] for panel in panels) + GAP
    rows = -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for i, (tile, panel) in enumerate(zip(tiles, panels, strict=True)):
        x, y = GAP + i % columns * width, GAP + i // columns * height
        pen.text((x, y), tile.caption, "black", font)
        page.paste(Image.fromarray(panel), (x, y + CAPTION))
    file = BytesIO()
    page.save(file, "JPEG", quality=80)
    return file.getvalue()


def _panel(tile: Tile, side: int) -> NDArray[np.uint8]:
    """The image at the tile's size, with masks and points."""
    scale = side / max(tile.image.shape[:2])
    size = max(1, round(scale * tile.image.shape[1])), max(1, round(scale * tile.image.shape[0]))
    view = np.asarray(cv2.resize(tile.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    small = [
        cv2.resize(decode(rle).view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        for rle in tile.masks
    ]
    panel = draw_masks(view, [encode(np.asarray(mask, np.bool_)) for mask in small])
    for x, y in tile.points:
        centre = round(scale * x), round(scale * y)
        cv2.circle(panel, centre, 4, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(panel, centre, 3, (225, 45, 45), cv2.FILLED, cv2.LINE_AA)
    return panel

"""Pictures of a result: its curves, and a sheet of the masks that came out worst."""

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pocketsam.config import FOREGROUND
from pocketsam.data.sample import Dataset
from pocketsam.evaluation.results import Curves, PhotoResult, Row, percent
from pocketsam.predict.drawing import draw_masks, draw_prompts
from pocketsam.predict.prompts import Prompts
from pocketsam.utils.rle import boxes, decode, encode

PANEL, CAPTION, SEAM, GAP, COLUMNS = 220, 22, 3, 14, 4
"""Of the sheet, in pixels: a panel's side, its caption's height, the space within and between tiles; tiles a row."""
MARGIN, LEAST_SIDE = 0.2, 32
"""Around what a panel shows, as a fraction of its larger side; and the least that it shows, in image pixels."""


def plot(curves: Sequence[Curves]) -> bytes | None:
    """The curves side by side, as a PNG file; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return None
    figure = Figure(figsize=(5.5 * len(curves), 3.8), layout="constrained")
    for axes, one in zip(np.atleast_1d(figure.subplots(1, len(curves))), curves, strict=True):
        for name, points in one.lines.items():
            axes.plot(*zip(*points, strict=True), "o-", markersize=3, label=name)
        axes.set(title=one.title, xlabel=one.x, ylabel=one.y)
        axes.set_ylim(bottom=0)
        axes.set_xticks(sorted({x for points in one.lines.values() for x, _ in points}))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


class Case(NamedTuple):
    """One mask of one image, and its score."""

    score: float
    photo: PhotoResult
    row: Row


def worst_cases(results: Sequence[PhotoResult], score: str, count: int) -> list[Case]:
    """The masks with the lowest `score`, worst first; those without the score, or without a mask, do not count."""
    cases = [
        Case(value, photo, row)
        for photo in results
        for row in photo.rows
        if (value := row.scores.get(score)) is not None and (row.truth or row.answer)
    ]
    return sorted(cases, key=lambda case: case.score)[:count]


def sheet(cases: Sequence[Case], dataset: Dataset) -> bytes:
    """A JPEG file with a tile for each case: the ground truth on the left, the prompt and its mask on the right."""
    rows = -(-len(cases) // COLUMNS)
    width, height = 2 * PANEL + SEAM + GAP, PANEL + CAPTION + GAP
    page = Image.new("RGB", (COLUMNS * width + GAP, rows * height + GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for i, case in enumerate(cases):
        x, y = GAP + i % COLUMNS * width, GAP + i // COLUMNS * height
        image = dataset.read(case.photo.photo).image
        for column, panel in enumerate(_panels(image, case.row)):
            page.paste(Image.fromarray(panel), (x + column * (PANEL + SEAM), y))
        pen.text(
            (x, y + PANEL + 3),
            f"{percent(case.score)} %  {case.photo.name}, mask {case.row.mask}",
            "black",
            font,
        )
    file = BytesIO()
    page.save(file, "JPEG", quality=88)
    return file.getvalue()


def _panels(image: NDArray[np.uint8], row: Row) -> list[NDArray[np.uint8]]:
    """The ground truth, and the predicted mask with its prompt, each PANEL × PANEL."""
    shown = [rle for rle in (row.truth, row.answer) if rle is not None]
    x0, y0, x1, y1 = _window(boxes(shown), row, image.shape[:2])
    scale = PANEL / max(x1 - x0, y1 - y0)
    size = max(1, round(scale * (x1 - x0))), max(1, round(scale * (y1 - y0)))
    view = np.asarray(cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), np.uint8)
    panels = []
    for i, rle in enumerate((row.truth, row.answer)):
        masks = np.zeros((2, size[1], size[0]), np.bool_)  # two, so that each has a colour of its own
        if rle is not None:
            part = decode(rle)[y0:y1, x0:x1].view(np.uint8)
            masks[i] = cv2.resize(part, size, interpolation=cv2.INTER_NEAREST) > 0
        panels.append(draw_masks(view, [encode(mask) for mask in masks]))
    draw_prompts(panels[1], _prompts(row, (x0, y0), scale), np.array([1]))
    return [_padded(panel) for panel in panels]


def _window(found: NDArray[np.float32], row: Row, size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """What of the image (H, W) to show: a square with both masks and the prompt, or what the image has of one."""
    corners = found[(found[:, 2:] > found[:, :2]).all(axis=1)].reshape(-1, 2)
    prompt = np.array([*row.prompt.get("points", []), *_corners(row)], np.float32).reshape(-1, 2)
    corners = np.concatenate([corners, prompt])
    low, high = corners.min(axis=0), corners.max(axis=0)
    side = max(LEAST_SIDE, (1 + 2 * MARGIN) * float((high - low).max()))
    limit = np.array([size[1], size[0]])
    sides = np.minimum(round(side), limit)
    start = np.clip(np.round((low + high - sides) / 2), 0, limit - sides).astype(int)
    x0, y0, x1, y1 = (int(value) for value in (*start, *(start + sides)))
    return x0, y0, x1, y1


def _corners(row: Row) -> list[list[float]]:
    box = row.prompt.get("box")
    return [box[:2], box[2:]] if box else []


def _prompts(row: Row, corner: tuple[int, int], scale: float) -> Prompts:
    """The row's prompt in the pixels of its panel."""
    points = (np.array(row.prompt.get("points", []), np.float32).reshape(1, -1, 2) - corner) * scale
    labels = np.array([row.prompt.get("labels", [FOREGROUND] * points.shape[1])], np.int32)
    box = np.array(_corners(row), np.float32).reshape(-1, 2)
    moved = ((box - corner) * scale).reshape(1, 4).astype(np.float32) if len(box) else None
    return Prompts(points.astype(np.float32), labels, moved, None)


def _padded(panel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = panel.shape[:2]
    square = np.full((PANEL, PANEL, 3), 255, np.uint8)
    square[:height, :width] = panel
    return square

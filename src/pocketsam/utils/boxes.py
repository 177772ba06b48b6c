"""Boxes: tight ones of masks, and the best of those that overlap.

One convention: a box is XYXY in pixels, and its right and bottom edges are exclusive (x1 is the last column plus
one), so that x1 - x0 is its width. Only SAM's published everything mode differs: it compares, and returns, boxes
whose x1 and y1 are the last column and row themselves; `outermost_pixels` gives these.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def tight_box(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The smallest box around a mask (H, W): (4,) int64 XYXY, x1 and y1 exclusive. Zeros for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return np.zeros(4, np.int64)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.int64)


def pixels_near(box: NDArray[Any], margin: float, size: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of pixels, one at least, whose middles lie in a box (4,) XYXY within a photo of (H, W).

    The box is enlarged by `margin`, a fraction of its sides, on all four.
    """
    (x0, y0, x1, y1), (height, width) = map(float, box), size
    return _middles(y0, y1, margin, height), _middles(x0, x1, margin, width)


def _middles(first: float, last: float, margin: float, count: int) -> slice:
    wide = margin * (last - first)
    start = min(max(0, math.ceil(first - wide - 0.5)), count - 1)
    return slice(start, max(start + 1, min(count, math.floor(last + wide - 0.5) + 1)))


def outermost_pixels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first and last column and row of a mask (H, W): (4,) int64 XYXY, inclusive. Zeros for an empty mask."""
    x0, y0, x1, y1 = tight_box(mask)
    return np.array([x0, y0, max(x1 - 1, 0), max(y1 - 1, 0)], np.int64)


def nms(boxes: NDArray[Any], scores: NDArray[Any], threshold: float) -> NDArray[np.intp]:
    """Non-maximum suppression: the indices of the boxes (N, 4) XYXY to keep, best first; scores (N,).

    A box goes if its IoU with a better one that stays is greater than the threshold; of equals the first stays.
    """
    boxes = boxes.astype(np.float64)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting, kept = np.argsort(-np.asarray(scores, np.float64), kind="stable"), []
    while waiting.size:
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[waiting, :2])
        sides = np.minimum(boxes[best, 2:], boxes[waiting, 2:]) - corner
        overlap = sides.clip(min=0).prod(axis=1)
        union = areas[best] + areas[waiting] - overlap
        # Two boxes one pixel wide have no area here, and no IoU: both stay.
        iou = np.divide(overlap, union, out=np.zeros_like(union), where=union > 0)
        waiting = waiting[iou <= threshold]
    return np.array(kept, np.intp)

"""Tight boxes of masks.

One convention: a box is XYXY in pixels, and its right and bottom edges are exclusive (x1 is the last column plus
one), so that x1 - x0 is its width. Only SAM's published everything mode differs: it compares, and returns, boxes
whose x1 and y1 are the last column and row themselves; `outermost_pixels` gives these.
"""

import numpy as np
from numpy.typing import NDArray


def tight_box(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The smallest box around a mask (H, W): (4,) int64 XYXY, x1 and y1 exclusive. Zeros for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return np.zeros(4, np.int64)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.int64)


def outermost_pixels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first and last column and row of a mask (H, W): (4,) int64 XYXY, inclusive. Zeros for an empty mask."""
    x0, y0, x1, y1 = tight_box(mask)
    return np.array([x0, y0, max(x1 - 1, 0), max(y1 - 1, 0)], np.int64)

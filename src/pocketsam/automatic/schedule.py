"""The schedule of everything mode: which crops are made, and which points of a grid are prompted in which order.

Crops and grids are SAM's (arXiv 2304.02643, appendix B). Most points of a dense grid lie in a few large objects and
give the same masks again, so the hierarchy prompts the grid in three passes:

1. every fourth point a side;
2. every second point a side, but for those inside a mask that was found with confidence (TinySAM, arXiv 2312.13789,
   section 3.4);
3. of the others, with the same exception, those next to a point that found a mask, or nearly found one. Where no mask
   came near to passing the filters, the points in between would hardly find one.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.automatic.options import Options
from pocketsam.config import ModelConfig
from pocketsam.predict.geometry import Geometry

Crop: TypeAlias = tuple[int, int, int, int]
"""x0, y0, x1, y1 in photo pixels; x1 and y1 are outside."""

STRIDES = (4, 2, 1)
"""The passes of the hierarchy: every fourth point a side of the grid, then every second, then all."""


def crop_boxes(height: int, width: int, layers: int, overlap_ratio: float) -> list[tuple[int, Crop]]:
    """The whole photo as layer 0, then each layer's crops: (layer, crop).

    A photo with fewer pixels than crops gets one only where there is a pixel.
    """
    found: list[tuple[int, Crop]] = [(0, (0, 0, width, height))]
    for layer in range(1, layers + 1):
        side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / side))
        crop_width = math.ceil((overlap * (side - 1) + width) / side)
        crop_height = math.ceil((overlap * (side - 1) + height) / side)
        for column, row in product(range(side), repeat=2):
            x0, y0 = (crop_width - overlap) * column, (crop_height - overlap) * row
            x1, y1 = min(x0 + crop_width, width), min(y0 + crop_height, height)
            if x0 < x1 and y0 < y1:
                found.append((layer, (x0, y0, x1, y1)))
    return found


def point_grid(side: int) -> NDArray[np.float64]:
    """The centres of side × side equal cells, (side², 2) as (x, y) in 0 to 1, row by row."""
    centres = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


def layer_grid(options: Options, config: ModelConfig, layer: int) -> NDArray[np.float64]:
    """The points of each crop of a layer, (K, 2) as (x, y) in 0 to 1."""
    if options.point_grids is not None:
        return np.asarray(options.point_grids[layer], np.float64).reshape(-1, 2)
    scale: int = options.crop_n_points_downscale_factor**layer
    return point_grid(max(1, int(options.resolve(config).points_per_side / scale)))


class Schedule:
    """The points of a crop's grid that are prompted, batch by batch, as what was found so far decides.

    points: (K, 2) in pixels of the crop; for the hierarchy row by row of a square.
    hierarchical: whether to prompt in passes; a grid of fewer than 4 × 4 points is prompted whole.
    """

    def __init__(self, points: NDArray[np.float64], geometry: Geometry, hierarchical: bool) -> None:
        size = geometry.low_resolution
        cells = geometry.to_model(points) * size / geometry.size
        x, y = cells.astype(int).clip(max=size - 1).T
        self._cell_of_point = y, x
        self._strides = STRIDES if hierarchical and len(points) >= STRIDES[0] ** 2 else (1,)
        self._certain_cells = np.zeros((size, size), np.bool_)
        self._promising = np.zeros(len(points), np.bool_)
        self._prompted = np.zeros(len(points), np.bool_)
        self.settled: float = 0
        """How many points were prompted or left out so far; those of a pass count evenly over its batches."""

    def batches(self, size: int) -> Iterator[NDArray[np.intp]]:
        """The indices of the next points to be prompted, at most `size` at a time. `note` what each batch found."""
        for stride in self._strides:
            due = self._due(stride)
            indices = np.flatnonzero(due)
            before, after = self.settled, len(due) if stride == 1 else int(_every(stride, len(due)).sum())
            for start in range(0, len(indices), size):
                batch = indices[start : start + size]
                self.settled = before + (after - before) * (start + len(batch)) / len(indices)
                yield batch
            self.settled = after
            self._prompted |= due

    def note(self, batch: NDArray[np.intp], promising: NDArray[np.bool_], certain: NDArray[np.bool_]) -> None:
        """What a batch found: which of its points found a mask, or nearly did; which cells (h, w) are certain."""
        self._promising[batch] = promising
        self._certain_cells |= certain

    def _due(self, stride: int) -> NDArray[np.bool_]:
        """Which points are prompted in the pass of a stride; (K,)."""
        due = ~self._prompted
        if len(self._strides) == 1:
            return due
        certain = self._certain_cells[self._cell_of_point]
        due &= _every(stride, len(due)) & ~certain
        if stride == 1:
            due &= _near(self._promising | certain)
        return due


def _every(stride: int, count: int) -> NDArray[np.bool_]:
    """Which of the `count` points of a square grid are every `stride`-th a side; (count,)."""
    line = np.arange(math.isqrt(count)) % stride == 1 % stride
    return np.asarray(line[:, None] & line, np.bool_).ravel()


def _near(points: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which points of a square grid are, or have among their eight neighbours, one of these; (count,)."""
    grid = points.reshape(math.isqrt(len(points)), -1).astype(np.uint8)
    return np.asarray(cv2.dilate(grid, np.ones((3, 3), np.uint8)), np.bool_).ravel()

"""Pixels of the photo and pixels of the model: the way there and the way back.

A model sees a square of `size` pixels. SAM (Kirillov et al. 2023) and most of its small successors scale the
longest side to `size` and fill the rest with zeros on the right and below ("pad"); EfficientSAM (Xiong et al.
2023) scales both sides ("squash"). The decoder's logits have a quarter of the model's side.

How pixels are mixed on the way: "antialiased" is SAM's way, "plain" EfficientSAM's, which shrinks photos without
looking at the pixels in between and enlarges its logits bicubically, in one step.

Points are (x, y), and pixel i spans i to i+1 once the prompt encoder has added its half pixel, as in SAM.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.config import ModelConfig, Resampling, Resize
from pocketsam.errors import InputError


@dataclass(frozen=True)
class Geometry:
    """A photo of `height` × `width` pixels in front of a model of `size` × `size` pixels."""

    height: int
    width: int
    size: int
    resize: Resize = "pad"
    resampling: Resampling = "antialiased"

    @classmethod
    def of(cls, config: ModelConfig, height: int, width: int) -> "Geometry":
        """A photo of `height` × `width` pixels in front of the model that `config` describes."""
        return cls(height, width, config.image_size, config.resize, config.resampling)

    @property
    def resized(self) -> tuple[int, int]:
        """(height, width) of the photo inside the model's square, in model pixels."""
        if self.resize == "squash":
            return self.size, self.size
        scale = self.size / max(self.height, self.width)
        # A very long photo still gets one row: SAM's rounding alone would leave it none.
        return max(1, int(self.height * scale + 0.5)), max(1, int(self.width * scale + 0.5))

    @property
    def low_resolution(self) -> int:
        """The side of the decoder's logits."""
        return self.size // 4

    @property
    def cells(self) -> tuple[slice, slice]:
        """The rows and columns of the logits in which there is something of the photo."""
        height, width = self.resized
        return slice(-(-height // 4)), slice(-(-width // 4))

    def to_model(self, xy: ArrayLike) -> NDArray[np.float32]:
        """Photo pixels (…, 2) to model pixels (…, 2) float32."""
        return np.asarray(np.asarray(xy, np.float64) * self.scale, np.float32)

    def to_cells(self, xy: ArrayLike) -> NDArray[np.float32]:
        """Photo pixels (…, 2) to cells of the logits (…, 2) float32, whose middles are whole numbers."""
        return np.asarray((self.to_model(xy) + 0.5) / 4 - 0.5, np.float32)

    def to_photo(self, xy: ArrayLike) -> NDArray[np.float32]:
        """Model pixels (…, 2) to photo pixels (…, 2) float32."""
        return np.asarray(np.asarray(xy, np.float64) / self.scale, np.float32)

    @property
    def scale(self) -> NDArray[np.float64]:
        """Model pixels in a pixel of the photo: (2,) float64, across and down."""
        height, width = self.resized
        return np.array([width / self.width, height / self.height])

    def logits_to_photo(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """One mask's low-resolution logits (h, w) to the photo's own resolution (H, W) float32.

        Two bilinear steps with the padding cut off in between, as the published SAM does it; in one bicubic step
        where the model resamples plainly, as the published EfficientSAM does.
        """
        if self.resampling == "plain":
            return self._enlarge(logits, cv2.INTER_CUBIC)
        height, width = self.resized
        square = cv2.resize(
            np.asarray(logits, np.float32), (self.size, self.size), interpolation=cv2.INTER_LINEAR
        )
        return self._enlarge(square[:height, :width], cv2.INTER_LINEAR)

    def part_of_photo(
        self, logits: NDArray[np.float32], least: float
    ) -> tuple[NDArray[np.float32], int, int]:
        """`logits_to_photo`, but only the part that can be above `least`: (h', w') float32, and its corner x0, y0.

        The cost goes with the part, which for most masks is a small one. (0, 0), 0, 0 where there is none.
        """
        if self.resampling == "plain":  # bicubic: anything may overshoot
            return self.logits_to_photo(logits), 0, 0
        above = logits > least
        rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
        if not rows.size:
            return np.zeros((0, 0), np.float32), 0, 0
        down, y = self._reach(0, int(rows[0]), int(rows[-1]))
        across, x = self._reach(1, int(columns[0]), int(columns[-1]))
        part = self._weights[0][y, down] @ logits[down, across] @ self._weights[1][x, across].T
        return np.asarray(part, np.float32), x.start, y.start

    def _reach(self, axis: int, first: int, last: int) -> tuple[slice, slice]:
        """The cells that mix with those from `first` to `last`, and the photo's pixels that these reach."""
        starts, stops = self._reaches[axis]
        pixels = slice(int(starts[first]), int(stops[last]))
        mixed = np.flatnonzero(self._weights[axis][pixels].any(axis=0)) if pixels.start < pixels.stop else [0]
        return slice(int(mixed[0]), int(mixed[-1]) + 1), pixels

    @cached_property
    def _weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """How much of each cell is in each pixel of the photo, (H, h) and (W, w): both steps, an axis at a time."""
        side, size = self.low_resolution, self.size
        cells = cv2.resize(np.eye(side, dtype=np.float32), (side, size), interpolation=cv2.INTER_LINEAR)
        axes = zip(self.resized, (self.height, self.width), strict=True)
        rows, columns = (
            np.asarray(cv2.resize(cells[:inside], (side, pixels), interpolation=cv2.INTER_LINEAR), np.float32)
            for inside, pixels in axes
        )
        return rows, columns

    @cached_property
    def _reaches(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Where along each axis a cell or a later one first is in a pixel, and where it or a former one ends."""
        found = []
        for weights in self._weights:
            there = weights > 0
            reached = there.any(axis=0)  # not all cells are, where the photo is smaller than the logits
            starts = np.where(reached, there.argmax(axis=0), len(there))
            stops = np.where(reached, len(there) - there[::-1].argmax(axis=0), 0)
            found.append((np.minimum.accumulate(starts[::-1])[::-1], np.maximum.accumulate(stops)))
        return found

    def _enlarge(self, logits: NDArray[Any], interpolation: int) -> NDArray[np.float32]:
        full = cv2.resize(
            np.asarray(logits, np.float32), (self.width, self.height), interpolation=interpolation
        )
        return np.asarray(full, np.float32)

    def mask_to_model(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """A mask (H, W) bool of the photo to logits (size/4, size/4) float32 for use as `mask_input`.

        10 inside, -10 outside and in the padding; a cell that the mask's border cuts lies in between.
        Raises InputError when the mask has not the photo's size.
        """
        if mask.shape != (self.height, self.width):
            given = " × ".join(map(str, mask.shape[::-1]))
            raise InputError(f"the mask is {given} pixels, but the photo is {self.width} × {self.height}")
        height, width = self.resized
        side = self.low_resolution
        coverage = np.zeros((self.size, self.size), np.float32)
        coverage[:height, :width] = cv2.resize(
            mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
        )
        coverage = np.asarray(cv2.resize(coverage, (side, side), interpolation=cv2.INTER_AREA), np.float32)
        return 20 * coverage - 10

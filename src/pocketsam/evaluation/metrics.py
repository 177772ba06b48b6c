"""How well masks agree with the ground truth, and a model's confidence with its masks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.predict.masks import Masks

BOUNDARY_RATIO = 0.02
"""The width of the boundary, as a fraction of the image's diagonal (Cheng et al. 2021)."""
BINS = 10
"""Of predicted IoU, from 0 to 1, in a calibration table."""


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks (H, W); two empty masks have 1."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def ious(predicted: Masks, truth: Iterable[NDArray[np.bool_]]) -> list[float]:
    """The IoU of each of N predicted masks with its ground truth (H, W), at the image's resolution."""
    # One mask at a time: all of them at the image's resolution could be gigabytes.
    return [iou(one.binary[0], true) for one, true in zip(predicted, truth, strict=True)]


def boundary_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Boundary IoU of two masks (H, W) of one image (Cheng et al. 2021, arXiv 2103.16562).

    The IoU of the masks' boundaries. A mask's boundary is what a square of 2 d + 1 pixels erodes of it, where d is
    2 % of the image's diagonal, rounded, and at least 1 pixel; the image's edge counts as the mask's edge. This is
    the definition of the published code. Two empty masks have 1.
    """
    both = a | b
    if not both.any():
        return 1.0
    distance = max(1, round(BOUNDARY_RATIO * float(np.hypot(*a.shape))))
    rows, columns = (np.flatnonzero(both.any(axis=axis)) for axis in (1, 0))
    # Nothing outside this window is in either mask, so the erosion within it is the same as that of the image.
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return iou(_boundary(a[window], distance), _boundary(b[window], distance))


def _boundary(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """The pixels of a mask (H, W) that are at most `distance` pixels inside its edge, by the larger of x and y."""
    framed = np.pad(mask, 1).view(np.uint8)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return np.asarray(mask & (eroded == 0))


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's correlation, from -1 to 1; None for fewer than two pairs, or where one of the two never varies."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


@dataclass(frozen=True)
class CalibrationBin:
    """The masks whose predicted IoU lies in [low, high); the last bin has 1 and all above it, the first all below 0.

    count: how many they are. predicted, true: their mean predicted and true IoU; None where there is no mask.
    """

    low: float
    high: float
    count: int
    predicted: float | None
    true: float | None


def calibration(predicted: Sequence[float], true: Sequence[float], bins: int = BINS) -> list[CalibrationBin]:
    """What the true IoU of N masks is on average, by their predicted IoU: `bins` bins of equal width from 0 to 1."""
    x, y = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    numbers = np.clip(np.floor(x * bins), 0, bins - 1)
    members = [numbers == i for i in range(bins)]
    return [
        CalibrationBin(
            i / bins,
            (i + 1) / bins,
            int(np.count_nonzero(chosen)),
            float(x[chosen].mean()) if chosen.any() else None,
            float(y[chosen].mean()) if chosen.any() else None,
        )
        for i, chosen in enumerate(members)
    ]

"""How well masks agree."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pocketsam.predict.masks import Masks


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks (H, W); two empty ones agree."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def ious(predicted: Masks, truth: Iterable[NDArray[np.bool_]]) -> list[float]:
    """The IoU of each of N predicted masks with its true one (H, W), at the photo's resolution."""
    # One mask at a time: all of them at the photo's resolution could be gigabytes.
    return [iou(one.binary[0], true) for one, true in zip(predicted, truth, strict=True)]

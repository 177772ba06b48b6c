"""How well a saliency map agrees with the mask of the salient object: the measures of the field.

Maps are (H, W) from 0 to 1, masks (H, W) bool, both at the photo's resolution.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVELS = 256
"""A map is cut at so many thresholds, the grey levels of a picture."""
BETA_SQUARED = 0.3
"""Precision counts more than recall (Achanta et al., CVPR 2009)."""
TINY = 1e-8

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]


def mean_absolute_error(saliency: Map, truth: Mask) -> float:
    """The mean difference of a pixel (Perazzi et al., CVPR 2012)."""
    return float(np.abs(saliency - truth).mean())


def precision_recall(saliency: Map, truth: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall of the pixels at or above each of the grey levels, 0 to 255: (256,) both.

    Where no pixel is above a level, precision is 1 and recall 0.
    """
    grey = np.floor(np.asarray(saliency, np.float64) * (LEVELS - 1) + 0.5).astype(np.int64)
    inside = np.bincount(grey[truth], minlength=LEVELS)[::-1].cumsum()[::-1]
    found = np.bincount(grey.ravel(), minlength=LEVELS)[::-1].cumsum()[::-1]
    precision = np.divide(inside, found, out=np.ones(LEVELS), where=found > 0)
    return precision, inside / max(1, np.count_nonzero(truth))


def max_f(precisions: Sequence[Sequence[float]], recalls: Sequence[Sequence[float]]) -> float:
    """The largest F of any grey level, by the mean precision and recall of N photos, (N, 256) both.

    β² = 0.3 (Achanta et al., CVPR 2009), maximum over the thresholds as in Borji et al. (TIP 2015).
    """
    precision, recall = np.mean(precisions, axis=0), np.mean(recalls, axis=0)
    f = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall + TINY)
    return float(f.max())


def s_measure(saliency: Map, truth: Mask) -> float:
    """The structure measure (Fan et al., ICCV 2017, arXiv 1708.00786), with α = 0.5.

    S = α S_object + (1 - α) S_region, equations 8 and 5. An empty or full mask is compared by the map's mean.
    """
    share = truth.mean()
    if share in (0, 1):
        return float(1 - saliency.mean() if share == 0 else saliency.mean())
    similarity = 0.5 * _of_objects(saliency, truth) + 0.5 * _of_regions(saliency, truth)
    return float(max(0.0, similarity))


def _of_objects(saliency: Map, truth: Mask) -> float:
    """Equation 8: whether the map is high and even inside, low and even outside, by their shares of the photo."""
    share = truth.mean()
    return float(share * _evenness(saliency[truth]) + (1 - share) * _evenness(1 - saliency[~truth]))


def _evenness(values: Map) -> float:
    """Equation 6, with λ = 0.5; values (K,)."""
    mean = values.mean()
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + spread + TINY))


def _of_regions(saliency: Map, truth: Mask) -> float:
    """Equation 5: the structural similarity of four parts that meet in the mask's centroid, by their areas."""
    rows, columns = np.nonzero(truth)
    y, x = (int(np.floor(indices.mean() + 1.5)) for indices in (rows, columns))  # counted from 1, and rounded
    parts = [(slice(None, y), slice(None, x)), (slice(None, y), slice(x, None))]
    parts += [(slice(y, None), slice(None, x)), (slice(y, None), slice(x, None))]
    total = sum(saliency[part].size * _similarity(saliency[part], truth[part]) for part in parts)
    return total / saliency.size


def _similarity(saliency: Map, truth: Mask) -> float:
    """The structural similarity of a part as a whole (equation 4); 0 for a part without pixels."""
    if saliency.size == 0:
        return 0.0
    x, y = saliency.mean(), truth.mean()
    dx, dy, degrees = saliency - x, truth - y, saliency.size - 1 + TINY
    above = 4 * x * y * (dx * dy).sum() / degrees
    below = (x**2 + y**2) * ((dx**2).sum() + (dy**2).sum()) / degrees
    if above:
        return float(above / (below + TINY))
    return 0.0 if below else 1.0

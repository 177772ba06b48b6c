"""Small regions: the holes in a mask and the islands beside it, which are nearly always mistakes of the model.

SAM's own postprocessing (arXiv 2304.02643, appendix B) removes them from the masks of everything mode. SAM 2's
predictor can remove them from the masks of prompts, in the decoder's cells, as `clean_logits` does here.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.utils.boxes import tight_box


def clean_logits(logits: NDArray[np.float32], smallest: float) -> NDArray[np.float32]:
    """Logits (h, w) without holes and islands of less than `smallest` cells: there they change their sign.

    The largest island stays, and an empty mask stays empty. With 0, nothing is changed.
    """
    if not smallest:
        return logits
    mask = logits > 0
    if not mask.any():
        return logits
    cleaned, filled = fill_small_holes(mask, smallest)
    cleaned, removed = remove_small_islands(cleaned, smallest)
    return np.where(cleaned == mask, logits, -logits) if filled or removed else logits


def fill_small_holes(mask: NDArray[np.bool_], smallest: float) -> tuple[NDArray[np.bool_], bool]:
    """A mask (H, W) without holes of less than `smallest` pixels, and whether it had any.

    As published, whatever is outside the mask and connected to no more than that is a hole, at the photo's edge too.
    """
    regions, areas = connected_regions(~mask)
    small = np.flatnonzero(areas < smallest) + 1
    return mask | np.isin(regions, small), bool(small.size)


def remove_small_islands(mask: NDArray[np.bool_], smallest: float) -> tuple[NDArray[np.bool_], bool]:
    """A mask (H, W) without islands of less than `smallest` pixels, and whether it had any; the largest one stays."""
    regions, areas = connected_regions(mask)
    if (areas >= smallest).all():
        return mask, False
    large = np.flatnonzero(areas >= smallest) + 1
    return np.isin(regions, large if large.size else areas.argmax() + 1), True


def connected_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The connected regions of a mask, also across corners: their numbers (H, W) from 1 on; the area of each."""
    _, regions, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(regions, np.int32), np.asarray(statistics[1:, cv2.CC_STAT_AREA], np.int32)


def deepest_pixel(region: NDArray[np.bool_]) -> tuple[int, int, float]:
    """x, y and depth of the pixel of a region (H, W) that is farthest from its edge; depth 0 if the region is empty.

    The maximum of the Euclidean distance transform, the first in reading order. The image's edge is an edge, too.
    """
    if not region.any():
        return 0, 0, 0.0
    # Nothing outside the tight box is nearer to the region than the frame around the box.
    left, top, right, bottom = tight_box(region)
    framed = np.pad(region[top:bottom, left:right], 1).astype(np.uint8)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(x + left) - 1, int(y + top) - 1, float(depth[y, x])

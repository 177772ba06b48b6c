"""A background click on an earlier mask: which of the decoder's masks it means, and what it may change."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.config import BACKGROUND, FOREGROUND, PADDING
from pocketsam.predict.regions import connected_regions

CLEARLY = 0.4
"""A cell leaves the earlier mask where its new logit is below minus this."""
NEAR = 3.0
"""Cells: so near to a background click, the new mask holds, whatever its logits."""


def choose_correction(
    logits: NDArray[np.float32],
    predicted_iou: NDArray[np.float32],
    points: NDArray[np.float32],
    labels: NDArray[np.int32],
    mask_input: NDArray[np.float32],
) -> int:
    """Which of K masks, given by logits (K, h, w) and predicted IoU (K,), a correction of `mask_input` (h, w) means.

    Of the masks that agree with most clicks, the one with the highest sum of predicted IoU and IoU with the earlier
    mask: a correction is to change what it is put on, and little else. points: (P, 2) in cells. labels: (P,).
    """
    x, y = (np.ascontiguousarray(points[None, :, axis], np.float32) for axis in (0, 1))
    at = [cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0] for mask in logits]
    agrees = ((np.array(at) > 0) == (labels == FOREGROUND)) & (labels != PADDING)
    inside, former = logits > 0, mask_input > 0
    overlap = (inside & former).sum((1, 2)) / np.maximum(1, (inside | former).sum((1, 2)))
    return int(np.lexsort((predicted_iou + overlap, agrees.sum(axis=1)))[-1])


def keep_elsewhere(
    logits: NDArray[np.float32],
    points: NDArray[np.float32],
    labels: NDArray[np.int32],
    mask_input: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Logits (h, w) of a correction that takes nothing from the earlier mask but the regions that are clicked on.

    As in FocalClick's progressive merge (arXiv 2204.02574, section 3.3), a region is connected; and here its cells
    must be clearly outside the new mask. Elsewhere, cells of the earlier mask, `mask_input` (h, w), keep its logits.
    points: (P, 2) in cells. labels: (P,), of which 0 is a background click.
    """
    clicks = points[labels == BACKGROUND]
    y, x = np.mgrid[: logits.shape[0], : logits.shape[1]]
    distance = np.hypot(x[..., None] - clicks[:, 0], y[..., None] - clicks[:, 1])  # (h, w, clicks)
    near = (distance <= NEAR).any(axis=2)
    leaving = (mask_input > 0) & (logits <= 0)
    regions, _ = connected_regions(leaving & ((logits < -CLEARLY) | near))
    clicked = np.setdiff1d(regions[near], 0)
    kept = leaving & ~near & ~np.isin(regions, clicked)
    return np.where(kept, mask_input, logits)

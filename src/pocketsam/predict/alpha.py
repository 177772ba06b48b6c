"""Masks with soft edges: how much of each pixel belongs to the object, for cut-outs.

Near the outline, the guided filter of `refine` follows the colours of the photo (He, Sun and Tang, TPAMI 2013, whose
section 4 uses it for matting). Away from it, a pixel belongs to the object or it does not: a model that is not
certain of a region must not make it transparent.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.predict.geometry import Geometry
from pocketsam.predict.refine import BAND, RADIUS, edges_of_photo, near_outline

CONTRAST = 2.5
"""How much steeper alpha is than the probability: an outline is soft over about a pixel, not over a cell."""


def soft_mask(logits: NDArray[np.float32], photo: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """The alpha channel (H, W) of an object, from 0 to 255, by its logits (h, w) at low resolution.

    photo: uint8 (H, W, 3) RGB, upright.
    """
    enlarged = geometry.logits_to_photo(logits)
    mask = enlarged > 0
    cell = max(geometry.height / geometry.resized[0], geometry.width / geometry.resized[1]) * 4
    rows, columns = np.nonzero(near_outline(mask, max(1, round(BAND * cell))))
    where = rows, columns
    alpha = mask.astype(np.float32)
    if rows.size:
        probability = 1 / (1 + np.exp(-enlarged[where].clip(-20, 20)))
        probability += edges_of_photo(photo, enlarged, max(1, round(RADIUS * cell)), where)
        alpha[where] = (0.5 + CONTRAST * (probability - 0.5)).clip(0, 1)
    return np.asarray(cv2.convertScaleAbs(alpha, alpha=255), np.uint8)

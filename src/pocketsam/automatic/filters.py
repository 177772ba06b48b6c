"""The filters of everything mode: which masks are kept (arXiv 2304.02643, appendix B, "Automatic mask generation").

A mask is kept if its outline hardly moves with the threshold, if no edge of its crop cuts it off, and if no better
mask fills almost the same box. Where the user wants it, small holes are filled and small islands removed.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pocketsam.automatic.proposals import Proposals
from pocketsam.automatic.schedule import Crop
from pocketsam.predict.regions import fill_small_holes, remove_small_islands
from pocketsam.utils.boxes import nms, outermost_pixels
from pocketsam.utils.rle import decode, encode

EDGE_PIXELS = 20
"""A box that comes this close to the edge of a crop is taken to be cut off by it."""
COARSE_CELLS = 100
"""The stability of a mask of fewer cells than this is not estimated from its cells."""
COARSE_MARGIN = 0.1
"""How much the stability measured in cells may differ from that in pixels; in practice it is a few hundredths."""


def stability_score(logits: NDArray[np.float32], offset: float, cut: float = 0.0) -> float:
    """How little a mask changes with the logit `cut` at which it ends: the IoU of the masks cut at cut ± offset.

    0 if empty.
    """
    larger = np.count_nonzero(logits > cut - offset)
    return float(np.count_nonzero(logits > cut + offset) / larger) if larger else 0.0


def is_clearly_unstable(
    cells: NDArray[np.float32], offset: float, threshold: float, cut: float = 0.0
) -> bool:
    """Whether a mask's low-resolution logits (h, w) are so unstable that it would not be stable in pixels either."""
    enough = bool(np.count_nonzero(cells > cut - offset) >= COARSE_CELLS)
    return enough and stability_score(cells, offset, cut) < threshold - COARSE_MARGIN


def is_cut_off(box: NDArray[np.int64], crop: Crop, photo_size: tuple[int, ...]) -> bool:
    """Whether the box ends at an edge of the crop that is not an edge of the photo, whose size is (H, W)."""
    height, width = photo_size
    near_crop = abs(box - np.array(crop)) <= EDGE_PIXELS
    near_photo = abs(box - np.array((0, 0, width, height))) <= EDGE_PIXELS
    return bool((near_crop & ~near_photo).any())


def without_small_regions(proposals: Proposals, smallest: float, same: float) -> Proposals:
    """The proposals without holes and islands of less than `smallest` pixels.

    Masks whose boxes thereby have an IoU greater than `same` are duplicates; those that had no small region stay.
    """
    rle, boxes, changed = list(proposals.rle), proposals.boxes.copy(), np.zeros(len(proposals), np.bool_)
    areas = proposals.areas.copy()
    for i, encoded in enumerate(proposals.rle):
        mask, filled = fill_small_holes(decode(encoded), smallest)
        mask, removed = remove_small_islands(mask, smallest)
        if filled or removed:
            rle[i], boxes[i], changed[i] = encode(mask), outermost_pixels(mask), True
            areas[i] = np.count_nonzero(mask)
    return replace(proposals, rle=rle, boxes=boxes, areas=areas)[nms(boxes, ~changed, same)]

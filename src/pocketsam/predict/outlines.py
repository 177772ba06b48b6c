"""The outlines of masks: as contours to draw, and as polygons to write."""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.utils.rle import RLE, decode_box

Polygon: TypeAlias = NDArray[np.float32]
"""(K, 2) float32 (x, y) in photo pixels, K at least 3. It runs through the centres of a mask's outermost pixels."""


def find_contours(mask: NDArray[np.bool_], corner: tuple[int, int] = (0, 0)) -> list[NDArray[np.int32]]:
    """All outlines of a mask (h, w), those of its holes too, each (K, 1, 2) int32 (x, y).

    corner: where in the photo the mask's upper left pixel is.
    """
    return [contour for part in _parts(mask, corner) for contour in part]


def polygons(rle: RLE) -> list[Polygon]:
    """The outer outline of each part of a mask. What is thinner than two pixels has none."""
    return [part[0] for part in polygons_with_holes(rle)]


def polygons_with_holes(rle: RLE) -> list[list[Polygon]]:
    """Of each part of a mask, its outer outline and then those of its holes; `polygons` says which have none."""
    mask, x0, y0 = decode_box(rle)
    if not mask.size:
        return []
    found = []
    for outer, *holes in _parts(mask, (x0, y0)):
        if len(outer) > 2:
            found.append([_polygon(contour) for contour in (outer, *holes) if len(contour) > 2])
    return found


def _parts(mask: NDArray[np.bool_], corner: tuple[int, int]) -> list[list[NDArray[np.int32]]]:
    """Of each connected part of a mask, its outer contour and then those of its holes."""
    found, hierarchy = cv2.findContours(
        mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=corner
    )
    if not found:
        return []
    contours = [np.asarray(contour, np.int32) for contour in found]
    parents: list[int] = hierarchy[0, :, 3].tolist()
    parts = {i: [contours[i]] for i, parent in enumerate(parents) if parent < 0}
    for i, parent in enumerate(parents):
        if parent >= 0:
            parts[parent].append(contours[i])
    return list(parts.values())


def _polygon(contour: NDArray[np.int32]) -> Polygon:
    return np.float32(0.5) + contour[:, 0].astype(np.float32)

"""The outlines of masks: as contours to draw, and as polygons to write.

A polygon follows the edges of pixels, so it is exact: the pixels whose centres are inside it are the mask again
(`predict/filling.py`), down to single pixels. Pixels that touch at a corner only are different parts; thus no
outline crosses or touches itself, as the Simple Features standard (ISO 19125) wants it.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.utils.rle import RLE, decode_box

Polygon: TypeAlias = NDArray[np.float32]
"""(K, 2) float32 (x, y) in photo pixels, K at least 4, along pixel edges: clockwise as seen; holes the other way."""
Corners: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Vertex: TypeAlias = tuple[int, int]


def find_contours(mask: NDArray[np.bool_], corner: tuple[int, int] = (0, 0)) -> list[NDArray[np.int32]]:
    """All outlines of a mask (h, w) to draw, those of its holes too, each (K, 1, 2) int32 (x, y): pixels of the mask.

    corner: where in the photo the mask's upper left pixel is.
    """
    found, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=corner)
    return [np.asarray(contour, np.int32) for contour in found]


def polygons(rle: RLE) -> list[Polygon]:
    """The outer outline of each part of a mask."""
    return [part[0] for part in polygons_with_holes(rle)]


def polygons_with_holes(rle: RLE) -> list[list[Polygon]]:
    """Of each part of a mask, its outer outline and then those of its holes, in the order of their first pixels."""
    mask, x0, y0 = decode_box(rle)
    if not mask.size:
        return []
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    outer: list[list[Polygon]] = [[] for _ in range(count)]
    holes: list[list[Polygon]] = [[] for _ in range(count)]
    for ring in _rings(mask):
        points = np.array(ring, np.float32)
        kind = outer if _is_clockwise(points) else holes
        kind[labels[_pixel_inside(ring)]].append(points + np.array([x0, y0], np.float32))
    return [around + within for around, within in zip(outer[1:], holes[1:], strict=True)]


def one_outline(rings: Sequence[Polygon]) -> Polygon:
    """A single outline for all `rings`, of holes or of parts, for formats that hold one outline for each object.

    Each ring is joined to those before it by a cut of no width, which is passed once in each direction (a keyhole):
    the pixels inside stay the same.
    """
    joined, *others = rings
    for ring in others:
        near = int(((joined - ring[0]) ** 2).sum(axis=1).argmin())
        joined = np.concatenate([joined[: near + 1], ring, ring[:1], joined[near:]])
    return joined


def parts_without_holes(rle: RLE) -> list[Polygon]:
    """One outline for each part of a mask; see `one_outline` for what becomes of its holes."""
    return [one_outline(part) for part in polygons_with_holes(rle)]


def _rings(mask: NDArray[np.bool_]) -> Iterable[list[Vertex]]:
    """The closed outlines of a mask, (x, y) of their corners, the mask to the right of each step."""
    rows, columns, below, right, first = _corners(mask)
    across, along = _partners(rows, columns, right), _partners(columns, rows, below)
    saddle = _saddles(rows, columns)
    points: list[Vertex] = list(zip(columns.tolist(), rows.tolist(), strict=True))
    seen = [False] * len(points)
    for start in range(len(points)):
        if seen[start]:
            continue
        visits, corner = [], start
        while not seen[corner]:
            visits += [corner, across[corner]]
            seen[corner] = seen[across[corner]] = True
            corner = along[across[corner]]
        if not first[start]:  # its first corner is that of a hole
            visits.reverse()
        yield from _split(visits, points, saddle)


def _corners(mask: NDArray[np.bool_]) -> tuple[Corners, Corners, Flags, Flags, Flags]:
    """The corners of all outlines, in reading order: rows, columns, and what the outline does there.

    below, right: whether it reaches down from the corner, or up; to the right, or to the left.
    first: whether the pixel below and to the right is of the mask.
    Where two pixels touch at their corners only, there are two corners, one for each pixel.
    """
    padded = np.pad(mask, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    odd = upper_left ^ upper_right ^ lower_left ^ lower_right
    touching = (upper_left == lower_right) & (upper_right == lower_left) & (upper_left != upper_right)
    rows, columns = np.nonzero(odd | touching)
    at = rows, columns
    twice = np.repeat(np.arange(len(rows)), 1 + touching[at])
    again = np.diff(twice, prepend=-1) == 0
    rows, columns = rows[twice], columns[twice]
    at = rows, columns
    below = np.where(touching[at], again, lower_left[at] != lower_right[at])
    right = np.where(touching[at], again ^ upper_right[at], upper_right[at] != lower_right[at])
    return rows, columns, below, right, lower_right[at]


def _partners(lines: Corners, places: Corners, onward: NDArray[np.bool_]) -> list[int]:
    """Of each corner, the corner at the other end of its edge along a line; `onward` says where an edge begins."""
    order = np.lexsort((onward, places, lines))
    partners = np.empty(len(order), np.int64)
    partners[order[0::2]], partners[order[1::2]] = order[1::2], order[0::2]
    found: list[int] = partners.tolist()
    return found


def _saddles(rows: Corners, columns: Corners) -> list[bool]:
    """Whether a corner is one of two at the same place."""
    same = (np.diff(rows) == 0) & (np.diff(columns) == 0)
    found: list[bool] = (np.append(same, False) | np.insert(same, 0, False)).tolist()
    return found


def _split(visits: Sequence[int], points: Sequence[Vertex], saddle: Sequence[bool]) -> list[list[Vertex]]:
    """Where an outline passes a place for the second time, what lies between is an outline of its own."""
    rings: list[list[Vertex]] = []
    ring: list[Vertex] = []
    places: dict[Vertex, int] = {}
    for corner in visits:
        point = points[corner]
        if saddle[corner]:
            if point in places:
                start = places[point]
                rings.append(ring[start:])
                for passed in ring[start + 1 :]:
                    places.pop(passed, None)
                del ring[start + 1 :]
                continue
            places[point] = len(ring)
        ring.append(point)
    return [*rings, ring]


def _is_clockwise(ring: Polygon) -> bool:
    x, y = ring.astype(np.float64).T
    return bool((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0)


def _pixel_inside(ring: Sequence[Vertex]) -> tuple[int, int]:
    """(row, column) of a pixel of the mask beside the first step."""
    (x, y), (next_x, next_y) = ring[:2]
    if y == next_y:
        return (y, x) if next_x > x else (y - 1, x - 1)
    return (y, x - 1) if next_y > y else (y - 1, x)

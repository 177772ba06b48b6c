"""Polygons to masks: a pixel is of the mask where its centre is inside, by the even-odd rule.

By this rule outlines along pixel edges, as `predict/outlines.py` makes them, give the very mask; holes are rings
inside others; and cuts of no width disappear.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.utils.rle import RLE, encode, encode_at

FARTHEST = 1e6
"""Coordinates beyond this many pixels are an error in the file."""
MOST_CROSSINGS = 50_000_000
"""Of outlines with the centre lines of rows; beyond, the memory would be gigabytes."""


def fill(rings: Sequence[ArrayLike], size: tuple[int, int]) -> RLE:
    """The mask that `rings` enclose together, each (K, 2) (x, y), in a photo of `size` (H, W).

    What lies outside the photo is cut off. Raises ValueError, which says why, for rings that are none.
    """
    points = [_ring(ring) for ring in rings]
    height, width = size
    if not points:
        return encode(np.zeros(size, np.bool_))
    every = np.concatenate(points)
    x0, y0 = np.clip(np.floor(every.min(axis=0)), 0, (width, height)).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(every.max(axis=0)), 0, (width, height)).astype(int).tolist()
    if x0 == x1 or y0 == y1:
        return encode(np.zeros(size, np.bool_))
    corner = np.array([x0, y0])
    return encode_at(_inside([ring - corner for ring in points], y1 - y0, x1 - x0), x0, y0, height, width)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> NDArray[np.float64]:
    """The ring of a box."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, turn: float = 0) -> NDArray[np.float64]:
    """The ring of an ellipse around (x, y), 360 points. turn: clockwise, in degrees."""
    angle, turned = np.linspace(0, 2 * np.pi, 360, endpoint=False), np.radians(turn)
    across, down = radius_x * np.cos(angle), radius_y * np.sin(angle)
    cosine, sine = np.cos(turned), np.sin(turned)
    return np.stack([x + across * cosine - down * sine, y + across * sine + down * cosine], axis=1)


def _ring(ring: ArrayLike) -> NDArray[np.float64]:
    try:
        points = np.array(ring, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError("has a polygon that is not 3 or more pairs of x and y")
    if not (np.abs(points) <= FARTHEST).all():  # nor is NaN
        raise ValueError("has a polygon that lies far outside its photo")
    return points


def _inside(rings: Sequence[NDArray[np.float64]], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels (height, width) after an odd number of crossings of their row's centre line with the outlines."""
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    # From top to bottom, so that a cut gives the same crossings in both directions, which cancel.
    swap = (starts[:, 1] > ends[:, 1])[:, None]
    (x0, y0), (x1, y1) = np.where(swap, ends, starts).T, np.where(swap, starts, ends).T
    first = np.clip(np.ceil(y0 - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(y1 - 0.5), 0, height).astype(np.int64)
    counts = last - first
    if counts.sum() > MOST_CROSSINGS:
        raise ValueError("has polygons of too many points")
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    x: NDArray[Any] = x0[edge] + (row + 0.5 - y0[edge]) * ((x1 - x0)[edge] / (y1 - y0)[edge])
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    crossings = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    odd = np.asarray(crossings.reshape(height, width + 1)[:, :width] % 2 == 1)
    return np.asarray(np.logical_xor.accumulate(odd, axis=1))

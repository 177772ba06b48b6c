"""Outlines that follow the edges in the photo.

A model's logits have few cells, so an enlarged mask looks rounded or blocky on a large photo. Here the colours near
the outline decide which side a pixel belongs to: a guided filter (He, Sun and Tang, "Guided Image Filtering", TPAMI
2013, section 3.5: a colour image as the guide), whose coefficients are computed at a lower resolution (He and Sun,
"Fast Guided Filter", arXiv:1505.00996). Within each window, the probability p of the mask is fitted as a linear
function of the colour, p ≈ a·I + b, which is as sharp as the photo.

Pixels of which the model is certain, and those far from the outline, stay as they are. Where the photo shows no edge,
the outline stays. Changed pixels never make up a hole or an island of their own.
"""

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.predict.geometry import Geometry
from pocketsam.utils.rle import RLE, encode, encode_at

Pixels: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp]]
"""The rows and the columns of K pixels, each (K,)."""

RADIUS = 2.0
"""Of the filter's window, in cells of the logits."""
EPSILON = 3e-4
"""Regularisation of the fit, for colours from 0 to 1: contrasts whose variance is well below it are no edges."""
BAND = 2.0
"""How far from the outline pixels may change, in cells of the logits."""
CERTAIN = 4.0
"""Logits beyond this, on either side, are certain: their pixels stay as they are."""
SUBSAMPLING = 3.0
"""The window's radius in pixels of the lower resolution at which coefficients are computed."""


def refine(logits: NDArray[np.float32], photo: NDArray[np.uint8], geometry: Geometry) -> RLE:
    """The run lengths of a mask whose outline follows the photo's edges.

    logits: (h, w) float32 at low resolution. photo: uint8 (H, W, 3) RGB, upright.
    """
    cell = max(geometry.height / geometry.resized[0], geometry.width / geometry.resized[1]) * 4
    part, x0, y0 = geometry.part_of_photo(logits, -CERTAIN)
    height, width = photo.shape[:2]
    if not part.size:
        return encode(np.zeros((height, width), np.bool_))
    part, x0, y0 = _padded(part, x0, y0, (height, width), round(BAND * cell) + 1)
    colours = photo[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
    return encode_at(refine_part(part, colours, cell), x0, y0, height, width)


def refine_part(logits: NDArray[np.float32], photo: NDArray[np.uint8], cell: float) -> NDArray[np.bool_]:
    """The same for logits (H, W) float32 at the resolution of the photo, uint8 (H, W, 3): a mask (H, W).

    cell: the side of a cell of the logits, in pixels.
    """
    mask = logits > 0
    band = near_outline(mask, max(1, round(BAND * cell))) & (abs(logits) < CERTAIN)
    if not band.any():
        return mask
    rows, columns = np.nonzero(band)
    where = rows, columns
    moved = _sigmoid(logits[where]) + edges_of_photo(photo, logits, max(1, round(RADIUS * cell)), where)
    refined = mask.copy()
    refined[where] = moved > 0.5
    return _without_specks(mask, refined, band)


def near_outline(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """The pixels of a mask (H, W) with both sides of the outline within `distance` pixels along each axis."""
    side = 2 * distance + 1
    inside = cv2.boxFilter(
        mask.view(np.uint8), cv2.CV_32F, (side, side), normalize=False, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray((inside > 0.5) & (inside < side**2 - 0.5))


def edges_of_photo(
    photo: NDArray[np.uint8],
    logits: NDArray[np.float32],
    radius: int,
    where: Pixels,
) -> NDArray[np.float32]:
    """What the photo adds to the probability of K pixels, (K,) float32.

    photo: uint8 (H, W, 3). logits: (H, W) float32. radius: of the window, in pixels.
    where: rows and columns of the pixels, each (K,).

    With p the probability and I the colour, the guided filter's output is mean(a)·I + mean(b), where b = mean(p) −
    a·mean(I). It is the sum of p, smoothed twice, and of mean(a)·I − mean(a·mean(I)). Only the second part comes from
    the photo, and only this is given: added to p itself, it leaves p as it is where the photo is flat.
    """
    scale = max(1.0, radius / SUBSAMPLING)
    small = tuple(max(1, round(side / scale)) for side in logits.shape[::-1])
    guide = cv2.resize(photo, small, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    p = _sigmoid(np.asarray(cv2.resize(logits, small, interpolation=cv2.INTER_AREA), np.float32))
    side = 2 * max(1, round(radius / scale)) + 1

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)

    mean_guide = mean(guide)
    covariance = mean(guide * p[..., None]) - mean_guide * mean(p)[..., None]
    slopes = _solve(_variances(guide, mean_guide, mean), covariance)
    offsets = np.einsum("hwc,hwc->hw", slopes, mean_guide)
    coefficients = _sample(mean(np.dstack([slopes, offsets])), logits.shape, where)
    colours = photo[where].astype(np.float32) / 255
    return np.asarray(np.einsum("kc,kc->k", coefficients[:, :3], colours) - coefficients[:, 3])


def _sample(grid: NDArray[np.float32], shape: tuple[int, ...], where: Pixels) -> NDArray[np.float32]:
    """A grid (h, w, C), enlarged bilinearly to `shape` (H, W), at K of its pixels: (K, C)."""
    rows, columns = (
        ((place + 0.5) * (few / many) - 0.5).astype(np.float32)
        for place, few, many in zip(where, grid.shape, shape, strict=False)
    )
    width = 1024  # OpenCV's maps have sides below 32,768
    padding = -len(rows) % width
    y, x = (np.pad(place, (0, padding)).reshape(-1, width) for place in (rows, columns))
    values = cv2.remap(grid, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float32).reshape(-1, grid.shape[2])[: len(rows)]


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-logits.clip(-20, 20))), np.float32)


def _variances(
    guide: NDArray[np.float32],
    mean_guide: NDArray[np.float32],
    mean: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """The covariance of the colours in each window, regularised: (H, W, 6), its entries rr, rg, rb, gg, gb and bb."""
    first, second = np.triu_indices(3)
    products = (mean(guide[..., i] * guide[..., j]) for i, j in zip(first, second, strict=True))
    variances = np.dstack(list(products)) - mean_guide[..., first] * mean_guide[..., second]
    return np.asarray(variances + EPSILON * (first == second), np.float32)


def _solve(variances: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """The solutions (H, W, 3) of a symmetric system in each pixel: `variances` (H, W, 6) · x = `right` (H, W, 3)."""
    rr, rg, rb, gg, gb, bb = np.moveaxis(variances, 2, 0)
    # Cramer's rule, by the matrix of cofactors: symmetric too.
    c00, c01, c02 = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c11, c12, c22 = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    determinant = rr * c00 + rg * c01 + rb * c02
    r, g, b = np.moveaxis(right, 2, 0)
    rows = (c00 * r + c01 * g + c02 * b, c01 * r + c11 * g + c12 * b, c02 * r + c12 * g + c22 * b)
    return np.asarray(np.dstack(rows) / determinant[..., None], np.float32)


def _padded(
    part: NDArray[np.float32], x0: int, y0: int, size: tuple[int, int], margin: int
) -> tuple[NDArray[np.float32], int, int]:
    """A part of the logits with `margin` more pixels on each side, as far as the photo of `size` (H, W) reaches."""
    (height, width), (rows, columns) = size, part.shape
    above, left = min(margin, y0), min(margin, x0)
    below, right = min(margin, height - y0 - rows), min(margin, width - x0 - columns)
    padded = np.pad(part, ((above, below), (left, right)), constant_values=-2 * CERTAIN)
    return padded, x0 - left, y0 - above


def _without_specks(
    mask: NDArray[np.bool_], refined: NDArray[np.bool_], band: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """`refined` (H, W) without holes and islands that lie in the band, where `mask` has none of its own."""
    refined = refined & ~_detached(refined, _anchors(mask, band))
    return refined | _detached(~refined, _anchors(~mask, band))


def _anchors(mask: NDArray[np.bool_], band: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels that a part of a refined mask must hold one of: those outside the band, and what has none such."""
    fixed = mask & ~band
    return fixed | _detached(mask, fixed)


def _detached(mask: NDArray[np.bool_], anchors: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected regions of a mask (H, W), across sides, that hold none of `anchors`."""
    loose = mask & ~anchors
    count, regions = cv2.connectedComponents(loose.view(np.uint8), connectivity=4)
    cross = np.asarray(cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    beside = cv2.dilate((mask & anchors).view(np.uint8), cross).view(np.bool_) & loose
    detached = np.ones(count, np.bool_)
    detached[regions[beside]] = False
    result = np.zeros_like(mask)
    result[loose] = detached[regions[loose]]
    return result

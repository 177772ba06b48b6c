"""COCO's segmentations, polygons and run lengths, to checked run lengths.

pycocotools trusts what it is given, and reads or writes past the end of damaged run lengths, so they are checked here
before it sees them.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco

from pocketsam.utils.rle import RLE, run_lengths


def to_rle(segmentation: object, height: int, width: int) -> RLE:
    """The run lengths of one mask of a photo of height × width. Raises ValueError saying why it has none.

    segmentation: COCO's polygons, whose union is the mask, or run lengths, compressed or not.
    """
    if isinstance(segmentation, list) and segmentation:
        polygons = [_corners(polygon, height, width) for polygon in segmentation]
        return _as_text(coco.merge(coco.frPyObjects(polygons, height, width)))
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise ValueError("has no RLE mask and no polygon")
    size, counts = segmentation.get("size"), segmentation["counts"]
    if not isinstance(size, list | tuple) or tuple(size) != (height, width):
        raise ValueError(f"has a mask of size {size}, the photo has {height, width}")
    if isinstance(counts, list):
        _check_runs(_numbers(counts), height * width)
        return _as_text(coco.frPyObjects({"size": [height, width], "counts": counts}, height, width))
    text = counts.encode(errors="replace") if isinstance(counts, str) else counts
    if not isinstance(text, bytes):
        raise ValueError("has a damaged mask: its run lengths are neither text nor numbers")
    try:
        runs = run_lengths(text)
    except ValueError as error:
        raise ValueError(f"has a damaged mask: {error}") from error
    _check_runs(runs, height * width)
    return {"size": [height, width], "counts": text.decode("ascii")}


def _check_runs(runs: NDArray[Any], pixels: int) -> None:
    whole = runs.dtype.kind in "iu" and runs.min(initial=0) >= 0 and runs.max(initial=0) <= pixels
    if not whole or runs.sum() != pixels:
        raise ValueError(f"has a damaged mask: its run lengths do not add up to the photo's {pixels} pixels")


def _corners(polygon: object, height: int, width: int) -> list[float]:
    """One polygon, x and y in turn, that pycocotools can take: its memory grows with the outline's length."""
    corners = _numbers(polygon)
    if corners.size < 6 or corners.size % 2:
        raise ValueError("has a polygon that is not 3 or more pairs of x and y")
    from_centre = np.abs(corners.reshape(-1, 2).astype(np.float64) - (width / 2, height / 2))
    if not (from_centre <= (1.5 * width, 1.5 * height)).all():  # nor is NaN
        raise ValueError("has a polygon that lies far outside its photo")
    return list(corners.tolist())


def _numbers(values: ArrayLike | object) -> NDArray[Any]:
    """A list of numbers, (N,). Raises ValueError where it is something else."""
    try:
        numbers = np.array(values)
    except (ValueError, OverflowError):  # lists of different lengths
        numbers = np.array(None)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
        raise ValueError("has a damaged mask: a list of numbers is expected")
    return numbers


def _as_text(rle: RLE) -> RLE:
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}

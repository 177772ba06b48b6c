"""COCO run lengths: masks as small as their outlines are simple. Column by column, as pycocotools does it."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

RLE: TypeAlias = dict[str, Any]
"""{"size": [H, W], "counts": str}."""


def encode(mask: NDArray[np.bool_]) -> RLE:
    """The run lengths of a mask (H, W)."""
    rle = coco.encode(np.asfortranarray(mask).view(np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def decode(rle: RLE) -> NDArray[np.bool_]:
    """The mask (H, W) of run lengths. Raises ValueError when they are damaged."""
    return np.ascontiguousarray(coco.decode(rle)).astype(np.bool_)


def areas(rles: Sequence[RLE]) -> NDArray[np.int64]:
    """Pixels of each of N masks, (N,)."""
    # One by one: in a single call pycocotools 2.0.11 takes no more than 255.
    return np.array([coco.area(rle) for rle in rles], np.int64)


def boxes(rles: Sequence[RLE]) -> NDArray[np.float32]:
    """Tightest boxes of N masks, (N, 4) XYXY, pixel edges: x1 is the last column plus one. Zeros for an empty one."""
    found = np.asarray(coco.toBbox(list(rles)), np.float32).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    return found

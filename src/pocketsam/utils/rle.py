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


def encode_at(mask: NDArray[np.bool_], x0: int, y0: int, height: int, width: int) -> RLE:
    """The run lengths of a small mask (h, w) with its upper left corner at (x0, y0) of height × width empty pixels.

    The same as `encode` gives of the large mask, which is never made: time and memory go with the small one.
    """
    rows, columns = mask.shape
    padded = np.zeros((columns, rows + 2), np.bool_)
    padded[:, 1:-1] = mask.T
    column, row = np.divmod(np.flatnonzero(padded[:, 1:] != padded[:, :-1]), rows + 1)
    # Starts and ends of runs take turns. One that goes on at the top of the next column ends where it starts.
    changes = (x0 + column) * height + y0 + row
    joined = np.flatnonzero(changes[1:] == changes[:-1])
    changes = np.delete(changes, np.concatenate([joined, joined + 1]))
    counts = np.diff(changes, prepend=0, append=height * width)
    if changes.size and not counts[-1]:  # the last run is never empty, only the first may be
        counts = counts[:-1]
    rle = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def decode(rle: RLE) -> NDArray[np.bool_]:
    """The mask (H, W) of run lengths. Raises ValueError when they are damaged."""
    return np.ascontiguousarray(coco.decode(rle)).astype(np.bool_)


def decode_box(rle: RLE) -> tuple[NDArray[np.bool_], int, int]:
    """What a mask's tightest box holds, (h, w), and the box's upper left corner: what `encode_at` takes.

    Time and memory go with the columns that the mask reaches over. (0, 0), 0, 0 for an empty mask.
    """
    x0, y0, x1, y1 = boxes([rle])[0].astype(int).tolist()
    height = rle["size"][0]
    counts = _counts(rle["counts"])
    counts = counts[: len(counts) // 2 * 2]  # without the empty pixels at the end
    counts[:1] -= x0 * height
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    columns = np.zeros((x1 - x0) * height, np.bool_)
    columns[: len(pixels)] = pixels
    return np.ascontiguousarray(columns.reshape(-1, height)[:, y0:y1].T), x0, y0


def _counts(compressed: str) -> NDArray[np.int64]:
    """The lengths of the runs of 0s and 1s in turn, as pycocotools compresses them.

    A number is a row of characters with 5 bits each, the lowest first; a sixth bit says that more follow. From the
    fourth on it is the difference to the number before the last.
    """
    codes = np.frombuffer(compressed.encode(), np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(codes < 32) + 1
    lengths = np.diff(ends, prepend=0)
    starts = ends - lengths
    bits = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((codes & 31) << bits, starts)
    negative = codes[ends - 1] & 16 > 0
    numbers[negative] -= 1 << 5 * lengths[negative]
    for start in (1, 2):
        numbers[start::2] = np.cumsum(numbers[start::2])
    return numbers


def areas(rles: Sequence[RLE]) -> NDArray[np.int64]:
    """Pixels of each of N masks, (N,)."""
    # One by one: in a single call pycocotools 2.0.11 takes no more than 255.
    return np.array([coco.area(rle) for rle in rles], np.int64)


def boxes(rles: Sequence[RLE]) -> NDArray[np.float32]:
    """Tightest boxes of N masks, (N, 4) XYXY, pixel edges: x1 is the last column plus one. Zeros for an empty one."""
    found = np.asarray(coco.toBbox(list(rles)), np.float32).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    return found

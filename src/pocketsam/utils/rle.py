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


def encode_empty(size: tuple[int, int]) -> RLE:
    """The run lengths of a mask of `size` (H, W) without pixels."""
    return encode(np.zeros(size, np.bool_))


def union(rles: Sequence[RLE]) -> RLE:
    """The pixels of any of one or more masks of the same size."""
    if len(rles) == 1:
        return rles[0]
    rle = coco.merge(list(rles))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def decode(rle: RLE) -> NDArray[np.bool_]:
    """The mask (H, W) of run lengths. Raises ValueError when they are damaged."""
    return np.ascontiguousarray(coco.decode(rle)).astype(np.bool_)


def decode_box(rle: RLE) -> tuple[NDArray[np.bool_], int, int]:
    """What a mask's tight box holds, (h, w), and the box's upper left corner: what `encode_at` takes.

    Time and memory go with the columns that the mask reaches over. (0, 0), 0, 0 for an empty mask.
    """
    x0, y0, x1, y1 = boxes([rle])[0].astype(int).tolist()
    height = rle["size"][0]
    counts = run_lengths(rle["counts"].encode())
    counts = counts[: len(counts) // 2 * 2]  # without the empty pixels at the end
    counts[:1] -= x0 * height
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    columns = np.zeros((x1 - x0) * height, np.bool_)
    columns[: len(pixels)] = pixels
    return np.ascontiguousarray(columns.reshape(-1, height)[:, y0:y1].T), x0, y0


def run_lengths(compressed: bytes) -> NDArray[np.int64]:
    """The lengths (N,) of the runs of 0s and 1s in turn that COCO's compressed text stands for.

    Five bits a character, the lowest first; bit 5 says that the number goes on, bit 4 of its last character that it
    is negative. From the fourth on, each number is the difference to the last but one.
    Raises ValueError when the text is damaged.
    """
    bits = np.frombuffer(compressed, np.uint8).astype(np.int64) - ord("0")
    if not len(bits) or bits.min() < 0 or bits.max() > 63 or bits[-1] & 32:
        raise ValueError("the run lengths are no compressed COCO RLE")
    ends = np.flatnonzero(bits & 32 == 0) + 1
    lengths = np.diff(ends, prepend=0)
    if lengths.max() > 7:  # 35 bits: more than any photo has pixels
        raise ValueError("a run is too long")
    starts = ends - lengths
    shifts = 5 * (np.arange(len(bits)) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((bits & 31) << shifts, starts)
    negative = bits[ends - 1] & 16 > 0
    numbers[negative] -= 1 << 5 * lengths[negative]
    for start in (1, 2):
        numbers[start::2] = np.cumsum(numbers[start::2])
    return np.asarray(numbers, np.int64)


def areas(rles: Sequence[RLE]) -> NDArray[np.int64]:
    """Pixels of each of N masks, (N,)."""
    # One by one: in a single call pycocotools 2.0.11 takes no more than 255.
    return np.array([coco.area(rle) for rle in rles], np.int64)


def boxes(rles: Sequence[RLE]) -> NDArray[np.float32]:
    """Tight boxes of N masks, (N, 4) float32 XYXY, as `utils.boxes` has them; zeros for an empty mask."""
    found = np.asarray(coco.toBbox(list(rles)), np.float32).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    return found

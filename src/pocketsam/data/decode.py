"""From what files hold to what samples hold: encoded photos to pixels, segmentations to run lengths.

The one place where a reader meets bytes that it did not write. pycocotools trusts what it is given and reads or
writes past the end of damaged run lengths, so they are checked here before it sees them.
"""

import warnings
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from pycocotools import mask as coco

from pocketsam.predict.image import MAX_PIXELS
from pocketsam.utils.rle import RLE, run_lengths


def decode_photo(encoded: bytes) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 (H, W, 3) RGB. Raises ValueError saying why there are none.

    They stay as they are stored, whatever EXIF says of turning them: the masks were drawn on them so.
    """
    if pixels := _pixels(encoded):
        if pixels > MAX_PIXELS:
            raise ValueError(f"has more than {MAX_PIXELS // 10**6} million pixels")
        image = _decode(encoded)
        if image is not None:
            return image
    raise ValueError("cannot be decoded; it is damaged or no image")


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


def _pixels(encoded: bytes) -> int:
    """How many pixels an image file says it has; 0 where it is no image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
            with Image.open(BytesIO(encoded)) as image:
                return image.width * image.height
    except Image.DecompressionBombError:
        return MAX_PIXELS + 1
    except Exception:  # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error, …
        return 0


def _decode(encoded: bytes) -> NDArray[np.uint8] | None:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)

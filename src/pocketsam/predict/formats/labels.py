"""Label maps: a 16-bit PNG in which a pixel's value is the number of its mask."""

from collections.abc import Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from pocketsam.errors import InputError
from pocketsam.predict.formats.labelled import Classes, LabelledObject, LabelledPhoto, LabelSet, labelled
from pocketsam.predict.formats.photos import Photos
from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.formats.result import Result
from pocketsam.predict.image import MAX_PIXELS
from pocketsam.utils.rle import RLE, areas, decode_box

MOST_LABELS = np.iinfo(np.uint16).max


def encode(result: Result, suffix: str) -> list[bytes]:
    """0 is background; mask i is i + 1 or, where the masks have ids that fit, its id. Small masks lie above large."""
    if len(result) > MOST_LABELS:
        raise InputError(f"a label map holds {MOST_LABELS} masks, but there are {len(result)}; choose .json")
    return [encode_image(label_map(labelled(result), MOST_LABELS).astype(np.uint16), ".png")]


def label_map(photo: LabelledPhoto, most: int) -> NDArray[np.int64]:
    """The number of the mask at each pixel (H, W), 0 for background: its id or its place from 1 if one is > most."""
    values = [one.id or 0 for one in photo.objects]
    if max(values, default=0) > most:
        values = list(range(1, len(values) + 1))
    labels = np.zeros(photo.size, np.int64)
    for i in np.argsort(-areas(photo.rle), kind="stable"):
        mask, x0, y0 = decode_box(photo.objects[i].rle)
        labels[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]][mask] = values[i]
    return labels


def decode(content: bytes, name: str, photos: Photos) -> LabelSet:
    """The photo of a label map; the values are the ids."""
    values = read_map(content)
    height, width = values.shape
    objects = tuple(LabelledObject(rle, id=value) for value, rle in masks_of(values))
    photo = LabelledPhoto(photos.name(name), (height, width), objects)
    return LabelSet([photo], Classes(), 1)


def read_map(content: bytes) -> NDArray[np.int64]:
    """The values of a map, (H, W): those of its one channel, or red × 65536 + green × 256 + blue.

    Raises ValueError, which says why, when there are none.
    """
    try:
        with Image.open(BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"has more than {MAX_PIXELS // 10**6} million pixels")
            values = np.asarray(image)  # of a palette: the indices, where OpenCV would give the colours
    except ValueError:
        raise
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, struct.error, …
        raise ValueError(f"the label map cannot be read ({error})") from error
    if values.ndim == 2 and values.dtype.kind in "bui":
        return values.astype(np.int64)
    if values.ndim == 3 and values.shape[2] in (3, 4):
        return np.asarray(values[..., :3].astype(np.int64) @ [65536, 256, 1])
    raise ValueError("a label map has one channel of whole numbers, or colours; save it as a PNG of these")


def masks_of(values: NDArray[np.int64]) -> Iterator[tuple[int, RLE]]:
    """Every value but 0, in order, with its mask.

    All run lengths come from one pass over the map: comparing the map with value after value takes minutes where
    there are thousands.
    """
    flat = values.ravel(order="F")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    edges = np.stack([starts, np.append(starts[1:], flat.size)], axis=1)
    order = np.argsort(flat[starts], kind="stable")
    found, first = np.unique(flat[starts][order], return_index=True)
    for value, own in zip(found, np.split(edges[order], first[1:]), strict=True):
        if value:
            counts = np.diff(own.ravel(), prepend=0, append=flat.size)
            counts = counts[: len(counts) - (counts[-1] == 0)]  # only the first run may be empty
            rle = coco.frPyObjects({"size": list(values.shape), "counts": counts.tolist()}, *values.shape)
            yield int(value), {"size": list(values.shape), "counts": rle["counts"].decode()}

"""Label maps: a 16-bit PNG in which a pixel's value is the number of its mask."""

import numpy as np

from pocketsam.errors import InputError
from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.formats.result import Result
from pocketsam.utils.rle import areas, decode_box

MOST_LABELS = np.iinfo(np.uint16).max


def encode(result: Result, suffix: str) -> list[bytes]:
    """0 is background, i + 1 is mask i; small masks lie above large ones."""
    if len(result) > MOST_LABELS:
        raise InputError(f"a label map holds {MOST_LABELS} masks, but there are {len(result)}; choose .json")
    labels = np.zeros(result.size, np.uint16)
    for i in np.argsort(-areas(result.rle), kind="stable"):
        mask, x0, y0 = decode_box(result.rle[i])
        labels[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]][mask] = i + 1
    return [encode_image(labels, ".png")]

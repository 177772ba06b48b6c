"""The picture codecs that tiles are sent in: Pillow's JPEG, WebP and AVIF, at a quality from 1 to 100."""

import warnings
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from pocketsam.errors import InputError


@dataclass(frozen=True)
class Codec:
    """A codec. number: by which containers name it. format: its name in Pillow. options: of its encoder."""

    number: int
    format: str
    options: dict[str, Any] = field(default_factory=dict)


CODECS = {
    "jpeg": Codec(1, "JPEG", {"optimize": True}),
    "webp": Codec(2, "WEBP", {"method": 6}),
    "avif": Codec(3, "AVIF", {"speed": 6}),
}
"""By name. JPEG has tables of some 600 bytes in every tile, AVIF some 300 bytes, WebP 30."""


def find_codec(name: str) -> Codec:
    """The codec of this name. Raises InputError for another name, and where Pillow was built without it."""
    if name not in CODECS:
        raise InputError(f"there is no codec {name!r}; use {', '.join(CODECS)}")
    if not features.check(_FEATURES[name]):
        raise InputError(f"this computer's Pillow was built without {name}; use webp or jpeg")
    return CODECS[name]


_FEATURES = {"jpeg": "jpg", "webp": "webp", "avif": "avif"}


def encode(pixels: NDArray[np.uint8], codec: Codec, quality: int) -> bytes:
    """The picture file of uint8 (H, W, 3) RGB."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, codec.format, quality=quality, **codec.options)
    return file.getvalue()


def decode(content: bytes, codec: Codec, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The pixels uint8 (H, W, 3) of a picture file, which must have this size (H, W).

    Raises ValueError where it is damaged, of another codec or of another size; nothing larger is decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(BytesIO(content), formats=[codec.format])
            if picture.size != size[::-1]:
                raise ValueError(f"has {picture.size}, not {size[::-1]} pixels")
            return np.array(picture.convert("RGB"))
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, …
        raise ValueError(str(error)) from error

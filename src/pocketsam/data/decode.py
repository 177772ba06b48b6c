"""From what files hold to what samples hold: encoded photos to pixels."""

import warnings
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketsam.predict.image import MAX_PIXELS


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

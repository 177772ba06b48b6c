"""Cut-outs: the photo with all that is outside the mask transparent, a PNG for each mask."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.formats.result import Result, photo_of
from pocketsam.utils.rle import decode


def encode(result: Result, suffix: str) -> Iterator[bytes]:
    """One PNG after the other, as those of hundreds of masks may not fit into memory."""
    return (encode_image(pixels, suffix) for pixels in cutouts(result))


def cutouts(result: Result) -> Iterator[NDArray[np.uint8]]:
    """The photo uint8 (H, W, 4) RGBA, outside each mask transparent. Raises InputError without a photo."""
    photo = photo_of(result.image, result.file_name)
    return (transparent(photo, decode(rle) * np.uint8(255)) for rle in result.rle)


def transparent(photo: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photo (H, W, 3) with an alpha channel (H, W): uint8 (H, W, 4) RGBA.

    Where nothing is visible, the colours are 0: the file is smaller, and nobody finds what was cut away.
    """
    pixels = np.dstack([photo, alpha])
    pixels[alpha == 0] = 0
    return pixels

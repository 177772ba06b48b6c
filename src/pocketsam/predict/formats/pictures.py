"""Pixels to the bytes of an image file."""

from io import BytesIO
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from pocketsam.errors import InputError

# A photo shrinks little further above PNG level 2, for three times the time. JPEG keeps full resolution of
# colours, as thin outlines would smear.
_ENCODERS: dict[str, tuple[str, dict[str, int]]] = {
    ".png": ("PNG", {"compress_level": 2}),
    ".jpg": ("JPEG", {"quality": 92, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 92, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 90}),
}


def encode_image(pixels: NDArray[Any], suffix: str) -> bytes:
    """The image file of .png, .jpg, .jpeg or .webp, or of a longer suffix that ends so.

    Raises InputError when the photo is too large for it.
    """
    format, options = _ENCODERS["." + suffix.rpartition(".")[2]]
    file = BytesIO()
    try:
        Image.fromarray(pixels).save(file, format, **options)
    except (OSError, ValueError) as error:  # JPEG and WebP have a largest side
        raise InputError(f"a {format} cannot hold this photo ({error}); choose .png") from error
    return file.getvalue()

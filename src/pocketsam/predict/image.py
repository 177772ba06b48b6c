"""Any image to what a model takes: first an upright RGB photo, then the model's input tensor.

What files do to pixels is undone here and nowhere else: EXIF rotation, palettes, transparency, CMYK, 16 bits.
What cannot be used raises an InputError that opens with the file's name.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from pocketsam.config import ModelConfig
from pocketsam.errors import InputError
from pocketsam.predict.geometry import Geometry


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, such as `open(path, "rb")` or `BytesIO`."""

    def read(self) -> bytes: ...


Source: TypeAlias = str | Path | bytes | BinaryFile | Image.Image | NDArray[Any]

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/{1,2}\S", re.IGNORECASE)  # of //, a Path keeps one

# Just below Pillow's own limit (2 × Image.MAX_IMAGE_PIXELS), and in force where a program has lifted that.
MAX_PIXELS = 178_000_000

# The photos in a folder; a file that is named is opened whatever its suffix.
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_WITH_ALPHA_OR_PALETTE = ("LA", "La", "P", "PA", "RGBA", "RGBa")


def load_image(source: Source) -> NDArray[np.uint8]:
    """The photo as uint8 (H, W, 3) RGB, upright.

    source: a path, the bytes of a file, an open file, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or
    (H, W, 4) of uint8, uint16 (full range), bool, or floats from 0 to 1. Transparent parts become white.
    Raises InputError for whatever is missing, empty, damaged, too large or not an image.
    """
    name = source_name(source)
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    with _decoding(name):
        pixels = _from_pil(_open(source, name))
    return _from_array(pixels, name)


def load_mask(path: str | Path) -> NDArray[np.bool_]:
    """An image file as a mask (H, W) bool: its visible pixels, if some are transparent, or else those not black.

    Raises InputError as `load_image` does.
    """
    name = str(path)
    with _decoding(name):
        image = _upright(_open(path, name))
        values = np.asarray(image.convert("RGB") if image.mode in _WITH_ALPHA_OR_PALETTE else image)
        if image.has_transparency_data:
            alpha = np.asarray(image.convert("RGBA").getchannel("A"))
            values = values if alpha.all() else alpha
    return np.asarray(values > 0 if values.ndim == 2 else (values > 0).any(axis=-1))


def preprocess(image: NDArray[np.uint8], config: ModelConfig) -> NDArray[np.float32]:
    """A photo uint8 (H, W, 3) to the encoder's input float32 (1, 3, S, S): resized, normalised, then padded.

    The resize is Pillow's antialiased bilinear one on uint8, the padding is zeros, as in the published SAM; or
    a bilinear one on floats that ignores the pixels between its samples, as in the published EfficientSAM.
    """
    size = config.image_size
    height, width = Geometry.of(config, *image.shape[:2]).resized
    if config.resampling == "plain":
        resized = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    mean, std = np.asarray(config.mean, np.float32), np.asarray(config.std, np.float32)
    tensor = np.zeros((1, 3, size, size), np.float32)
    # One plane at a time: twice as fast as all together.
    for channel, plane in enumerate(tensor[0, :, :height, :width]):
        np.subtract(resized[..., channel], mean[channel], out=plane)
        np.divide(plane, std[channel], out=plane)
    return tensor


def source_name(source: Source) -> str:
    """What to call the photo in messages: its path, or what it is when it has none."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "")) or "the image"
    if isinstance(source, np.ndarray):
        return "the array"
    if isinstance(source, BufferedReader) and isinstance(source.name, str):
        return source.name
    return "the photo"


def _open(source: Source, name: str) -> Image.Image:
    """The image with its header read and its size checked; nothing is decoded yet."""
    if isinstance(source, str | Path):
        source = _read(Path(source), name)
    elif isinstance(source, BinaryFile):
        source = source.read()
    if isinstance(source, bytes | bytearray | memoryview):
        if not source:
            raise InputError(f"{name}: is empty, 0 bytes; give an image")
        source = Image.open(BytesIO(source))
    if not isinstance(source, Image.Image):
        raise InputError(
            f"{name}: a {type(source).__name__} is not a photo;"
            " give a path, bytes, a file opened in binary mode, a PIL image or an array"
        )
    width, height = source.size
    if width * height == 0:
        raise InputError(f"{name}: has no pixels ({width} × {height})")
    if width * height > MAX_PIXELS:
        raise InputError(_too_large(name))
    return source


def _read(path: Path, name: str) -> bytes:
    if _URL.match(name):
        address = re.sub(":/+", "://", name, count=1)
        raise InputError(
            f"{address}: is an address, which is not fetched; download the photo and give its path"
        )
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder; give a photo in it") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turns all that Pillow raises on a bad file into one line with the file's name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
            yield
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise InputError(_too_large(name)) from None
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: is not an image that can be read; give a JPEG, PNG, WebP, TIFF, BMP or GIF"
        ) from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, …
        raise InputError(
            f"{name}: cannot be decoded ({error}); the file may be damaged or incomplete"
        ) from error


def _too_large(name: str) -> str:
    return f"{name}: has more than {MAX_PIXELS // 10**6} million pixels; make it smaller first"


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # first, as Pillow turns a TIFF by itself
    try:
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a photo with unreadable EXIF is still a photo
        turn = None
    return image if turn is None else image.transpose(turn)


def _from_pil(image: Image.Image) -> NDArray[Any]:
    image = _upright(image)
    if image.mode == "F":
        return np.asarray(image)
    if image.mode == "I" and image.format == "TIFF":
        return np.asarray(image)  # 32 bits, whose range nobody knows
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip to 8 instead of scaling them
        return np.asarray(image).clip(0, 65535).astype(np.uint16)
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _from_array(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InputError(
            f"{name}: has shape {array.shape}; a photo is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        )
    if array.size == 0:
        raise InputError(f"{name}: has no pixels, its shape is {array.shape}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise InputError(_too_large(name))
    pixels = _to_uint8(array, name).reshape(*array.shape[:2], -1)
    if pixels.shape[2] == 4:
        return _on_white(pixels)
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(np.ascontiguousarray(rgba))
    white = Image.new("RGBA", image.size, "white")
    return np.array(Image.alpha_composite(white, image).convert("RGB"))


def _to_uint8(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return (array >> 8).astype(np.uint8)
    if array.dtype.kind != "f":
        raise InputError(f"{name}: holds {array.dtype}; give uint8, uint16, bool, or floats from 0 to 1")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: holds NaN or infinite values; replace them first")
    if array.min() < 0 or array.max() > 1:
        raise InputError(
            f"{name}: floats must lie from 0 to 1, these reach from {array.min():g} to {array.max():g}"
        )
    return (array * 255 + 0.5).astype(np.uint8)

"""ImageNet-C's digital corruptions: low contrast, a bent image, large pixels, JPEG."""

from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketsam.robustness.corruptions.filters import Pixels, gaussian


def contrast(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """Such a share of each channel's deviation from its mean stays."""
    share = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    means = pixels.mean(axis=(0, 1), keepdims=True)
    return np.asarray((pixels - means) * share + means, np.float64)


def elastic_transform(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """Each pixel is taken from a pixel near it; the displacements are smoothed uniform noise."""
    strength = 250 * (0.05, 0.065, 0.085, 0.1, 0.12)[severity - 1]
    height, width = pixels.shape[:2]
    most, sigma = 0.005 * height, (0.01 * height, 0.01 * width)
    dx, dy = (_smooth(random.uniform(-most, most, (height, width)), sigma) * strength for _ in range(2))
    y, x = np.mgrid[0:height, 0:width]
    return _sample(pixels, y + dy, x + dx)


def _smooth(noise: Pixels, sigma: tuple[float, float]) -> Pixels:
    """A Gaussian blur that ends at 3 sigma and mirrors the edge."""
    margin = [int(3 * one + 0.5) for one in sigma]
    framed = cv2.copyMakeBorder(noise, margin[0], margin[0], margin[1], margin[1], cv2.BORDER_REFLECT)
    inner = tuple(slice(side, -side or None) for side in margin)
    return gaussian(np.asarray(framed, np.float64), sigma, truncate=3)[inner]


def _sample(pixels: Pixels, y: Pixels, x: Pixels) -> Pixels:
    """The photo at positions (H, W), linearly interpolated; beyond the edge it is mirrored."""
    top, left = np.floor(y), np.floor(x)
    down, across = (y - top)[..., None], (x - left)[..., None]
    rows = [_mirrored(top.astype(int) + i, pixels.shape[0]) for i in range(2)]
    columns = [_mirrored(left.astype(int) + i, pixels.shape[1]) for i in range(2)]
    upper, lower = ((1 - across) * pixels[row, columns[0]] + across * pixels[row, columns[1]] for row in rows)
    return np.asarray((1 - down) * upper + down * lower, np.float64)


def _mirrored(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices of a line of `size` pixels that is mirrored at both ends, the last pixel twice."""
    folded = np.mod(positions, 2 * size)
    return np.asarray(np.minimum(folded, 2 * size - 1 - folded), np.int64)


def pixelate(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """Shrunk to such a share of its sides by the mean of each box, and enlarged again pixel by pixel."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    height, width = pixels.shape[:2]
    size = max(1, int(width * share)), max(1, int(height * share))
    small = _as_image(pixels).resize(size, Image.Resampling.BOX)
    return _as_pixels(small.resize((width, height), Image.Resampling.NEAREST))


def jpeg(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """Saved as JPEG in this quality, and opened again."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    file = BytesIO()
    _as_image(pixels).save(file, "JPEG", quality=quality)
    return _as_pixels(Image.open(file))


def _as_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.asarray(np.rint(pixels * 255), np.uint8))


def _as_pixels(image: Image.Image) -> Pixels:
    # Grey levels are dropped to whole ones later: the small amount keeps a level from falling to the next lower.
    return np.asarray(image, np.float64) / 255 + 1e-9

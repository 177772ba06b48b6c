"""Filters that several corruptions share: blurs, and enlarging about the middle."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]


def gaussian(pixels: Pixels, sigma: float | tuple[float, float], truncate: float = 4.0) -> Pixels:
    """A Gaussian blur of (H, W) or (H, W, 3) that repeats the photo's edge; sigma: in pixels, or of rows and columns.

    truncate: where the kernel ends, in sigmas.
    """
    rows, columns = (sigma, sigma) if isinstance(sigma, float | int) else sigma
    sides = [2 * int(truncate * one + 0.5) + 1 for one in (columns, rows)]
    blurred = cv2.GaussianBlur(
        pixels, (sides[0], sides[1]), sigmaX=columns, sigmaY=rows, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(blurred, np.float64)


def motion(pixels: Pixels, radius: int, sigma: float, degrees: float) -> Pixels:
    """A blur along a line: shifted copies, weighted by half a Gaussian of `sigma` pixels, 2 `radius` + 1 of them."""
    width = 2 * radius + 1
    weights = np.exp(-np.square(np.arange(width)) / (2 * sigma**2))
    weights /= weights.sum()
    down, across = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    blurred = np.zeros_like(pixels)
    for i, weight in enumerate(weights):
        dy, dx = -math.ceil(i * down - 0.5), -math.ceil(i * across - 0.5)
        if abs(dy) >= pixels.shape[0] or abs(dx) >= pixels.shape[1]:
            break
        blurred += weight * shift(pixels, dy, dx)
    return blurred


def shift(pixels: Pixels, dy: int, dx: int) -> Pixels:
    """The photo moved down by dy and to the right by dx; the pixels at its edge fill what becomes free."""
    height, width = pixels.shape[:2]
    rows = np.clip(np.arange(height) - dy, 0, height - 1)
    columns = np.clip(np.arange(width) - dx, 0, width - 1)
    return pixels[rows[:, None], columns]


def zoom(pixels: Pixels, factor: float) -> Pixels:
    """The middle of a photo enlarged linearly by `factor`: at least as large as the photo, not cut to its size."""
    height, width = pixels.shape[:2]
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    part = pixels[top : top + rows, left : left + columns]
    return _stretch(_stretch(part, round(rows * factor), 0), round(columns * factor), 1)


def _stretch(pixels: Pixels, size: int, axis: int) -> Pixels:
    """Linear interpolation along an axis to `size` pixels; the first and the last stay where they are."""
    positions = np.linspace(0, pixels.shape[axis] - 1, size)
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, pixels.shape[axis] - 1)
    share = (positions - low).reshape([-1 if i == axis else 1 for i in range(pixels.ndim)])
    return np.asarray((1 - share) * pixels.take(low, axis) + share * pixels.take(high, axis), np.float64)

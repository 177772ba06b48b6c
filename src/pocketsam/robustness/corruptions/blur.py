"""ImageNet-C's blur: out of focus, behind frosted glass, of a moving and of a zooming camera."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.robustness.corruptions.filters import Pixels, gaussian, motion, zoom


def defocus_blur(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """The image of each point is a disc of this radius in pixels, with a softened edge."""
    radius, softness = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]
    return np.asarray(cv2.filter2D(pixels, -1, _disc(radius, softness)), np.float64)


def _disc(radius: int, softness: float) -> NDArray[np.float32]:
    reach, side = (8, 3) if radius <= 8 else (radius, 5)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (x**2 + y**2 <= radius**2).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(disc / disc.sum(), (side, side), sigmaX=softness), np.float32)


def glass_blur(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """Each pixel takes the value of one near it, between two Gaussian blurs."""
    sigma, reach, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[severity - 1]
    levels = np.floor(np.clip(gaussian(pixels, sigma), 0, 1) * 255)
    for _ in range(rounds):
        levels = shuffled(levels, reach, random.integers(-reach, reach, (*pixels.shape[:2], 2)))
    return gaussian(levels / 255, sigma)


def shuffled(levels: Pixels, reach: int, offsets: NDArray[np.int64]) -> Pixels:
    """Photo (H, W, 3) whose pixels copy one near them, from the last to the first, as the definition's loop does.

    offsets: (H, W, 2) dx, dy from -reach to reach - 1. A pixel that copies one which has copied before gets what
    that has got: a chain, which ends at a pixel that was still untouched. All chains are followed at once, twice as
    far in each step.
    """
    height, width = levels.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    inside = np.zeros((height, width), np.bool_)
    inside[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1] = True
    rows, columns = np.nonzero(inside)
    copied = index.copy()
    dx, dy = offsets[rows, columns].T
    copied[rows, columns] = index[np.minimum(rows + dy, height - 1), np.minimum(columns + dx, width - 1)]
    source, visited = copied.ravel(), inside.ravel()
    # A later pixel has been visited earlier.
    goes_on = (source > index.ravel()) & visited[source]
    following = np.where(goes_on, source, index.ravel())
    while not np.array_equal(further := following[following], following):
        following = further
    return levels.reshape(height * width, -1)[source[following]].reshape(levels.shape)


def motion_blur(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """A camera that moves in a random direction within 45 degrees of the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    return motion(pixels, radius, sigma, random.uniform(-45, 45))


def zoom_blur(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """A camera that moves towards the scene: the mean of the photo enlarged more and more."""
    last, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[severity - 1]
    factors = np.arange(1, last, step)
    height, width = pixels.shape[:2]
    total = pixels.copy()
    for factor in factors.tolist():
        part = zoom(pixels, factor)[:height, :width]
        total[: part.shape[0], : part.shape[1]] += part
    return total / (len(factors) + 1)

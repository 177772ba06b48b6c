"""ImageNet-C's weather: snow, frost, fog and bright light."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.robustness.corruptions.filters import Pixels, gaussian, motion, zoom


def snow(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """Flakes that fall in a random direction, on a photo that is whitened."""
    mean, scale, size, least, radius, sigma, kept = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    height, width = pixels.shape[:2]
    flakes = zoom(random.normal(mean, scale, (height, width)), size)
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1)
    flakes = motion(flakes, radius, sigma, random.uniform(-135, -45))
    flakes = np.round(flakes[:height, :width] * 255)[..., None] / 255
    grey = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2GRAY)[..., None]
    whitened = kept * pixels + (1 - kept) * np.maximum(pixels, grey * 1.5 + 0.5)
    return np.asarray(whitened + flakes + np.rot90(flakes, 2), np.float64)


def frost(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """Ice on the lens: the photo and a layer of crystals, added with the definition's weights."""
    of_photo, of_ice = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    return of_photo * pixels + of_ice * ice(pixels.shape[0], pixels.shape[1], random)


def ice(height: int, width: int, random: np.random.Generator) -> Pixels:
    """A layer (H, W, 3) from 0 to 1: needles that branch from some germs, on a mottled ground, bluish white."""
    layer = np.zeros((height, width), np.float32)
    side = max(height, width)
    for _ in range(60):
        x, y, angle = random.uniform(0, width), random.uniform(0, height), random.uniform(0, 2 * math.pi)
        _needle(layer, (x, y), angle, random.uniform(0.1, 0.35) * side, random, depth=3)
    ground = plasma(side, 1.8, random)[:height, :width]
    grey = np.clip(0.55 * ground + 0.9 * gaussian(layer.astype(np.float64), 0.8), 0, 1)
    return np.asarray(grey[..., None] * np.array([0.86, 0.94, 1.0]), np.float64)


def _needle(
    layer: NDArray[np.float32],
    start: tuple[float, float],
    angle: float,
    length: float,
    random: np.random.Generator,
    depth: int,
) -> None:
    """Draws a needle, and smaller ones on both its sides at 60 degrees, as ice grows."""
    end = start[0] + length * math.cos(angle), start[1] + length * math.sin(angle)
    first, last = ((round(16 * x), round(16 * y)) for x, y in (start, end))
    brightness = float(random.uniform(0.4, 1.0))
    cv2.line(layer, first, last, brightness, max(1, depth - 1), cv2.LINE_8, 4)
    if depth == 0 or length < 6:
        return
    for share in np.arange(0.2, 0.95, 0.15).tolist():
        middle = start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
        for side in (-1, 1):
            _needle(layer, middle, angle + side * math.pi / 3, (1 - share) * 0.45 * length, random, depth - 1)


def fog(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """A plasma fractal that is added to the photo, which keeps its brightest value."""
    strength, decay = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    height, width = pixels.shape[:2]
    brightest = float(pixels.max())
    layer = plasma(max(height, width), decay, random)[:height, :width, None]
    return np.asarray((pixels + strength * layer) * brightest / (brightest + strength), np.float64)


def plasma(side: int, decay: float, random: np.random.Generator) -> Pixels:
    """Clouds from 0 to 1, square, of at least `side` pixels, by the diamond-square algorithm, which wraps around.

    In each round the middles of squares, then those of diamonds, get the mean of their corners and a random amount,
    which is less by `decay` from round to round.
    """
    size = 1 << max(1, (side - 1).bit_length())
    heights = np.zeros((size, size))
    step, amount = size, 100.0

    def mean(total: Pixels) -> Pixels:
        return np.asarray(total / 4 + amount * random.uniform(-amount, amount, total.shape), np.float64)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        rows = corners + np.roll(corners, -1, 0)
        middles = mean(rows + np.roll(rows, -1, 1))
        heights[half::step, half::step] = middles
        heights[::step, half::step] = mean(
            middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1)
        )
        heights[half::step, ::step] = mean(
            middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0)
        )
        step, amount = half, amount / decay
    heights -= heights.min()
    return np.asarray(heights / heights.max(), np.float64)


def brightness(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """The value of HSV raised by so much: hue and saturation stay, so that all three channels grow in proportion."""
    added = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    value = pixels.max(axis=-1, keepdims=True)
    raised = np.minimum(value + added, 1)
    return np.asarray(np.where(value > 0, pixels * raised / np.maximum(value, 1e-9), raised), np.float64)

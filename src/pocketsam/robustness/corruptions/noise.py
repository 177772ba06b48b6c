"""ImageNet-C's noise: of the sensor, of few photons, and of broken pixels."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]


def gaussian_noise(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """Normal noise, as in low light. The scale is in units of the range from black to white."""
    scale = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return pixels + random.normal(scale=scale, size=pixels.shape)


def shot_noise(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """Poisson noise, as light comes in photons: so many are white."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return np.asarray(random.poisson(pixels * photons) / photons, np.float64)


def impulse_noise(pixels: Pixels, severity: int, random: np.random.Generator) -> Pixels:
    """Salt and pepper: such a share of all values becomes 0 or 1."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    hit, salt = random.random(pixels.shape) < share, random.random(pixels.shape) < 0.5
    return np.where(hit, salt.astype(np.float64), pixels)

"""Adverse weather on clear photos: fog, rain, snow, sand, night and a wet lens at graded strength.

After Shan and Zhang (arXiv 2306.13290), who look at SAM's masks in such weather. The weather is made by simple
physics on an assumed depth, as the photos have none: the ground is a plane under a camera that looks at the horizon,
which is taken to be a third below the photo's top; all above the horizon is far away.

- Fog and sand: Koschmieder's law, I = J t + A (1 − t) with t = exp(−β d) (Narasimhan and Nayar 2002, equation 4). The
  air light A is grey, or the brown of sand; β grows with the level.
- Rain and snow: drops and flakes in several layers of depth, nearer ones larger and blurred by their motion, in thin
  fog; the ground gets darker when wet, and lighter under snow.
- Night: less light, in the blue of the sky, and the noise of a sensor whose signal is amplified.
- Wet lens: drops that show the scene upside down and blurred, as small wide-angle lenses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.data.sample import Sample
from pocketsam.robustness.corruptions.filters import gaussian, motion
from pocketsam.robustness.study import Change, ChangeStudy

HORIZON, FARTHEST = 1 / 3, 6.0
"""Of the assumed scene: the horizon's height from the top, and how far the sky is, in distances to the lowest row."""
GREY, BROWN = (0.82, 0.83, 0.85), (0.76, 0.60, 0.38)
Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class Weather(ChangeStudy):
    """See `ChangeStudy`."""

    name: ClassVar[str] = "weather"
    summary: ClassVar[str] = "fog, rain, snow, sand, night and a wet lens on clear photos (Shan and Zhang)"
    description: ClassVar[str] = (
        "Adds weather of graded strength to each photo, on an assumed depth, and compares the masks with those of the"
        " clear photo and with the ground truth."
    )
    follows: ClassVar[str] = "Shan and Zhang (arXiv 2306.13290), with weather that is made"
    kinds: ClassVar[dict[str, tuple[str, ...]]] = {
        "weather": ("fog", "rain", "snow", "sand", "night", "wet lens")
    }
    level_name: ClassVar[str] = "strength"

    def apply(self, sample: Sample, change: Change, random: np.random.Generator) -> NDArray[np.uint8]:
        """See `ChangeStudy.apply`."""
        found = WEATHER[change.kind](sample.image / 255.0, change.level / 5, random)
        return np.asarray(np.clip(np.rint(found * 255), 0, 255), np.uint8)


def depth(height: int, width: int) -> Pixels:
    """The distance of each pixel (H, W), in distances to the lowest row: a ground plane, and far away above it."""
    below = (np.arange(height) + 0.5) / height - HORIZON
    ground = np.minimum((1 - HORIZON) / np.maximum(below, 1e-6), FARTHEST)
    return np.broadcast_to(ground[:, None], (height, width)).copy()


def fog(photo: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Koschmieder's law in grey air. strength: from 0 to 1, at which β is 0.4 for a distance to the lowest row."""
    return _haze(photo, 0.4 * strength, GREY)


def sand(photo: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """The same in brown air, which is denser, with grains."""
    grains = random.normal(0, 0.05 * strength, photo.shape[:2])[..., None]
    return _haze(photo, 0.5 * strength, BROWN) + grains


def _haze(photo: Pixels, beta: float, air: tuple[float, float, float]) -> Pixels:
    through = np.exp(-beta * depth(*photo.shape[:2]))[..., None]
    return np.asarray(photo * through + np.array(air) * (1 - through), np.float64)


def rain(photo: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Streaks in three layers, wet and darker ground, thin fog."""
    wet = _haze(photo * (1 - 0.25 * strength), 0.12 * strength, GREY)
    angle = random.uniform(75, 105)
    streaks = sum(
        _layer(photo.shape[:2], 0.006 * strength, size, length, angle, random)
        for size, length in ((1, 8), (2, 14), (3, 24))
    )
    return np.asarray(wet + 0.55 * np.minimum(streaks, 1)[..., None], np.float64)


def snow(photo: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Flakes in three layers, whiter ground, thin fog."""
    ground = (depth(*photo.shape[:2]) < FARTHEST)[..., None]
    covered = photo + 0.35 * strength * ground * (1 - photo)
    angle = random.uniform(60, 120)
    flakes = sum(
        _layer(photo.shape[:2], 0.01 * strength / size, size, 2, angle, random) for size in (2, 4, 7)
    )
    return np.asarray(
        _haze(covered, 0.15 * strength, GREY) + 0.9 * np.minimum(flakes, 1)[..., None], np.float64
    )


def _layer(
    shape: tuple[int, ...], share: float, size: int, length: int, degrees: float, random: np.random.Generator
) -> Pixels:
    """Discs of `size` pixels on such a share of all pixels' places, blurred over `length` pixels of motion."""
    drops = (random.random((shape[0], shape[1])) < share / size).astype(np.float64)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return 2.5 * motion(np.asarray(cv2.dilate(drops, disc), np.float64), max(1, length // 2), length, degrees)


def night(photo: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Less light, bluish; photons and a sensor's noise, amplified. strength 1 leaves a tenth of the light."""
    light = (1 - 0.9 * strength) * np.array([0.85, 0.9, 1.0])
    dark = (photo**1.2) * light
    photons = 4000 * (1 - 0.95 * strength)
    noisy = random.poisson(dark * photons) / photons + random.normal(0, 0.012 * strength, photo.shape)
    return np.asarray(noisy, np.float64)


def wet_lens(photo: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Drops on the lens, 8 to 40 of them, each of which shows the scene upside down and blurred."""
    height, width = photo.shape[:2]
    blurred = gaussian(photo, 2.0)
    found = photo.copy()
    y, x = np.mgrid[0:height, 0:width]
    for _ in range(round(40 * strength)):
        radius = random.uniform(0.03, 0.08) * min(height, width)
        cx, cy = random.uniform(0, width), random.uniform(0, height)
        distance = np.hypot(x - cx, y - cy) / radius
        inside = distance < 1
        if not inside.any():
            continue
        rows = np.clip(height - 1 - (y[inside] + 3 * (y[inside] - cy)), 0, height - 1).astype(int)
        columns = np.clip(x[inside] - 3 * (x[inside] - cx), 0, width - 1).astype(int)
        edge = 1 - 0.35 * distance[inside, None] ** 6  # a dark rim, as the drop is steep there
        found[inside] = blurred[rows, columns] * edge
    return found


WEATHER: Mapping[str, Callable[[Pixels, float, np.random.Generator], Pixels]] = {
    "fog": fog,
    "rain": rain,
    "snow": snow,
    "sand": sand,
    "night": night,
    "wet lens": wet_lens,
}
"""What each kind of weather makes of a photo (H, W, 3) from 0 to 1, at a strength from 0 to 1."""

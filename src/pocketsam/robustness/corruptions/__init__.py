"""ImageNet-C's 15 corruptions of photos at 5 severities (Hendrycks and Dietterich 2019, arXiv 1903.12261).

The paper names the corruptions and shows them; what defines them is the authors' published code. The definitions
followed here are those of the package imagecorruptions 1.1.2, which carries them over to photos of any size and is
what later papers measure with. Each function takes a photo (H, W, 3) as float64 from 0 to 1, a severity from 1 to 5
and a random generator, and returns floats; values beyond 0 to 1 are clipped, and parts of a grey level dropped, as
the definitions do.

Frost is the exception: the definition pastes one of five photographs of frost, which are not part of this package. It
draws ice crystals instead, and mixes them with the photo by the same weights, unless it is given the photographs.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pocketsam.robustness.corruptions import blur, digital, noise, weather

Corruption: TypeAlias = Callable[[NDArray[np.float64], int, np.random.Generator], NDArray[np.float64]]

CORRUPTIONS: Mapping[str, Mapping[str, Corruption]] = MappingProxyType(
    {
        "noise": {
            "gaussian noise": noise.gaussian_noise,
            "shot noise": noise.shot_noise,
            "impulse noise": noise.impulse_noise,
        },
        "blur": {
            "defocus blur": blur.defocus_blur,
            "glass blur": blur.glass_blur,
            "motion blur": blur.motion_blur,
            "zoom blur": blur.zoom_blur,
        },
        "weather": {
            "snow": weather.snow,
            "frost": weather.frost,
            "fog": weather.fog,
            "brightness": weather.brightness,
        },
        "digital": {
            "contrast": digital.contrast,
            "elastic transform": digital.elastic_transform,
            "pixelate": digital.pixelate,
            "jpeg": digital.jpeg,
        },
    }
)
"""The corruptions in their four groups."""


def corrupt(
    image: NDArray[np.uint8], name: str, severity: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """A photo (H, W, 3) after the corruption of this name, at a severity from 1 to 5."""
    function = next(group[name] for group in CORRUPTIONS.values() if name in group)
    return to_bytes(function(image / 255.0, severity, random))


def to_bytes(pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Floats from 0 to 1 as grey levels; parts of a level are dropped."""
    return np.asarray(np.clip(pixels, 0, 1) * 255, np.uint8)

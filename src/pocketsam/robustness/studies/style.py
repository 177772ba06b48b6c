"""Style: the photo keeps its shapes, and gets the colours and the texture of something else.

Qiao et al. (arXiv 2306.07713, section 4.1) transfer styles with a network that is trained for it. Here the statistics
are transferred directly, so that nothing has to be downloaded. What a style changes, and how it is transferred:

- "colours": the mean and the covariance of RGB, by the linear optimal transport between two normal distributions
  (Pitié and Kokaram 2007, equation 10).
- "texture": after the colours, the contrast of a Laplacian pyramid, band by band: AdaIN (Huang and Belongie 2017,
  arXiv 1703.06868, equation 8) on bands instead of features.
- "patches": each patch of the photo is replaced by that of the style with the same rank in brightness.

The styles are made: strokes, waves, dots and marble. A level is the share of the stylised photo in its mixture with
the photo, from 20 to 100 %.
"""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.data.sample import Sample
from pocketsam.robustness.corruptions.weather import plasma
from pocketsam.robustness.study import Change, ChangeStudy, level_option

BANDS, PATCH = 4, 8
"""Of the pyramid; and the side of a patch in pixels."""
Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Style(ChangeStudy):
    """See `ChangeStudy`; levels are the share of the stylised photo in %."""

    levels: tuple[int, ...] = level_option(20, 40, 60, 80, 100)

    name: ClassVar[str] = "style"
    summary: ClassVar[str] = "colours and textures replaced, shapes kept (Qiao et al.)"
    description: ClassVar[str] = (
        "Gives each photo the colours, the texture or the patches of a made style, and compares the masks with those"
        " of the photo itself and with the ground truth."
    )
    follows: ClassVar[str] = "Qiao et al. (arXiv 2306.07713), with statistics instead of a network"
    kinds: ClassVar[dict[str, tuple[str, ...]]] = {"style": ("colours", "texture", "patches")}
    all_levels: ClassVar[tuple[int, ...]] = (20, 40, 60, 80, 100)
    level_name: ClassVar[str] = "share of the style, %"
    shown_level: ClassVar[int] = 100

    def apply(self, sample: Sample, change: Change, random: np.random.Generator) -> NDArray[np.uint8]:
        """See `ChangeStudy.apply`."""
        photo = sample.image.astype(np.float32)
        style = texture(photo.shape[0], photo.shape[1], random)
        stylised = {"colours": transport, "texture": adapt_bands, "patches": replace_patches}[change.kind](
            photo, style
        )
        share = change.level / 100
        return np.asarray(np.clip(np.rint((1 - share) * photo + share * stylised), 0, 255), np.uint8)


def texture(height: int, width: int, random: np.random.Generator) -> Pixels:
    """A made texture (H, W, 3) from 0 to 255 in two colours: strokes, waves, dots or marble."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, period = random.uniform(0, np.pi), random.uniform(8, 24)
    along = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period
    across = (y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period
    clouds = plasma(max(height, width), 2.0, random)[:height, :width].astype(np.float32)
    pattern = [
        np.sin(along + 12 * clouds),  # strokes
        np.sin(along + 2 * np.sin(across / 2)),  # waves
        np.sin(along) * np.sin(across),  # dots
        np.sin(30 * clouds + along / 4),  # marble
    ][int(random.integers(4))]
    first, second = random.uniform(0, 255, (2, 3)).astype(np.float32)
    share = (0.5 + 0.5 * pattern)[..., None]
    return np.asarray(first * share + second * (1 - share), np.float32)


def transport(photo: Pixels, style: Pixels) -> Pixels:
    """The photo (H, W, 3) with the mean and the covariance of the style's colours."""
    flat, other = photo.reshape(-1, 3), style.reshape(-1, 3)
    mean, wanted_mean = flat.mean(axis=0), other.mean(axis=0)
    covariance, wanted = (np.cov(values.T) + np.eye(3) for values in (flat, other))
    root = _root(covariance)
    inverse = np.linalg.inv(root)
    moved = (flat - mean) @ (inverse @ _root(root @ wanted @ root) @ inverse) + wanted_mean
    return np.asarray(moved.reshape(photo.shape), np.float32)


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The square root of a symmetric, positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)


def adapt_bands(photo: Pixels, style: Pixels) -> Pixels:
    """The photo with the style's colours, and with as much contrast of each size as the style has.

    The style's own bands are added where the photo's have too little, so that flat parts become textured.
    """
    moved = transport(photo, style)
    bands, style_bands = _bands(moved), _bands(style)
    total = bands[-1]
    for band, other in zip(bands[:-1], style_bands[:-1], strict=True):
        deviation, wanted = float(band.std()) + 1e-6, float(other.std())
        total = (
            total + band * min(1.0, wanted / deviation) + other * max(0.0, 1 - deviation / (wanted + 1e-6))
        )
    return np.asarray(total, np.float32)


def _bands(image: Pixels) -> list[Pixels]:
    """The differences of more and more blurred images, fine ones first, and what is left."""
    found, rest = [], image
    for i in range(BANDS):
        blurred = np.asarray(cv2.GaussianBlur(rest, (0, 0), 2.0**i), np.float32)
        found.append(rest - blurred)
        rest = blurred
    return [*found, rest]


def replace_patches(photo: Pixels, style: Pixels) -> Pixels:
    """Each patch of the photo by that of the style whose place in the order of brightness is the same."""
    height, width = photo.shape[:2]
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    framed = [
        np.pad(one, ((0, rows * PATCH - height), (0, columns * PATCH - width), (0, 0)), mode="edge")
        for one in (photo, style)
    ]
    patches, others = (
        one.reshape(rows, PATCH, columns, PATCH, 3).swapaxes(1, 2).reshape(-1, PATCH, PATCH, 3)
        for one in framed
    )
    order, other_order = (np.argsort(one.mean(axis=(1, 2, 3)), kind="stable") for one in (patches, others))
    replaced = np.empty_like(patches)
    # The style's patches are as bright as they are; the mean of each is moved to the photo's patch.
    means = patches.mean(axis=(1, 2), keepdims=True)
    replaced[order] = others[other_order] - others[other_order].mean(axis=(1, 2), keepdims=True)
    whole = (replaced + means).reshape(rows, columns, PATCH, PATCH, 3).swapaxes(1, 2)
    return np.asarray(whole.reshape(rows * PATCH, columns * PATCH, 3)[:height, :width], np.float32)

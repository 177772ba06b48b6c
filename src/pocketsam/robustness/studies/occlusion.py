"""Local occlusion: what is left of the masks when parts of the photo are covered?

The study of Qiao et al. (arXiv 2306.07713, section 4.3), after the occlusion of patches by Naseer et al. (arXiv
2105.10497): the photo is a grid of patches, and a share of them, chosen at random, becomes black, from 10 to 90 %.
The paper's patches are those of a vision transformer, 16 pixels of a photo of 224, of which a row has 14. "object"
covers patches of the ground-truth masks alone, by the same share of those.
"""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.data.sample import Sample
from pocketsam.robustness.study import Change, ChangeStudy, level_option

PATCHES = 14
"""In a row and in a column of the photo."""


@dataclass(frozen=True)
class Occlusion(ChangeStudy):
    """See `ChangeStudy`; levels are shares in %."""

    levels: tuple[int, ...] = level_option(10, 20, 30, 40, 50, 60, 70, 80, 90)

    name: ClassVar[str] = "occlusion"
    summary: ClassVar[str] = "patches of the photo covered, from 10 to 90 % (Qiao et al.)"
    description: ClassVar[str] = (
        "Covers a share of the photo's 14 × 14 patches, or of the patches on its objects, and compares the masks with"
        " those of the whole photo and with the ground truth."
    )
    follows: ClassVar[str] = "Qiao et al. (arXiv 2306.07713); Naseer et al. (arXiv 2105.10497)"
    kinds: ClassVar[dict[str, tuple[str, ...]]] = {"occlusion": ("anywhere", "on objects")}
    all_levels: ClassVar[tuple[int, ...]] = tuple(range(10, 100, 10))
    level_name: ClassVar[str] = "covered, %"
    shown_level: ClassVar[int] = 50

    def apply(self, sample: Sample, change: Change, random: np.random.Generator) -> NDArray[np.uint8]:
        """See `ChangeStudy.apply`."""
        open_to = np.ones((PATCHES, PATCHES), np.bool_)
        if change.kind == "on objects":
            open_to = _touched(sample)
        candidates = np.flatnonzero(open_to)
        count = round(change.level / 100 * len(candidates))
        covered = np.zeros(PATCHES * PATCHES, np.uint8)
        covered[random.permutation(candidates)[:count]] = 1  # what a level covers, the next one covers, too
        height, width = sample.image.shape[:2]
        grid = covered.reshape(PATCHES, PATCHES)
        mask = cv2.resize(grid, (width, height), interpolation=cv2.INTER_NEAREST) > 0
        return np.where(mask[..., None], np.uint8(0), sample.image)


def _touched(sample: Sample) -> NDArray[np.bool_]:
    """The patches (PATCHES, PATCHES) of which an object has a half or more; those that have any, if none has."""
    union = np.zeros(sample.image.shape[:2], np.float32)
    for mask in sample.each_mask():
        union[mask] = 1
    shares = cv2.resize(union, (PATCHES, PATCHES), interpolation=cv2.INTER_AREA)
    half = shares >= 0.5
    return np.asarray(half if half.any() else shares > 0)

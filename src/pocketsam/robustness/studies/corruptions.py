"""Corruptions: how much do noise, blur, weather and digital faults change the masks?

The study of Qiao et al. (arXiv 2306.07713, section 4.2) with ImageNet-C's 15 corruptions at 5 severities (arXiv
1903.12261). The paper takes the masks of the clean photo for the truth; here they are also compared with the ground
truth. The mean degradation is the mean of all 75 differences to the clean photo's mean IoU with the ground truth.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.sample import Sample
from pocketsam.robustness.corruptions import CORRUPTIONS, corrupt
from pocketsam.robustness.study import Change, ChangeStudy


@dataclass(frozen=True)
class Corruptions(ChangeStudy):
    """See `ChangeStudy`."""

    name: ClassVar[str] = "corruptions"
    summary: ClassVar[str] = "ImageNet-C's 15 corruptions at 5 severities (Qiao et al.)"
    description: ClassVar[str] = (
        "Corrupts each photo by noise, blur, weather and digital faults at five severities, and compares the masks"
        " with those of the clean photo and with the ground truth."
    )
    follows: ClassVar[str] = "Qiao et al. (arXiv 2306.07713); ImageNet-C (arXiv 1903.12261)"
    kinds: ClassVar[dict[str, tuple[str, ...]]] = {
        group: tuple(functions) for group, functions in CORRUPTIONS.items()
    }

    def apply(self, sample: Sample, change: Change, random: np.random.Generator) -> NDArray[np.uint8]:
        """See `ChangeStudy.apply`."""
        return corrupt(sample.image, change.kind, change.level, random)

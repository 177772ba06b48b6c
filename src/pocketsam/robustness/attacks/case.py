"""What is attacked in a photo, what the defences make of it, and where the gradients come from. Needs no PyTorch."""

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketsam.data.sample import Sample
from pocketsam.errors import ModelError
from pocketsam.evaluation.protocol import OpenModel
from pocketsam.robustness.others import opened
from pocketsam.robustness.predictions import best_proposals
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.rle import decode, encode

if TYPE_CHECKING:
    from pocketsam.robustness.attacks.network import WhiteBox

JPEG_QUALITY, DISC = 75, 5
"""Of the defence; and the target of manipulation: a disc whose radius is this part of the photo's shorter side."""


@dataclass(frozen=True)
class Case:
    """The object of a photo that is attacked, and its prompts.

    click, other_click: (1, 2) x, y in the object. box: (4,). target: (H, W), the mask that manipulation wants.
    """

    sample: Sample
    number: int
    click: NDArray[np.int64]
    other_click: NDArray[np.int64]
    box: NDArray[np.float32]
    target: NDArray[np.bool_]

    @classmethod
    def of(cls, sample: Sample, seed: int) -> "Case":
        """One of the photo's objects, two of its pixels, and a disc anywhere in the photo."""
        random = np.random.default_rng([seed, 2, *sample.name.encode()])
        chosen = int(random.integers(len(sample.rles)))
        mask = sample.mask(chosen)
        rows, columns = np.nonzero(mask)
        pixels = np.stack([columns, rows], axis=-1)[random.integers(len(rows), size=(2, 1))]
        x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        height, width = mask.shape
        x, y = random.uniform(0, width), random.uniform(0, height)
        down, across = np.mgrid[0:height, 0:width]
        disc = np.hypot(across - x, down - y) < min(height, width) / DISC
        box = np.array([x0, y0, x1, y1], np.float32)
        return cls(sample, sample.ids[chosen], pixels[0], pixels[1], box, disc)

    def mask(self, segmenter: Segmenter, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """The mask (H, W) that a model gives for the click."""
        return np.asarray(segmenter.open(image).segment(points=self.click).binary[0])

    def proposal(self, photo: Photo, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The proposal (H, W) of everything mode that overlaps a mask (H, W) most."""
        return decode(best_proposals(photo, [encode(mask)])[0])

    def noise(self, seed: int, epsilon: float) -> NDArray[np.uint8]:
        """The photo with ε added to or taken from each value at random."""
        random = np.random.default_rng([seed, 4, *self.sample.name.encode()])
        change = int(epsilon) * random.choice([-1, 1], self.sample.image.shape)
        return np.asarray(np.clip(self.sample.image + change, 0, 255), np.uint8)


def white_box(segmenter: Segmenter, surrogate: OpenModel | None) -> "WhiteBox":
    """The network whose gradients are used: the surrogate's, or that of the measured model.

    Raises ModelError where its engine computes no gradients.
    """
    from pocketsam.robustness.attacks.network import WhiteBox

    engine = segmenter.engine if surrogate is None else opened(surrogate).engine
    if not hasattr(engine, "sam"):
        raise ModelError(
            f"the {engine.info.name} engine computes no gradients, which an attack needs; add --engine torch,"
            " or --surrogate MODEL to use the gradients of a model with weights"
        )
    return WhiteBox(engine.sam, engine.config)


def as_jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photo, uint8 (H, W, 3), after saving as JPEG, quality 75."""
    Image.fromarray(image).save(file := BytesIO(), "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(file))


def resized(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photo, uint8 (H, W, 3), at half its size, and enlarged again."""
    height, width = image.shape[:2]
    half = cv2.resize(image, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)

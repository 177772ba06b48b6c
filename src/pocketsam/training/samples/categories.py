"""The streams of training samples for semantic segmentation and for detection: photos with classes of masks.

A sample is cropped, shrunk, flipped and recoloured by the recipe's augmentation, and then fitted into the square as
at inference.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.config import Resize
from pocketsam.data.categories import BACKGROUND, IGNORED, CategorySet, class_map
from pocketsam.data.sample import Sample
from pocketsam.errors import DataError
from pocketsam.training.config import Augmentation
from pocketsam.training.samples.augment import NO_BOXES, Image, Target, flip, reframe, scaled, square, vary
from pocketsam.training.samples.stream import Item, SampleStream

MOST_LABELS = IGNORED
"""Classes that a map can tell apart."""
SMALLEST = 2
"""Objects whose boxes are narrower than so many pixels of the model's input are left out."""
NOBODY = -1
"""The class of the objects that fill a sample up."""


class Framing(NamedTuple):
    """How photos become images: S, how they are fitted into the square, and what is done to them."""

    size: int
    resize: Resize
    how: Augmentation

    def apply(self, image: Image, masks: Image, rng: np.random.Generator) -> tuple[Image, Image]:
        """A photo (H, W, 3) and its masks (N, H, W), cropped or shrunk, and padded where the model pads."""
        image, masks = reframe(image, masks, self.how, rng)
        if self.resize == "pad":
            image = square(image)
            masks = np.array([square(mask) for mask in masks], np.uint8).reshape(-1, *image.shape[:2])
        return image, masks

    def coverage(self, masks: Image, side: int) -> Image:
        """How much of each cell of side × side a mask fills, 0 to 255: (N, H, W) -> (N, side, side)."""
        cells = [cv2.resize(mask * 255, (side, side), interpolation=cv2.INTER_AREA) for mask in masks]
        return np.array(cells, np.uint8).reshape(-1, side, side)


class SemanticSamples(SampleStream):
    """Each holds name (str), seed (), image (3, S, S) uint8, and classes (S, S) uint8: of each pixel, or IGNORED."""

    def __init__(self, data: CategorySet, seed: int, framing: Framing) -> None:
        super().__init__(seed, len(data))
        if not data.classes:
            raise DataError("the data have no classes; list them under `categories`")
        if len(data.classes) > MOST_LABELS:
            raise DataError(
                f"{len(data.classes)} classes are more than the {MOST_LABELS} that a map can hold"
            )
        self.data, self.framing = data, framing
        self.background = 0 if data.classes[0] == BACKGROUND else IGNORED

    def make(self, number: int, rng: np.random.Generator) -> Item:
        """See `SampleStream.make`."""
        sample, framing = self.data.read(self.photo_of(number)), self.framing
        labels = class_map(sample, IGNORED)
        present = np.unique(labels[labels != IGNORED])
        image, masks = framing.apply(sample.image, (labels == present[:, None, None]).astype(np.uint8), rng)
        target = Target(
            scaled(image, framing.size).transpose(2, 0, 1), framing.coverage(masks, framing.size), NO_BOXES
        )
        target = vary(flip(target, framing.size, framing.how, rng), framing.how, rng)
        return {
            "name": sample.location or sample.name,
            "image": torch.from_numpy(np.ascontiguousarray(target.image)),
            "classes": torch.from_numpy(self._classes(target.masks, present)),
        }

    def _classes(self, coverage: Image, present: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The class that fills most of each pixel; the rest of it is background."""
        rest = 255 - np.minimum(coverage.sum(0, dtype=np.int32), 255)
        every = np.concatenate([rest[None], coverage])
        numbers = np.append(np.uint8(self.background), present)
        return np.asarray(numbers[every.argmax(0)], np.uint8)


class DetectionSamples(SampleStream):
    """Each holds name (str), seed (), image (3, S, S) uint8, and the photo's objects, filled up to M.

    classes (M,) int64, NOBODY where there is no object; boxes (M, 4) float32 XYXY in input pixels; masks
    (M, S/4, S/4) uint8, the coverage of each cell from 0 to 255.

    objects: M; of photos with more, the largest.
    """

    def __init__(self, data: CategorySet, seed: int, framing: Framing, objects: int) -> None:
        super().__init__(seed, len(data))
        self.data, self.framing, self.objects = data, framing, objects

    def make(self, number: int, rng: np.random.Generator) -> Item:
        """See `SampleStream.make`."""
        sample, size = self.data.read(self.photo_of(number)), self.framing.size
        image, masks = self.framing.apply(sample.image, sample.masks().astype(np.uint8), rng)
        boxes = tight_boxes(masks, size)
        kept = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= SMALLEST).all(1))
        kept = kept[np.argsort(-masks[kept].sum((1, 2)), kind="stable")][: self.objects]
        coverage = self.framing.coverage(masks[kept], size // 4)
        target = Target(scaled(image, size).transpose(2, 0, 1), coverage, boxes[kept])
        target = vary(flip(target, size, self.framing.how, rng), self.framing.how, rng)
        return self._filled_up(target, sample, kept)

    def _filled_up(self, target: Target, sample: Sample, kept: NDArray[np.intp]) -> Item:
        side, count = self.framing.size // 4, len(kept)
        classes = np.full(self.objects, NOBODY, np.int64)
        boxes = np.zeros((self.objects, 4), np.float32)
        masks = np.zeros((self.objects, side, side), np.uint8)
        classes[:count] = np.array(sample.categories, np.int64)[kept]
        boxes[:count], masks[:count] = target.boxes, target.masks
        return {
            "name": sample.location or sample.name,
            "image": torch.from_numpy(np.ascontiguousarray(target.image)),
            "classes": torch.from_numpy(classes),
            "boxes": torch.from_numpy(boxes),
            "masks": torch.from_numpy(masks),
        }


def tight_boxes(masks: Image, size: int) -> NDArray[np.float32]:
    """The boxes around masks (N, H, W), XYXY in pixels of an image of size × size: (N, 4); zeros of empty masks."""
    height, width = masks.shape[1:]
    boxes = np.array([cv2.boundingRect(mask) for mask in masks], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes * np.array([size / width, size / height] * 2, np.float32)

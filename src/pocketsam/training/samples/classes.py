"""The stream of training samples for image classification: photos with the number of their class.

A sample may be two photos in one: mixup (arXiv 1710.09412) blends them, CutMix (arXiv 1905.04899) puts a window of
one into the other. The second photo is drawn from the sample's own generator, as everything is, so that a sample is a
function of its number alone.
"""

from typing import TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.config import Resize
from pocketsam.data.class_folders import ClassFolders
from pocketsam.training.config import Augmentation
from pocketsam.training.samples.augment import NO_BOXES, NO_MASKS, Target, flip, random_window, square, vary
from pocketsam.training.samples.stream import Item, SampleStream

Image: TypeAlias = NDArray[np.uint8]


class ClassificationSamples(SampleStream):
    """Each holds name (str), seed (), image (3, S, S) uint8, labels (2,) int64 and share () float32.

    labels: of the photo and of the one that is mixed in. share: how much of the image is the first one's; 1 where
    nothing is mixed in.

    Args:
        data: the photos and their classes. seed: of the run. size: S. resize: how photos are fitted into the square.
        how: what is done to a photo; `min_crop` is the smallest crop as a fraction of the sides.
        mixup, cutmix: α of the Beta distribution of the shares; 0 for none. With both, one of them, evenly.
    """

    def __init__(
        self,
        data: ClassFolders,
        seed: int,
        size: int,
        resize: Resize,
        how: Augmentation,
        mixup: float = 0.0,
        cutmix: float = 0.0,
    ) -> None:
        super().__init__(seed, len(data))
        self.data, self.size, self.resize, self.how = data, size, resize, how
        self.mixup, self.cutmix = mixup, cutmix

    def make(self, number: int, rng: np.random.Generator) -> Item:
        """See `SampleStream.make`."""
        first = self.photo_of(number)
        image, share, second = self._image(first, rng), 1.0, first
        if self.mixup or self.cutmix:
            second = int(rng.integers(len(self.data)))
            image, share = self._mixed(image, self._image(second, rng), rng)
        return {
            "name": str(self.data.entries[first]),
            "image": torch.from_numpy(np.ascontiguousarray(image)),
            "labels": torch.tensor([self.data.labels[first], self.data.labels[second]]),
            "share": torch.tensor(share, dtype=torch.float32),
        }

    def _image(self, index: int, rng: np.random.Generator) -> Image:
        """A photo as it is learned from, (3, S, S)."""
        photo = self.data.read(index).image
        photo = square(photo) if self.resize == "pad" else photo
        x0, y0, x1, y1 = random_crop(photo.shape[0], photo.shape[1], self.how, rng)
        resized = cv2.resize(photo[y0:y1, x0:x1], (self.size, self.size), interpolation=cv2.INTER_AREA)
        target = Target(np.asarray(resized, np.uint8).transpose(2, 0, 1), NO_MASKS, NO_BOXES)
        return vary(flip(target, self.size, self.how, rng), self.how, rng).image

    def _mixed(self, image: Image, other: Image, rng: np.random.Generator) -> tuple[Image, float]:
        """Two images (3, S, S) as one, and how much of it is the first."""
        if self.mixup and (not self.cutmix or rng.random() < 0.5):
            share = float(rng.beta(self.mixup, self.mixup))
            return np.round(share * image + (1 - share) * other.astype(np.float32)).astype(np.uint8), share
        side = np.sqrt(1 - rng.beta(self.cutmix, self.cutmix)) * self.size
        centre = rng.uniform(0, self.size, 2)
        (x0, y0), (x1, y1) = np.clip([centre - side / 2, centre + side / 2], 0, self.size).round().astype(int)
        mixed = image.copy()
        mixed[:, y0:y1, x0:x1] = other[:, y0:y1, x0:x1]
        return mixed, 1 - float((x1 - x0) * (y1 - y0)) / self.size**2


def random_crop(
    height: int, width: int, how: Augmentation, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """The whole photo, or a random window of it: x0, y0, x1, y1."""
    if rng.random() < how.whole:
        return 0, 0, width, height
    return random_window(height, width, how.min_crop**2, rng)

"""Prompts after the fact: a box or clicks choose among masks that were found without them (FastSAM, section 3.2).

So works a model that knows no prompts. What it did not find, no prompt can bring back, and where two of its masks
disagree with a click, none is made that fits; this is what MobileSAM's Table 7 measures against a model with prompts.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from pycocotools import mask as coco

from pocketsam.apps.fastsam import FastSAM
from pocketsam.config import FOREGROUND
from pocketsam.errors import InputError
from pocketsam.predict.formats.result import photo_of
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.segmenter import Photo
from pocketsam.utils.rle import RLE, areas, boxes, decode_box, encode, encode_empty


class PromptMapping:
    """The masks of a photo of `size` (H, W), found without a prompt, and those among them that a prompt means."""

    def __init__(self, rle: Sequence[RLE], size: tuple[int, int]) -> None:
        # Large ones first: what lies on another object is smaller than it.
        largest_first = np.argsort(-areas(rle), kind="stable")
        self.rle, self.size = [rle[i] for i in largest_first], size
        self._boxes = boxes(self.rle).astype(np.float64)
        self._parts = [decode_box(one) for one in self.rle]

    def of_box(self, box: ArrayLike) -> RLE:
        """The mask whose own box has the highest IoU with a box XYXY; no pixels where none overlaps it."""
        x0, y0, x1, y1 = np.asarray(box, np.float64)
        sides = self._boxes[:, 2:] - self._boxes[:, :2]
        own = np.concatenate([self._boxes[:, :2], sides], axis=1)
        ious = np.ravel(coco.iou(own, np.array([[x0, y0, x1 - x0, y1 - y0]]), [0]))
        return self.rle[int(ious.argmax())] if ious.max(initial=0) > 0 else encode_empty(self.size)

    def of_points(self, points: ArrayLike, labels: ArrayLike) -> RLE:
        """The union of the masks that foreground points are on, minus those that background points are on.

        points: (P, 2) x, y. labels: (P,), 1 for foreground, 0 for background. From the largest mask to the smallest:
        a small object that is clicked on stays where the large one behind it is not wanted, and the other way round.
        """
        united = np.zeros(self.size, np.bool_)
        clicks = list(
            zip(np.asarray(points).reshape(-1, 2).astype(int).tolist(), np.ravel(labels), strict=True)
        )
        for mask, left, top in self._parts:
            height, width = mask.shape
            part = united[top : top + height, left : left + width]
            for (x, y), label in clicks:
                if left <= x < left + width and top <= y < top + height and mask[y - top, x - left]:
                    part[mask] = label == FOREGROUND
        return encode(united)

    def of_scores(self, scores: ArrayLike) -> RLE:
        """The mask with the highest score, such as CLIP's for a text; scores (N,) are in the order of `rle`."""
        given = np.asarray(scores)
        if given.shape != (len(self.rle),):
            raise InputError(
                f"there are {len(self.rle)} masks, but scores of shape {given.shape}; give one for each"
            )
        return self.rle[int(given.argmax())] if len(given) else encode_empty(self.size)

    def of_objects(self, objects: Iterable[ObjectPrompt]) -> list[RLE]:
        """The masks of objects: of those with a box, the box decides, as FastSAM takes one kind of prompt."""
        return [
            self.of_points(one.points, one.labels) if one.box is None else self.of_box(one.box)
            for one in objects
        ]


def masks_to_map(photo: Photo, fastsam: Path | None = None) -> PromptMapping:
    """The masks that prompts choose among: those of FastSAM's file, or of the model's own everything mode.

    Raises InputError when the photo was opened without its pixels, ModelError as FastSAM does.
    """
    image = photo_of(photo.image, photo.name)
    found = open_fastsam(fastsam).everything(image) if fastsam else photo.everything()
    return PromptMapping(found.rle, (image.shape[0], image.shape[1]))


@lru_cache(maxsize=1)
def open_fastsam(path: Path) -> FastSAM:
    """The network in a file, which is opened once a process. Raises ModelError as FastSAM does."""
    return FastSAM(path)

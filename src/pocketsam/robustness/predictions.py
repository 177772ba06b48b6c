"""The masks of one photo by prompts of several kinds, and how much they agree with others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from pocketsam.data.sample import Sample
from pocketsam.evaluation.prompting import sample_clicks
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.rle import RLE, areas, encode_empty
from pocketsam.utils.rle import boxes as tightest_boxes

BOX, POINT, EVERYTHING = "box", "point", "everything"


@dataclass(frozen=True)
class Targets:
    """The objects of a photo that are prompted for: its ground-truth masks, and a box and a click for each.

    clicks: (N, 1, 2) x, y, a random pixel of each mask.
    """

    sample: Sample
    boxes: NDArray[np.float32]
    clicks: NDArray[np.int64]

    @classmethod
    def of(cls, sample: Sample, seed: int) -> "Targets":
        """The tightest box of each mask, and a click that depends on seed, photo and mask alone."""
        clicks = [
            sample_clicks(mask, 1, seed, sample.name, number)
            for mask, number in zip(sample.each_mask(), sample.ids, strict=True)
        ]
        return cls(sample, tightest_boxes(sample.rles), np.stack(clicks))

    @cached_property
    def areas(self) -> list[int]:
        """The pixels of each mask."""
        return [int(area) for area in areas(self.sample.rles)]


Predictions = dict[str, list[RLE]]
"""The masks of N targets by each kind of prompt."""


def _by_box(photo: Photo, targets: Targets) -> list[RLE]:
    return photo.segment(boxes=targets.boxes).rle


def _by_point(photo: Photo, targets: Targets) -> list[RLE]:
    return photo.segment(points=targets.clicks).rle


def best_proposals(photo: Photo, masks: Sequence[RLE]) -> list[RLE]:
    """Of all proposals of everything mode the one that overlaps each mask most; empty masks where there are none."""
    proposals = photo.everything().rle
    if not proposals:
        return [encode_empty(mask["size"]) for mask in masks]
    overlaps = coco.iou(list(proposals), list(masks), [0] * len(masks))
    return [proposals[i] for i in overlaps.argmax(axis=0)]


def _in_everything(photo: Photo, targets: Targets) -> list[RLE]:
    return best_proposals(photo, targets.sample.rles)


PROMPTS: Mapping[str, Callable[[Photo, Targets], list[RLE]]] = {
    BOX: _by_box,
    POINT: _by_point,
    EVERYTHING: _in_everything,
}
"""The kinds of prompts: what each makes of a photo and its targets."""


def predict(
    segmenter: Segmenter, image: NDArray[np.uint8], targets: Targets, prompts: Sequence[str]
) -> Predictions:
    """The masks of the targets in an image (H, W, 3), which is the targets' photo or what became of it."""
    photo = segmenter.open(image)
    return {name: PROMPTS[name](photo, targets) for name in prompts}


def agreement(masks: Sequence[RLE], others: Sequence[RLE]) -> list[float]:
    """The IoU of each mask with its counterpart, from 0 to 1; two empty masks have 1."""
    return [_iou(mask, other) for mask, other in zip(masks, others, strict=True)]


def _iou(mask: RLE, other: RLE) -> float:
    both = coco.merge([mask, other], intersect=True)
    shared, union = (float(coco.area(rle)) for rle in (both, coco.merge([mask, other])))
    return shared / union if union else 1.0

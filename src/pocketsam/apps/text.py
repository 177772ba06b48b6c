"""Text prompts (Grounded-SAM, arXiv 2401.14159): a detector finds boxes by names, and the model gives their masks.

photo, names → detector → boxes above the threshold → masks → NMS → masks with names and scores
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pocketsam.apps.detectors import Detector, Found, open_detector
from pocketsam.apps.text_arguments import TextArguments
from pocketsam.predict.formats.result import photo_of
from pocketsam.predict.masks import Masks
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.boxes import nms

SAME = 0.7
"""Of two masks whose boxes have a larger IoU, the one with the lower score goes, whatever their names."""


class TextSegmenter:
    """Opens photos in which the objects are found by their names."""

    def __init__(
        self, segmenter: Segmenter, detector: Detector, names: Sequence[str], min_score: float = 0.3
    ) -> None:
        self.segmenter, self.detector, self.names, self.min_score = segmenter, detector, names, min_score

    @classmethod
    def of(cls, args: TextArguments, segmenter: Segmenter) -> "TextSegmenter":
        """As a command line describes it. Raises as `open_detector` does."""
        return cls(segmenter, open_detector(args.detector), args.names(), args.min_score)

    def open(self, source: Path) -> "TextPhoto":
        """The photo in a file, encoded. Raises as `Segmenter.open` does."""
        return TextPhoto(self, self.segmenter.open(source))


class TextPhoto:
    """An encoded photo in which the objects are found by their names."""

    def __init__(self, by: TextSegmenter, photo: Photo) -> None:
        self.by, self.photo, self.geometry = by, photo, photo.geometry

    def find(self) -> list[Found]:
        """The objects whose score is high enough, and whose box has an area within the photo; the best first."""
        image = photo_of(self.photo.image, self.photo.name)
        found = self.by.detector.detect(image, self.by.names, self.photo.name)
        edges = (image.shape[1], image.shape[0]) * 2
        cut = [Found(one.name, one.score, _corners(np.clip(one.box, 0, edges))) for one in found]
        good = [
            one
            for one in cut
            if one.score >= self.by.min_score and one.box[0] < one.box[2] and one.box[1] < one.box[3]
        ]
        return sorted(good, key=lambda one: -one.score)

    def segment_objects(self, objects: Sequence[ObjectPrompt], **options: Any) -> Masks:
        """The masks of what is found, whatever `objects` are, without duplicates and empty ones.

        options: of `Photo.segment_objects`.
        """
        found = self.find()
        if not found:
            nothing = self.photo.segment(boxes=(0, 0, self.geometry.width, self.geometry.height))
            return nothing[[]].scored(np.zeros(0, np.float32))
        prompts = [ObjectPrompt(box=one.box, name=one.name) for one in found]
        zoom = options.pop("zoom", False)  # a second look at duplicates would be for nothing
        masks = self.photo.segment_objects(prompts, **options)
        scores = np.array([one.score for one in found], np.float32)
        _, first = np.unique(masks.objects, return_index=True)
        kept = nms(masks.boxes[first], scores, SAME)
        distinct = masks.scored(scores)[np.flatnonzero(np.isin(masks.objects, kept) & ~masks.empty)]
        return self.photo.zoomed(distinct, options.get("refine", False)) if zoom else distinct

    def segment(self, *prompts: Any, **options: Any) -> Masks:
        """As `Photo.segment`: by prompts other than text."""
        return self.photo.segment(*prompts, **options)


def _corners(box: Any) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = map(float, box)
    return x0, y0, x1, y1

"""Semantic segmentation: the mean IoU of the classes, from the confusion matrix of all pixels.

The measure of ADE20K (arXiv 1608.05442, section 4.1), by which EfficientSAM compares its pretraining (arXiv
2312.00863, table 3).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.categories import BACKGROUND, IGNORED, class_map
from pocketsam.data.sample import Sample
from pocketsam.evaluation.heads import CategoryProtocol, HeadPredictor, model_classes
from pocketsam.evaluation.results import PhotoResult, Report, Row, Table, percent
from pocketsam.predict.geometry import Geometry
from pocketsam.utils.rle import encode

MEAN_IOU, ACCURACY = "mIoU", "pixel accuracy"
AS = " as "
"""Between a true class and the one that its pixels were given, in the facts of a photo."""


@dataclass(frozen=True)
class Semantic(CategoryProtocol):
    """The IoU of each class, and the mean over them."""

    name: ClassVar[str] = "semantic"
    summary: ClassVar[str] = "mean IoU of semantic segmentation (EfficientSAM)"
    description: ClassVar[str] = (
        "Labels every pixel with a model that was trained by the method semantic. DATA is a COCO .json, a folder of"
        " label maps with classes.txt, or ADE20K's annotations/validation."
    )
    follows: ClassVar[str] = "EfficientSAM (arXiv 2312.00863), Table 3"
    results: ClassVar[dict[str, str]] = {
        MEAN_IOU: "the IoU of each class over the pixels of all photos, and the mean over the classes, in %",
        ACCURACY: "labelled pixels whose class is right, in %",
    }
    task: ClassVar[str] = "semantic"

    @property
    def headline(self) -> str:
        return "IoU"

    def measure(self, segmenter: HeadPredictor, sample: Sample, photo: int) -> PhotoResult:
        """The confusion matrix of a photo and, for each class in it, the IoU. The classes are the model's.

        Raises InputError where the model does not know a class of the data.
        """
        known = segmenter.engine.head.classes
        to_model = model_classes(self.data.classes, known)
        sample = replace(sample, categories=[to_model[number] for number in sample.categories])
        truth = class_map(sample, 0 if known[0] == BACKGROUND else IGNORED)
        found = predict_classes(segmenter, sample.image)
        matrix = confusion(truth, found, len(known))
        rows = []
        for number in np.flatnonzero(matrix.sum(1)):
            iou = class_ious(matrix)[number]
            masks = encode(truth == number), encode((found == number) & (truth != IGNORED))
            area = int(matrix[number].sum())
            rows.append(Row(int(number), area, {"IoU": iou}, {"class": known[number]}, *masks))
        pairs = zip(*np.nonzero(matrix), strict=True)
        facts = {f"{known[a]}{AS}{known[b]}": float(matrix[a, b]) for a, b in pairs}
        return PhotoResult(photo, sample.name, rows=rows, facts=facts)

    def scores(self, results: Sequence[PhotoResult]) -> dict[str, float]:
        """See `HeadProtocol.scores`."""
        _, matrix = self._total(results)
        accuracy = float(matrix.trace() / max(1, matrix.sum()))
        return {MEAN_IOU: _mean(class_ious(matrix)), ACCURACY: accuracy}

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """The IoU of each class, and the means."""
        classes, matrix = self._total(results)
        ious, scores = class_ious(matrix), self.scores(results)
        pixels = matrix.sum(1)
        lines = [[name, str(pixels[i]), percent(ious[i])] for i, name in enumerate(classes)]
        lines.append(["mean", str(int(matrix.sum())), percent(scores[MEAN_IOU])])
        numbers = {
            "photos": len(results),
            **scores,
            "IoU": dict(zip(classes, ious, strict=True)),
            "confusion": {"classes": classes, "pixels": matrix.tolist()},
        }
        accuracy = Table(
            ACCURACY + ", %", ["photos", ACCURACY], [[str(len(results)), percent(scores[ACCURACY])]]
        )
        return Report(numbers, [Table("IoU, %", ["class", "pixels", "IoU"], lines, total=True), accuracy])

    def _total(self, results: Sequence[PhotoResult]) -> tuple[list[str], NDArray[np.int64]]:
        """The classes that are there or were found, and the confusion matrix of all photos."""
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for result in results:
            for pair, pixels in result.facts.items():
                true, _, found = pair.partition(AS)
                counts[true, found] += int(pixels)
        classes = sorted({name for pair in counts for name in pair}, key=self._order)
        matrix = np.zeros((len(classes), len(classes)), np.int64)
        for (true, found), pixels in counts.items():
            matrix[classes.index(true), classes.index(found)] = pixels
        return classes, matrix

    def _order(self, name: str) -> tuple[int, str]:
        """The data's classes in their order, then what else the model knows."""
        own = self.data.classes
        return own.index(name) if name in own else len(own), name


def predict_classes(predictor: HeadPredictor, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class of each pixel of a photo (H, W, 3) -> (H, W)."""
    geometry = Geometry.of(predictor.engine.config, *photo.shape[:2])
    best = np.full(photo.shape[:2], -np.inf, np.float32)
    classes = np.zeros(photo.shape[:2], np.uint8)
    for number, scores in enumerate(predictor(photo)["scores"][0]):
        enlarged = geometry.logits_to_photo(scores)
        better = enlarged > best
        best[better], classes[better] = enlarged[better], number
    return classes


def confusion(truth: NDArray[np.uint8], found: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """How many pixels of each true class (rows) were given each class (columns); those IGNORED do not count.

    truth, found: (H, W) uint8 -> (classes, classes) int64.
    """
    labelled = truth != IGNORED
    pairs = truth[labelled].astype(np.int64) * classes + found[labelled]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def class_ious(matrix: NDArray[np.int64]) -> list[float | None]:
    """The IoU of each class; None for classes that are neither there nor found."""
    both = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - both
    return [float(b / u) if u else None for b, u in zip(both, union, strict=True)]


def _mean(ious: Sequence[float | None]) -> float:
    known = [iou for iou in ious if iou is not None]
    return math.fsum(known) / len(known) if known else 0.0  # whatever the order of the classes

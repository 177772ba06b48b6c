"""Salient objects: how well does a map without any prompt agree with what people found salient?

The measures of salient object detection: mean absolute error, the largest F-measure and the S-measure, and the mean
IoU of the mask that a cut-out has. Of photos with several masks their union is the ground truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pocketsam.apps.cutout import soften
from pocketsam.apps.saliency import SalientSegmenter, salient_instances, salient_regions
from pocketsam.data.sample import Sample
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.protocol import EvaluationProtocol, OpenModel
from pocketsam.evaluation.results import Means, PhotoResult, Report, Row, Scores, Table, mean_report, percent
from pocketsam.evaluation.saliency_measures import max_f, mean_absolute_error, precision_recall, s_measure
from pocketsam.segmenter import Photo
from pocketsam.utils.options import option
from pocketsam.utils.rle import areas, decode, encode, union

IOU, ERROR, STRUCTURE = "IoU", "MAE", "S-measure"
BY_BOXES, BY_POINTS = "IoU by boxes", "IoU by points"
LARGEST_F = "max-F"


@dataclass(frozen=True)
class Saliency(EvaluationProtocol):
    """source: only photos from these sources; all, if none is given."""

    source: tuple[str, ...] = field(
        default=(),
        metadata=option(
            list[str],
            "Measure only photos from this source, such as ecssd; may be repeated.",
            metavar="SOURCE",
            read=tuple,
        ),
    )

    name: ClassVar[str] = "saliency"
    summary: ClassVar[str] = "mean IoU, MAE, max-F and S-measure of the salient object, without a prompt"
    description: ClassVar[str] = (
        "Finds the salient object of each photo without a prompt, and compares it with the photo's masks. The model"
        " needs a saliency head."
    )
    follows: ClassVar[str] = (
        "EfficientSAM (arXiv 2312.00863), salient instance segmentation; S-measure: Fan et al. (arXiv 1708.00786)"
    )
    results: ClassVar[dict[str, str]] = {
        IOU: "mean IoU in % of the mask that a cut-out has, its alpha above one half",
        ERROR: "mean absolute error of the saliency map, in %; 0 is best",
        LARGEST_F: "the largest F-measure of any threshold, in %, with β² = 0.3",
        STRUCTURE: "mean structural similarity of map and mask, in %",
        f"{BY_BOXES}, {BY_POINTS}": "mean IoU in % of the masks of all salient regions, prompted by the box of each,"
        " or by 3 random points in each (EfficientSAM)",
    }

    @property
    def headline(self) -> str:
        return IOU

    @classmethod
    def opener(cls, model: str, **opening: Any) -> OpenModel:
        """See `EvaluationProtocol.opener`; the model must have a saliency head."""
        return partial(SalientSegmenter, model, **opening)

    def measure(self, segmenter: SalientSegmenter, sample: Sample, photo: int) -> PhotoResult:
        """The saliency of one image, and its cut-out, beside the union of its masks."""
        if self.source and sample.source not in self.source:
            return PhotoResult(photo, sample.name, sample.source)
        opened = segmenter.open(sample.image)
        logits = segmenter.head(opened)
        saliency = 1 / (1 + np.exp(-opened.geometry.logits_to_photo(logits)))
        rle = union(sample.rles)
        truth = decode(rle)
        found = soften(opened, logits) > 127
        scores: Scores = {
            IOU: iou(found, truth),
            ERROR: mean_absolute_error(saliency, truth),
            STRUCTURE: s_measure(saliency, truth),
            BY_BOXES: iou(_instances(opened, logits, "boxes"), truth),
            BY_POINTS: iou(_instances(opened, logits, "points"), truth),
        }
        row = Row(sample.ids[0], int(areas([rle])[0]), scores, truth=rle, answer=encode(found))
        precision, recall = precision_recall(saliency, truth)
        curve = {"precision": precision.tolist(), "recall": recall.tolist()}
        return PhotoResult(photo, sample.name, sample.source, [row], detections=[curve])

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """The means over all images, and the mean IoU of each source."""
        measured = [result for result in results if result.rows]
        numbers, by_source = mean_report(measured, [IOU, ERROR, STRUCTURE], "by source, %")
        curves = [curve for result in measured for curve in result.detections]
        precisions, recalls = ([curve[name] for curve in curves] for name in ("precision", "recall"))
        largest = max_f(precisions, recalls) if curves else None
        means = Means(measured)
        found = means[IOU], means[ERROR], largest, means[STRUCTURE], means[BY_BOXES], means[BY_POINTS]
        line = [str(len(measured)), *map(percent, found)]
        headings = ["photos", IOU, ERROR, LARGEST_F, STRUCTURE, BY_BOXES, BY_POINTS]
        table = Table("The salient object, without a prompt, %", headings, [line])
        return Report({**numbers, LARGEST_F: largest}, [table, by_source])


def _instances(
    photo: Photo, logits: NDArray[np.float32], by: Literal["boxes", "points"]
) -> NDArray[np.bool_]:
    """The pixels (H, W) of the masks of all salient regions; none where nothing is salient."""
    if not salient_regions(photo, logits):
        return np.zeros((photo.geometry.height, photo.geometry.width), np.bool_)
    return np.asarray(salient_instances(photo, logits, by).binary.any(axis=0))

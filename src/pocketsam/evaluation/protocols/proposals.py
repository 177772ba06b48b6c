"""Everything mode as object proposals: how many ground-truth masks are found without a prompt, and how well?

Average recall, SAM's measure (arXiv 2304.02643, section 7.3): the most confident proposals of an image count, and
recall is averaged over the IoU thresholds 0.5 to 0.95. Mean best IoU, and the time an image takes, are TinySAM's
measures of this mode (arXiv 2312.13789): each ground-truth mask is compared with the proposal that overlaps it most.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import mean, median
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from pycocotools import mask as coco

from pocketsam.automatic.options import Options
from pocketsam.automatic.proposals import Proposals
from pocketsam.data.sample import Sample
from pocketsam.evaluation.average_precision import average_recall
from pocketsam.evaluation.protocol import EvaluationProtocol
from pocketsam.evaluation.results import Curves, Means, PhotoResult, Report, Row, Table, mean_report, percent
from pocketsam.segmenter import Segmenter
from pocketsam.utils.rle import areas

BEST = "best IoU"
LIMITS = (10, 100, 1000)
"""So many proposals of an image count, the most confident ones; SAM reports the last."""
_OF = {one.name: one.metadata for one in fields(Options)}
"""How everything mode's own options are offered."""
THRESHOLDS = np.arange(50, 100, 5) / 100


@dataclass(frozen=True)
class Everything(EvaluationProtocol):
    """The settings of everything mode, as in its `Options`, whose defaults these are; None is the model's own.

    With pred_iou_thresh and stability_score_thresh at 0 no proposal is dropped for low confidence.
    Raises InputError when a value makes no sense.
    """

    points_per_side: int | None = field(default=None, metadata=_OF["points_per_side"])
    hierarchical: bool = field(default=True, metadata=_OF["hierarchical"])
    confident_logit: float | None = field(default=None, metadata=_OF["confident_logit"])
    pred_iou_thresh: float | None = field(default=None, metadata=_OF["pred_iou_thresh"])
    stability_score_thresh: float | None = field(default=None, metadata=_OF["stability_score_thresh"])
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0

    name: ClassVar[str] = "everything"
    summary: ClassVar[str] = "average recall and best IoU of everything mode's masks (SAM)"
    description: ClassVar[str] = (
        "Segments each photo without a prompt, and finds for each ground-truth mask the proposal that overlaps it"
        " most."
    )
    follows: ClassVar[str] = (
        "SAM (arXiv 2304.02643), section 7.3 (object proposals); TinySAM (arXiv 2312.13789), everything mode"
    )
    results: ClassVar[dict[str, str]] = {
        "AR@10, AR@100, AR@1000": "average recall in % of the 10, 100 or 1000 proposals of a photo with the highest"
        " predicted IoU",
        "best IoU": "mean IoU in % of each ground-truth mask and the proposal that overlaps it most",
        "masks a photo, s a photo": "mean number of proposals, and median time in seconds",
    }
    is_timed: ClassVar[bool] = True
    needs_counter: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Options(**self.mode())  # which raises InputError for it

    @property
    def headline(self) -> str:
        return BEST

    def mode(self) -> dict[str, Any]:
        """The settings as everything mode takes them."""
        return asdict(self)

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """The proposals for one image, and the best of them for each ground-truth mask."""
        start = perf_counter()
        proposals = segmenter.open(sample.image).everything(points_per_batch=segmenter.batch, **self.mode())
        seconds = perf_counter() - start
        return PhotoResult(
            photo,
            sample.name,
            sample.source,
            rows=list(_rows(proposals, sample)),
            facts={"seconds": seconds, "masks": len(proposals)},
            detections=_most_confident(proposals, max(LIMITS)),
        )

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """Average recall, mean best IoU (a source of images a line), masks and seconds an image."""
        numbers, by_source = mean_report(results, [BEST])
        measured = [result for result in results if result.rows]
        recall = average_recall(*_as_coco(measured), limits=LIMITS)
        masks = mean(result.facts["masks"] for result in measured) if measured else None
        seconds = median(result.facts["seconds"] for result in measured) if measured else None
        headings = ["photos", *(f"{name}, %" for name in recall), "best IoU, %", "masks a photo", "s a photo"]
        line = [
            str(len(measured)),
            *map(percent, recall.values()),
            percent(Means(results)[BEST]),
            "–" if masks is None else f"{masks:.1f}",
            "–" if seconds is None else f"{seconds:.2f}",
        ]
        return Report(
            {**numbers, **recall, "masks_per_photo": masks, "median_seconds_per_photo": seconds},
            [Table("Everything as proposals", headings, [line]), by_source],
            [_curves(measured)] if measured else [],
        )


def _rows(proposals: Proposals, sample: Sample) -> Iterator[Row]:
    """Each ground-truth mask beside the proposal that overlaps it most; the first of equals."""
    # Run lengths against run lengths: (proposals, ground-truth masks), or [] where there is no proposal.
    overlaps = coco.iou(proposals.rle, sample.rles, [0] * len(sample.rles))
    for i, area in enumerate(areas(sample.rles)):
        found: dict[str, Any] = {"scores": {BEST: 0.0}}
        if len(proposals):
            best = int(overlaps[:, i].argmax())
            found = {
                "scores": {BEST: float(overlaps[best, i])},
                "prompt": {"points": [proposals.points[best].tolist()], "labels": [1]},
                "answer": proposals.rle[best],
            }
        yield Row(sample.ids[i], int(area), truth=sample.rles[i], **found)


def _most_confident(proposals: Proposals, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` proposals as {"segmentation", "score"}, the most confident first."""
    order = np.argsort(-proposals.predicted_iou, kind="stable")[:limit]
    return [
        {"segmentation": proposals.rle[i], "score": float(proposals.predicted_iou[i])} for i in order.tolist()
    ]


def _as_coco(results: Sequence[PhotoResult]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The ground truth as a COCO document, and the proposals as its results, all of one category."""
    truths = [(result.photo, row) for result in results for row in result.rows]
    annotations = [
        {"image_id": photo, "category_id": 1, "segmentation": row.truth, "area": row.area}
        for photo, row in truths
    ]
    sizes = {photo: row.truth["size"] for photo, row in truths if row.truth}
    images = [{"id": photo, "height": height, "width": width} for photo, (height, width) in sizes.items()]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    found = [
        {"image_id": result.photo, "category_id": 1, **detection}
        for result in results
        for detection in result.detections
    ]
    return document, found


def _curves(results: Sequence[PhotoResult]) -> Curves:
    """How exact the proposals are: the share of the ground-truth masks that one of them overlaps so well."""
    best = np.array([row.scores[BEST] for result in results for row in result.rows])
    line = [(float(threshold), float(100 * (best >= threshold).mean())) for threshold in THRESHOLDS]
    return Curves(
        "Masks found, however many proposals it takes", "IoU", "masks found, %", {"proposals": line}
    )

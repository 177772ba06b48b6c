"""Segment-anything metrics: how good is the mask for a box, for one click, for three clicks?

The protocol of EfficientSAM (arXiv 2312.00863, Table 4): clicks are sampled uniformly among the pixels of the
ground-truth mask, and the box is its tightest box. The paper compares the most confident mask of a multimask output;
a user of SAM gets that for a single click, and mask 0 for any other prompt. Both are measured: "box" is the mask that
a user gets, "box, most confident" the paper's. IoU is taken at the image's resolution, and the mean is over
masks. An image is encoded once, and each kind of prompt is decoded in one call for all its masks.

Of the box masks there are also boundary IoU (Cheng et al. 2021, arXiv 2103.16562) and the share with a high IoU; of
the masks of a single click, how well the predicted IoU tells the true one: Pearson's correlation, and a calibration
table.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from pocketsam.data.sample import Sample
from pocketsam.evaluation.metrics import boundary_iou, calibration, iou, ious, pearson
from pocketsam.evaluation.prompting import click_name, sample_clicks
from pocketsam.evaluation.protocol import EvaluationProtocol
from pocketsam.evaluation.results import (
    ALL,
    Curves,
    Means,
    PhotoResult,
    Report,
    Row,
    Table,
    by_source,
    group_table,
    groups,
    mean_report,
    percent,
    without_source,
)
from pocketsam.predict.candidates import Candidates
from pocketsam.predict.masks import Masks
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.options import counts, option
from pocketsam.utils.rle import areas
from pocketsam.utils.rle import boxes as tightest_boxes

BOX = "box"
BOUNDARY = "box, boundary IoU"
PREDICTED = "1 click, predicted IoU"
GOOD = 0.8, 0.9
"""The IoUs from which on a box mask counts as good."""


@dataclass(frozen=True)
class Clicks(EvaluationProtocol):
    """clicks: the numbers of clicks to measure. seed: a non-negative integer that fixes the clicks.

    without_source: sources of images; for each there is a line in the tables for all other images.
    refine: whether the outlines of the masks that a user gets are moved to the edges in the photo.
    zoom: whether small objects are looked at a second time.
    """

    clicks: tuple[int, ...] = field(
        default=(1, 3),
        metadata=option(type=str, help="The numbers of clicks to measure.", metavar="K,…", read=counts),
    )
    seed: int = field(
        default=0, metadata=option(type=int, help="Fixes the random clicks.", metavar="N", minimum=0)
    )
    without_source: tuple[str, ...] = field(
        default=(),
        metadata=option(
            type=list[str],
            help="Add a line to each table for all photos but those of this source; may be repeated.",
            metavar="SOURCE",
            read=tuple,
        ),
    )
    refine: bool = field(
        default=False, metadata=option(type=bool, help="Move the outlines to the edges in the photo first.")
    )
    zoom: bool = field(
        default=False, metadata=option(type=bool, help="Look at small objects a second time first.")
    )

    name: ClassVar[str] = "clicks"
    summary: ClassVar[str] = "mean IoU for a box, and for random clicks in the mask (EfficientSAM)"
    description: ClassVar[str] = (
        "Prompts the model with the tightest box of each ground-truth mask, and with 1, 3 … random clicks in the"
        " mask, and compares the predicted masks with the ground truth."
    )
    follows: ClassVar[str] = "EfficientSAM (arXiv 2312.00863), Table 4"
    results: ClassVar[dict[str, str]] = {
        "box, 1 click, 3 clicks": "mean IoU in % of the mask that `segment` returns, for each source of masks",
        "most confident": "the same for the multimask output with the highest predicted IoU, as in the paper",
        "IoU ≥ 0.8, IoU ≥ 0.9": "how many of the masks from boxes have such an IoU, in %",
        "boundary IoU": "of the masks from boxes, in %; the boundary is 2 % of the diagonal wide (Cheng et al. 2021)",
        "correlation": "Pearson's r of predicted and true IoU for single clicks, from -1 to 1",
        "calibration": "mean true IoU in % for each tenth of predicted IoU",
    }

    @property
    def headline(self) -> str:
        return BOX

    @property
    def columns(self) -> list[str]:
        return [BOX, *(click_name(count) for count in self.clicks)]

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """Prompt for each ground-truth mask of one image, in each of the ways."""
        boxes = tightest_boxes(sample.rles)
        clicks = [
            sample_clicks(mask, max(self.clicks), self.seed, sample.name, number)
            for mask, number in zip(sample.each_mask(), sample.ids, strict=True)
        ]
        opened = segmenter.open(sample.image)
        by_box = opened.candidates(boxes=boxes)
        masks = self._best(opened, by_box)
        pairs = [
            (iou(mask.binary[0], truth), boundary_iou(mask.binary[0], truth))
            for mask, truth in zip(masks, sample.each_mask(), strict=True)
        ]
        given = {BOX: [of_mask for of_mask, _ in pairs]}
        more = {_confident(BOX): _confident_ious(by_box, sample), BOUNDARY: [edge for _, edge in pairs]}
        for count in self.clicks:
            by_clicks = opened.candidates(points=np.stack(clicks)[:, :count])
            chosen = self._best(opened, by_clicks)
            given[click_name(count)] = ious(chosen, sample.each_mask())
            more[_confident(click_name(count))] = _confident_ious(by_clicks, sample)
            if count == 1:
                more[PREDICTED] = chosen.predicted_iou.tolist()
        scores = given | more
        rows = [
            Row(
                mask=sample.ids[i],
                area=int(area),
                scores={name: values[i] for name, values in scores.items()},
                prompt={"box": boxes[i].tolist(), "clicks": clicks[i].tolist()},
                truth=sample.rles[i],
                answer=masks.rle[i],
            )
            for i, area in enumerate(areas(sample.rles))
        ]
        return PhotoResult(photo, sample.name, sample.source, rows)

    def _best(self, photo: Photo, candidates: Candidates) -> Masks:
        """What `Photo.segment` gives."""
        masks = candidates.best()
        if self.zoom:
            return photo.zoomed(masks, self.refine)
        return masks.refined() if self.refine else masks

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """Mean IoU by source, also by the paper's choice of the mask; the box masks; the predicted IoU of a click."""
        leave_out = self.without_source
        numbers, table = mean_report(results, self.columns, leave_out=leave_out)
        numbers["most_confident"], papers = mean_report(
            results,
            [_confident(name) for name in self.columns],
            "mean IoU, %, of the most confident mask of a multimask output",
            leave_out,
            self.columns,
        )
        parts = {**by_source(results), **without_source(results, leave_out), ALL: results}
        numbers["box_masks"] = {name: _box_numbers(part) for name, part in parts.items()}
        tables = [table, papers, _box_table(results, leave_out)]
        curves = [self._curves(results)] if len(self.clicks) > 1 else []
        if 1 in self.clicks:
            numbers["predicted_iou"] = {name: _confidence(part) for name, part in parts.items()}
            numbers["calibration"] = [asdict(one) for one in calibration(*_pairs(results))]
            tables += [_confidence_table(results, leave_out), _calibration_table(results)]
            curves.append(_calibration_curve(results))
        return Report(numbers, tables, curves)

    def _curves(self, results: Sequence[PhotoResult]) -> Curves:
        means = Means(results)
        by_count = [(float(count), 100 * (means[click_name(count)] or 0)) for count in self.clicks]
        box = [(count, 100 * (means[BOX] or 0)) for count, _ in by_count]
        lines = {"clicks": by_count, "box": box}
        return Curves("Random clicks in the mask", "clicks", "mean IoU, %", lines)


def _confident_ious(candidates: Candidates, sample: Sample) -> list[float]:
    """The IoU of each prompt's most confident mask of a multimask output."""
    return ious(candidates.ranked()[::3], sample.each_mask())  # of the three of each prompt, the first


def _confident(name: str) -> str:
    return f"{name}, most confident"


def _scores(results: Sequence[PhotoResult], name: str) -> list[float]:
    """One score of all masks, but for those without it."""
    values = (row.scores.get(name) for result in results for row in result.rows)
    return [value for value in values if value is not None]


def _box_numbers(results: Sequence[PhotoResult]) -> dict[str, float | None]:
    """Of the box masks: the shares with a good IoU, and mean boundary IoU; from 0 to 1."""
    found = _scores(results, BOX)
    shares = {f"iou_{goal}": float(np.mean(np.array(found) >= goal)) if found else None for goal in GOOD}
    return {**shares, "boundary_iou": Means(results)[BOUNDARY]}


def _box_table(results: Sequence[PhotoResult], leave_out: Sequence[str]) -> Table:
    headings = [*(f"IoU ≥ {goal}" for goal in GOOD), "boundary IoU"]

    def cells(part: Sequence[PhotoResult]) -> list[str]:
        return [percent(value) for value in _box_numbers(part).values()]

    title = "box masks: the share with such an IoU, %; mean boundary IoU, %"
    return group_table(title, headings, groups(results, leave_out), cells)


def _pairs(results: Sequence[PhotoResult]) -> tuple[list[float], list[float]]:
    """Predicted and true IoU of the masks of one click."""
    return _scores(results, PREDICTED), _scores(results, click_name(1))


def _confidence(results: Sequence[PhotoResult]) -> dict[str, float | None]:
    """Of the masks of one click: correlation of predicted and true IoU, and the means of both."""
    means = Means(results)
    return {
        "correlation": pearson(*_pairs(results)),
        "mean_predicted": means[PREDICTED],
        "mean_true": means[click_name(1)],
    }


def _confidence_table(results: Sequence[PhotoResult], leave_out: Sequence[str]) -> Table:
    def cells(part: Sequence[PhotoResult]) -> list[str]:
        found: dict[str, Any] = _confidence(part)
        correlation = found.pop("correlation")
        return [
            "–" if correlation is None else f"{correlation:.2f}",
            *(percent(value) for value in found.values()),
        ]

    headings = ["correlation", "predicted IoU, %", "IoU, %"]
    title = "1 click: Pearson's correlation of predicted and true IoU, and their means"
    return group_table(title, headings, groups(results, leave_out), cells)


def _calibration_table(results: Sequence[PhotoResult]) -> Table:
    lines = [
        [f"{one.low:.1f} to {one.high:.1f}", str(one.count), percent(one.predicted), percent(one.true)]
        for one in calibration(*_pairs(results))
    ]
    title = "1 click: calibration of predicted IoU"
    return Table(title, ["predicted IoU", "masks", "mean predicted, %", "mean true, %"], lines)


def _calibration_curve(results: Sequence[PhotoResult]) -> Curves:
    bins = calibration(*_pairs(results))
    middles = [(one, 50 * (one.low + one.high)) for one in bins]
    lines = {
        "1 click": [(x, 100 * one.true) for one, x in middles if one.true is not None],
        "perfectly calibrated": [(x, x) for _, x in middles],
    }
    return Curves(
        "Calibration of predicted IoU",
        "predicted IoU, %",
        "mean IoU, %",
        {k: v for k, v in lines.items() if v},
    )

"""Segment-anything metrics: how good is the mask you get for a box, for one click, for three clicks?

The protocol of EfficientSAM (arXiv 2312.00863, Table 4): clicks are drawn uniformly among the pixels of the true
mask, and the box is its tightest box. The paper compares the most confident of the readings that the model gives; a
user of SAM gets that for a lone click alone, and the single answer for anything else. Both are measured: "box" is the
mask that a user gets, "box, most confident" the paper's. IoU is taken at the photo's resolution; the mean is over
masks. A photo is encoded once, and each kind of prompt is decoded in one call for all its masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from pocketsam.data.sample import Sample
from pocketsam.evaluation.metrics import ious
from pocketsam.evaluation.prompting import click_name, draw_clicks
from pocketsam.evaluation.results import Curves, Means, PhotoResult, Report, Row, mean_report
from pocketsam.predict.candidates import Candidates
from pocketsam.segmenter import Segmenter
from pocketsam.utils.rle import areas
from pocketsam.utils.rle import boxes as tightest_boxes

BOX = "box"


@dataclass(frozen=True)
class Clicks:
    """clicks: the numbers of clicks to measure. seed: a non-negative integer that fixes the clicks."""

    clicks: tuple[int, ...] = (1, 3)
    seed: int = 0

    name: ClassVar[str] = "clicks"
    follows: ClassVar[str] = "EfficientSAM (arXiv 2312.00863), Table 4"
    needs_masks: ClassVar[bool] = True
    needs_all_photos: ClassVar[bool] = False
    headline: ClassVar[str] = BOX

    @property
    def columns(self) -> list[str]:
        return [BOX, *(click_name(count) for count in self.clicks)]

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """Prompt for each true mask of one photo, in each of the ways."""
        boxes = tightest_boxes(sample.rles)
        drawn = [
            draw_clicks(mask, max(self.clicks), self.seed, sample.name, number)
            for mask, number in zip(sample.each_mask(), sample.ids, strict=True)
        ]
        opened = segmenter.open(sample.image)
        by_box = opened.candidates(boxes=boxes)
        given = {BOX: ious(by_box.best(), sample.each_mask())}
        confident = {BOX: _confident_ious(by_box, sample)}
        for count in self.clicks:
            by_clicks = opened.candidates(points=np.stack(drawn)[:, :count])
            given[click_name(count)] = ious(by_clicks.best(), sample.each_mask())
            confident[click_name(count)] = _confident_ious(by_clicks, sample)
        scores = given | {_confident(name): values for name, values in confident.items()}
        answers = by_box.best().rle
        rows = [
            Row(
                mask=sample.ids[i],
                area=int(area),
                scores={name: values[i] for name, values in scores.items()},
                prompt={"box": boxes[i].tolist(), "clicks": drawn[i].tolist()},
                truth=sample.rles[i],
                answer=answers[i],
            )
            for i, area in enumerate(areas(sample.rles))
        ]
        return PhotoResult(photo, sample.name, sample.source, rows)

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """Mean IoU over all masks, a source of photos a line; and by the paper's choice of the mask."""
        numbers, table = mean_report(results, self.columns)
        confident = [_confident(name) for name in self.columns]
        numbers["most_confident"], papers = mean_report(
            results, confident, "mean IoU, %, of the most confident of the readings"
        )
        papers = replace(papers, headings=table.headings)
        means = Means(results)
        by_count = [(float(count), 100 * (means[click_name(count)] or 0)) for count in self.clicks]
        box = [(count, 100 * (means[BOX] or 0)) for count, _ in by_count]
        curves = Curves("Clicks drawn in the mask", "clicks", "mean IoU, %", {"clicks": by_count, "box": box})
        return Report(numbers, [table, papers], [curves] if len(self.clicks) > 1 else [])


def _confident_ious(candidates: Candidates, sample: Sample) -> list[float]:
    """The IoU of the reading of each prompt that the model is most confident of."""
    return ious(candidates.ranked()[::3], sample.each_mask())  # of the three of each prompt, the first


def _confident(name: str) -> str:
    return f"{name}, most confident"

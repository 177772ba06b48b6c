"""Segment-anything metrics: how good is the mask you get for a box, for one click, for three clicks?

The protocol of EfficientSAM (arXiv 2312.00863, Table 4): clicks are drawn uniformly among the pixels of the
true mask, the box is its tightest box, and the mask compared is the one the user would get (for a lone click
the most confident: the segmenter's own rule). IoU is taken at the photo's resolution; the mean is
over masks. A photo is encoded once, and each kind of prompt is decoded in one call for all its masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pocketsam.data.sample import Sample
from pocketsam.evaluation.overlap import ious
from pocketsam.evaluation.prompting import click_name, draw_clicks, tightest_box
from pocketsam.evaluation.results import Curves, Means, PhotoResult, Report, Row, mean_report
from pocketsam.rle import areas
from pocketsam.segmenter import Segmenter

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
        boxes = np.stack([tightest_box(mask) for mask in sample.each_mask()])
        drawn = [
            draw_clicks(mask, max(self.clicks), self.seed, sample.name, number)
            for mask, number in zip(sample.each_mask(), sample.ids, strict=True)
        ]
        opened = segmenter.open(sample.image)
        by_box = opened.segment(boxes=boxes)
        scores = {BOX: ious(by_box, sample.each_mask())}
        for count in self.clicks:
            by_clicks = opened.segment(points=np.stack(drawn)[:, :count])
            scores[click_name(count)] = ious(by_clicks, sample.each_mask())
        rows = [
            Row(
                mask=sample.ids[i],
                area=int(area),
                scores={name: values[i] for name, values in scores.items()},
                prompt={"box": boxes[i].tolist(), "clicks": drawn[i].tolist()},
                truth=sample.rles[i],
                answer=by_box.rle[i],
            )
            for i, area in enumerate(areas(sample.rles))
        ]
        return PhotoResult(photo, sample.name, sample.source, rows)

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """Mean IoU over all masks, a source of photos a line."""
        numbers, table = mean_report(results, self.columns)
        means = Means(results)
        by_count = [(float(count), 100 * (means[click_name(count)] or 0)) for count in self.clicks]
        box = [(count, 100 * (means[BOX] or 0)) for count, _ in by_count]
        curves = Curves("Clicks drawn in the mask", "clicks", "mean IoU, %", {"clicks": by_count, "box": box})
        return Report(numbers, [table], [curves] if len(self.clicks) > 1 else [])

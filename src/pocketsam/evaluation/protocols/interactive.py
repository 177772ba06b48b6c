"""Interactive segmentation: how good is the mask after one click, and after each click that corrects it?

The protocol of SAM (arXiv 2304.02643, section 7.1 and its appendix) and of TinySAM (arXiv 2312.13789, Figure 4). The
first click is in the middle of the true mask, each further one in the middle of the larger error: positive on what
the answer lacks, negative on what it has too much. A middle is the maximum of the distance transform; of two errors
the one with the deeper middle is the larger. Nothing is drawn at random, and a pixel may be clicked twice.

Each mask is clicked in two ways, which part after the first click, as each corrects its own answers:

- "clicks": all clicks so far, with the former answer's logits as mask input where the model takes a mask, as SAM was
  trained. The headline.
- "points only": all clicks so far, and no mask. For a model that takes none, the two are one.

"oracle" is the best of the answer and the three readings of each prompt of the first way: what a user gets who
chooses by eye.

An answer that is the true mask exactly is not corrected any more, and its IoU stands for all further clicks.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.config import FOREGROUND
from pocketsam.data.sample import Sample
from pocketsam.errors import InputError
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.prompting import click_name, corrective_click, deepest_pixel
from pocketsam.evaluation.results import (
    Curves,
    Mean,
    Means,
    PhotoResult,
    Report,
    Row,
    Table,
    mean_report,
    percent,
)
from pocketsam.predict.masks import Masks
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.rle import RLE, areas

WAYS = CLICKS, POINTS_ONLY, ORACLE = "clicks", "points only", "oracle"
GOALS = 85, 90
"""The IoUs, in %, for which clicks are counted: NoC@85 and NoC@90 of interactive segmentation."""


@dataclass(frozen=True)
class Interactive:
    """clicks: how many clicks each mask gets, at least 1. Raises InputError for fewer."""

    clicks: int = 5

    name: ClassVar[str] = "interactive"
    follows: ClassVar[str] = "SAM (arXiv 2304.02643), section 7.1; TinySAM (arXiv 2312.13789), Figure 4"
    needs_masks: ClassVar[bool] = True
    needs_all_photos: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.clicks < 1:
            raise InputError(f"clicks is {self.clicks}, but a mask needs at least 1 click")

    @property
    def headline(self) -> str:
        return self.columns(CLICKS)[-1]

    def columns(self, way: str) -> list[str]:
        """The names of the scores of one of the WAYS, click by click: "1 click", …, or "1 click, oracle", …"""
        ending = "" if way == CLICKS else f", {way}"
        return [click_name(count) + ending for count in self._counts]

    @property
    def _counts(self) -> range:
        return range(1, self.clicks + 1)

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """Click on every true mask of one photo and correct the answers."""
        opened = segmenter.open(sample.image)
        takes_masks = segmenter.engine.config.takes_masks
        with_mask = [_Dialogue(i, [_middle(mask)]) for i, mask in enumerate(sample.each_mask())]
        self._ask(opened, sample, with_mask, oracle=True)
        # After the first click, which both share, each way goes on by itself.
        points_only = deepcopy(with_mask) if takes_masks else with_mask
        while waiting := [one for one in with_mask if one.answer is None]:
            self._ask(opened, sample, waiting, feedback=takes_masks, oracle=True)
        while waiting := [one for one in points_only if one.answer is None]:
            self._ask(opened, sample, waiting)
        rows = [
            self._row(sample, int(area), *both)
            for area, *both in zip(areas(sample.rles), with_mask, points_only, strict=True)
        ]
        return PhotoResult(photo, sample.name, sample.source, rows)

    def _ask(
        self,
        opened: Photo,
        sample: Sample,
        dialogues: Sequence["_Dialogue"],
        feedback: bool = False,
        oracle: bool = False,
    ) -> None:
        """Decode the next round of all these dialogues, which are equally long, in one call."""
        candidates = opened.candidates(
            points=[one.points for one in dialogues],
            labels=[one.labels for one in dialogues],
            mask_input=np.stack([one.logits for one in dialogues]) if feedback else None,
        )
        best, readings = candidates.best(), candidates.ranked() if oracle else None
        for i, dialogue in enumerate(dialogues):
            truth = sample.mask(dialogue.mask)
            if readings is not None:
                choice = [best[i], *readings[3 * i : 3 * i + 3]]
                dialogue.oracle.append(max(iou(mask.binary[0], truth) for mask in choice))
            dialogue.hear(best[i], truth, last=len(dialogue.clicks) == self.clicks)

    def _row(self, sample: Sample, area: int, with_mask: "_Dialogue", points_only: "_Dialogue") -> Row:
        scores = {CLICKS: with_mask.ious, POINTS_ONLY: points_only.ious, ORACLE: with_mask.oracle}
        return Row(
            mask=sample.ids[with_mask.mask],
            area=area,
            scores={
                name: values[min(i, len(values) - 1)]
                for way, values in scores.items()
                for i, name in enumerate(self.columns(way))
            },
            prompt={"points": with_mask.points, "labels": with_mask.labels},
            truth=sample.rles[with_mask.mask],
            answer=with_mask.answer,
        )

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """Mean IoU by number of clicks, in each way; the clicks that an IoU takes; the headline by source."""
        numbers, _ = mean_report(results, [name for way in WAYS for name in self.columns(way)])
        _, by_source = mean_report(results, self.columns(CLICKS), "mean IoU, %, by source")
        means = Means(results)
        found = {way: [means[name] for name in self.columns(way)] for way in WAYS}
        needed = {way: {goal: self._clicks_to(goal, way, results) for goal in GOALS} for way in WAYS}
        numbers["noc"] = {way: {str(goal): count for goal, count in needed[way].items()} for way in WAYS}
        lines = [[way, *map(percent, found[way]), *map(_count, needed[way].values())] for way in WAYS]
        headings = ["", *map(str, self._counts), *(f"NoC@{goal}" for goal in GOALS)]
        title = "mean IoU, %, after each click; NoC@85: clicks to reach 85 % (all, where it is not reached)"
        return Report(numbers, [Table(title, headings, lines), by_source], self._curves(found))

    def _clicks_to(self, goal: int, way: str, results: Sequence[PhotoResult]) -> float | None:
        """NoC: the mean over masks of the first click with at least this IoU, in %; all clicks where none has."""
        mean = Mean()
        for result in results:
            for row in result.rows:
                reached = (
                    count
                    for count, name in zip(self._counts, self.columns(way), strict=True)
                    if 100 * (row.scores[name] or 0) >= goal
                )
                mean.add(next(reached, self.clicks))
        return mean.value

    def _curves(self, found: dict[str, list[float | None]]) -> list[Curves]:
        if self.clicks == 1:
            return []
        lines = {
            way: [
                (float(count), 100 * value)
                for count, value in zip(self._counts, values, strict=True)
                if value is not None
            ]
            for way, values in found.items()
        }
        return [Curves("Clicks in the middle of the larger error", "clicks", "mean IoU, %", lines)]


@dataclass
class _Dialogue:
    """The clicks on one mask and what came of them.

    mask: its place in the sample. clicks: x, y, label. ious, oracle: after each click that was asked.
    logits: (h, w), the last answer's. answer: the final one; None while a click waits to be asked.
    """

    mask: int
    clicks: list[tuple[int, int, int]]
    ious: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    logits: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    answer: RLE | None = None

    def hear(self, mask: Masks, truth: NDArray[np.bool_], last: bool) -> None:
        """Score the model's answer and click where it errs, unless this was the last click."""
        binary = mask.binary[0]
        self.ious.append(iou(binary, truth))
        correction = None if last else corrective_click(binary, truth)
        if correction is None:
            self.answer = mask.rle[0]
            return
        self.clicks.append(correction)
        self.logits = mask.logits[0]

    @property
    def points(self) -> list[list[int]]:
        return [[x, y] for x, y, _ in self.clicks]

    @property
    def labels(self) -> list[int]:
        return [label for _, _, label in self.clicks]


def _middle(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    x, y, _ = deepest_pixel(mask)
    return x, y, FOREGROUND


def _count(mean: float | None) -> str:
    return "–" if mean is None else f"{mean:.2f}"

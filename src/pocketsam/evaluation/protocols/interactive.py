"""Interactive segmentation: how good is the mask after one click, and after each click that corrects it?

The protocol of SAM (arXiv 2304.02643, section 7.1 and its appendix) and of TinySAM (arXiv 2312.13789, Figure 4). The
first click is in the middle of the ground truth, each further one in the middle of the larger error: a foreground
click on what the mask lacks, a background click on what it has too much. A middle is the maximum of the distance
transform; of two errors the one with the deeper middle is the larger. Nothing is random, and a pixel may be clicked
twice.

Each mask is clicked in two ways, which part after the first click, as each corrects its own masks:

- "clicks": all clicks so far, with the logits of the mask before as mask input where the model takes a mask, as SAM
  was trained. The headline.
- "points only": all clicks so far, and no mask. For a model that takes none, the two are one.

"oracle" is the best of the mask and the three of the multimask output for each prompt of the first way: what a user
gets who chooses by eye.

A mask that equals the ground truth is not corrected any more, and its IoU stands for all further clicks.

NoC@80 is the mean number of clicks that IoU 0.80 takes, as the evaluations of interactive segmentation count it
(RITM, arXiv 2102.06583): at most 20 clicks by default, and a mask that never reaches it counts as all of them.
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
from pocketsam.evaluation.prompting import click_name, corrective_click
from pocketsam.evaluation.protocol import EvaluationProtocol
from pocketsam.evaluation.results import (
    Curves,
    Means,
    PhotoResult,
    Report,
    Row,
    Table,
    mean_report,
    percent,
)
from pocketsam.predict.masks import Masks
from pocketsam.predict.regions import deepest_pixel
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.options import counts, option
from pocketsam.utils.rle import RLE, areas

WAYS = CLICKS, POINTS_ONLY, ORACLE = "clicks", "points only", "oracle"
GOALS = 80, 85, 90
"""The IoUs, in %, for which clicks are counted: NoC@80, NoC@85 and NoC@90."""
SHOWN, EVERY = 5, 5
"""The mean IoU after each of the first SHOWN clicks is in the table, and after every EVERY further ones."""


def _last(text: str) -> int:
    """A single number of clicks."""
    numbers = counts(text)
    if len(numbers) > 1:
        raise InputError(f"interactive takes the last one alone, such as {numbers[-1]}")
    return numbers[0]


@dataclass(frozen=True)
class Interactive(EvaluationProtocol):
    """clicks: how many clicks each mask gets, at least 1. Raises InputError for fewer."""

    clicks: int = field(
        default=20,
        metadata=option(type=str, help="The most clicks that a mask gets.", metavar="K", read=_last),
    )

    name: ClassVar[str] = "interactive"
    summary: ClassVar[str] = "mean IoU after each of several corrective clicks (SAM, TinySAM)"
    description: ClassVar[str] = (
        "Clicks in the middle of each ground-truth mask, then repeatedly in the middle of the largest error, and"
        " compares the predicted mask after each click with the ground truth."
    )
    follows: ClassVar[str] = "SAM (arXiv 2304.02643), section 7.1; TinySAM (arXiv 2312.13789), Figure 4"
    results: ClassVar[dict[str, str]] = {
        "1, 2, 3 …": "mean IoU in % after so many clicks: with the previous mask as input, without it, and"
        " choosing each mask by its true IoU (oracle)",
        "NoC@80, NoC@85, NoC@90": "mean number of clicks until the IoU is 80, 85 or 90 %; the largest number where it"
        " is not reached",
    }

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
        """Click on every ground-truth mask of one image, and correct the predicted masks."""
        opened = segmenter.open(sample.image)
        takes_masks = segmenter.engine.config.takes_masks
        with_mask = [_Interaction(i, [_middle(mask)]) for i, mask in enumerate(sample.each_mask())]
        self._next_round(opened, sample, with_mask, oracle=True)
        # After the first click, which both share, each way goes on by itself.
        points_only = deepcopy(with_mask) if takes_masks else with_mask
        while waiting := [one for one in with_mask if one.answer is None]:
            self._next_round(opened, sample, waiting, feedback=takes_masks, oracle=True)
        while waiting := [one for one in points_only if one.answer is None]:
            self._next_round(opened, sample, waiting)
        rows = [
            self._row(sample, int(area), *both)
            for area, *both in zip(areas(sample.rles), with_mask, points_only, strict=True)
        ]
        return PhotoResult(photo, sample.name, sample.source, rows)

    def _next_round(
        self,
        opened: Photo,
        sample: Sample,
        interactions: Sequence["_Interaction"],
        feedback: bool = False,
        oracle: bool = False,
    ) -> None:
        """Decode the masks of all these interactions, which have equally many clicks, in one call."""
        candidates = opened.candidates(
            points=[one.points for one in interactions],
            labels=[one.labels for one in interactions],
            mask_input=np.stack([one.logits for one in interactions]) if feedback else None,
        )
        best, multimask = candidates.best(), candidates.ranked() if oracle else None
        for i, interaction in enumerate(interactions):
            truth = sample.mask(interaction.mask)
            if multimask is not None:
                choice = [best[i], *multimask[3 * i : 3 * i + 3]]
                interaction.oracle.append(max(iou(mask.binary[0], truth) for mask in choice))
            interaction.correct(best[i], truth, last=len(interaction.clicks) == self.clicks)

    def _row(self, sample: Sample, area: int, with_mask: "_Interaction", points_only: "_Interaction") -> Row:
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
        shown = [
            count for count in self._counts if count <= SHOWN or count % EVERY == 0 or count == self.clicks
        ]
        names = [click_name(count) for count in shown]
        _, by_source = mean_report(results, names, "mean IoU, %, by source")
        means = Means(results)
        found = {way: [means[name] for name in self.columns(way)] for way in WAYS}
        needed = {way: {goal: self._clicks_to(goal, way, results) for goal in GOALS} for way in WAYS}
        numbers["noc"] = {
            way: {str(goal): self._noc(clicks) for goal, clicks in needed[way].items()} for way in WAYS
        }
        lines = [
            [
                way,
                *(percent(found[way][count - 1]) for count in shown),
                *(_decimal(self._noc(clicks)) for clicks in needed[way].values()),
            ]
            for way in WAYS
        ]
        headings = ["", *map(str, shown), *(f"NoC@{goal}" for goal in GOALS)]
        title = (
            "mean IoU, %, after so many clicks; NoC@80: mean number of clicks to an IoU of 80 %"
            f" ({self.clicks}, where it is not reached)"
        )
        curves = [self._iou_curves(found), self._reached_curves(needed[CLICKS])] if means.masks else []
        return Report(numbers, [Table(title, headings, lines), by_source], curves if self.clicks > 1 else [])

    def _clicks_to(self, goal: int, way: str, results: Sequence[PhotoResult]) -> list[int | None]:
        """For each mask the first click after which its IoU is at least `goal` %; None where no click reaches it."""
        names = self.columns(way)
        return [
            next((i for i, name in enumerate(names, 1) if 100 * (row.scores[name] or 0) >= goal), None)
            for result in results
            for row in result.rows
        ]

    def _noc(self, clicks: Sequence[int | None]) -> float | None:
        """The mean number of clicks; a mask that does not reach the IoU counts as all clicks."""
        return float(np.mean([click or self.clicks for click in clicks])) if clicks else None

    def _iou_curves(self, found: dict[str, list[float | None]]) -> Curves:
        lines = {
            way: [
                (float(count), 100 * value)
                for count, value in zip(self._counts, values, strict=True)
                if value is not None
            ]
            for way, values in found.items()
        }
        return Curves("Clicks in the middle of the larger error", "clicks", "mean IoU, %", lines)

    def _reached_curves(self, needed: dict[int, list[int | None]]) -> Curves:
        """How many of the masks have reached each of the GOALS after so many clicks."""
        lines = {
            f"IoU {goal} %": [
                (
                    float(count),
                    100 * float(np.mean([click is not None and click <= count for click in clicks])),
                )
                for count in self._counts
            ]
            for goal, clicks in needed.items()
        }
        return Curves("Masks that have reached an IoU", "clicks", "masks, %", lines)


@dataclass
class _Interaction:
    """The clicks on one mask and the masks predicted from them.

    mask: its index in the sample. clicks: x, y, label. ious, oracle: after each click decoded so far.
    logits: (h, w), of the last mask. answer: the final mask; None while a click waits to be decoded.
    """

    mask: int
    clicks: list[tuple[int, int, int]]
    ious: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    logits: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    answer: RLE | None = None

    def correct(self, mask: Masks, truth: NDArray[np.bool_], last: bool) -> None:
        """Score the predicted mask and click where it is wrong, unless this was the last click."""
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


def _decimal(mean: float | None) -> str:
    return "–" if mean is None else f"{mean:.2f}"

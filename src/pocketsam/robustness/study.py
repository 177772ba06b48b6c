"""A study: photos are changed in several ways and to several degrees, and masks are compared with those before.

Each change of a photo depends on the seed, the photo's name and the change alone, so that neither workers nor an
interruption change a number. The random numbers of all levels are the same, so that levels differ in nothing else.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.sample import Dataset, Sample
from pocketsam.errors import InputError
from pocketsam.evaluation.output import EXAMPLES
from pocketsam.evaluation.protocol import EvaluationProtocol, OpenModel
from pocketsam.evaluation.results import Curves, Mean, PhotoResult, Report, Row, Table, percent
from pocketsam.robustness.pictures import Tile, sheet
from pocketsam.robustness.predictions import BOX, POINT, PROMPTS, Predictions, Targets, agreement, predict
from pocketsam.segmenter import Segmenter
from pocketsam.utils.options import counts, option, some_of

CLEAN, TRUTH = "clean", "truth"
"""What a mask is compared with: the mask of the unchanged photo, and the ground truth."""
TOLERANCE = 0.005
"""By how much a mean IoU may rise from one level to the next and still count as falling: half a point."""


@dataclass(frozen=True)
class Change:
    """One way to change a photo, to one degree."""

    kind: str
    level: int

    def __str__(self) -> str:
        return f"{self.kind} {self.level}"


def level_option(*default: int) -> Any:
    """The field of a study's levels: those that are measured by default."""
    declared = option(
        type=str, help="The levels of each change that are measured.", metavar="N,…", read=counts
    )
    return field(default=default, metadata=declared)


class Study(EvaluationProtocol):
    """A measurement of robustness; its command is one of `pocketsam robustness`."""

    group: ClassVar[str] = "robustness"
    shows_worst: ClassVar[bool] = False

    @property
    def headline(self) -> str:
        """None: the masks of a study are not in its rows."""
        return ""


def with_prompt(results: Sequence[PhotoResult], **facts: Any) -> list[PhotoResult]:
    """The results with only those rows whose prompt has these facts."""
    return [
        replace(
            one, rows=[row for row in one.rows if facts.items() <= {k: row.prompt[k] for k in facts}.items()]
        )
        for one in results
    ]


@dataclass(frozen=True)
class ChangeStudy(Study):
    """A study whose changes are of a photo as a whole.

    prompts: the kinds of prompts to measure. seed: a non-negative integer that fixes clicks and changes. levels: to
    which degrees each kind of change is made.
    Raises InputError for a level that the study does not have.
    """

    prompts: tuple[str, ...] = field(
        default=(BOX, POINT),
        metadata=option(
            type=str,
            help="The prompts to measure: box, point (a random click in the mask), everything (the proposal that"
            " overlaps the mask most).",
            metavar="NAME,…",
            read=some_of(PROMPTS, "prompt "),
        ),
    )
    seed: int = field(
        default=0,
        metadata=option(type=int, help="Fixes the random clicks and changes.", metavar="N", minimum=0),
    )
    levels: tuple[int, ...] = level_option(1, 2, 3, 4, 5)

    results: ClassVar[dict[str, str]] = {
        "IoU with the clean mask": "mean IoU in % of the masks of the changed and of the unchanged photo, by level",
        "truth": "mean IoU in % with the ground truth, over all levels",
        "degradation": "by how many points that is below the mean IoU of the unchanged photo",
        "falls": "whether the IoU with the clean mask falls from each level to the next, or where it does not",
    }
    kinds: ClassVar[dict[str, tuple[str, ...]]]
    """The kinds of changes, in groups, each of which is a plot of curves."""
    level_name: ClassVar[str] = "severity"
    all_levels: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 5)
    shown_level: ClassVar[int] = 3
    """Of the sheet of examples."""

    def __post_init__(self) -> None:
        unknown = [level for level in self.levels if level not in self.all_levels]
        if unknown:
            raise InputError(f"--levels {unknown[0]}: give some of {','.join(map(str, self.all_levels))}")

    @abstractmethod
    def apply(self, sample: Sample, change: Change, random: np.random.Generator) -> NDArray[np.uint8]:
        """The sample's photo (H, W, 3) after a change."""

    @property
    def changes(self) -> list[Change]:
        """All changes, kind by kind."""
        return [Change(kind, level) for kind in self._all_kinds for level in self.levels]

    @property
    def _all_kinds(self) -> list[str]:
        return [kind for group in self.kinds.values() for kind in group]

    def changed(self, sample: Sample, change: Change) -> NDArray[np.uint8]:
        """The sample's photo after a change, the same in every run."""
        random = np.random.default_rng([self.seed, 1, *f"{change.kind}/{sample.name}".encode()])
        return self.apply(sample, change, random)

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """The masks of the photo unchanged and after each change: a row for each change and mask."""
        targets = Targets.of(sample, self.seed)
        clean = predict(segmenter, sample.image, targets, self.prompts)
        rows = self._rows(targets, Change(CLEAN, 0), clean, clean)
        for change in self.changes:
            found = predict(segmenter, self.changed(sample, change), targets, self.prompts)
            rows += self._rows(targets, change, found, clean)
        return PhotoResult(photo, sample.name, sample.source, rows)

    def _rows(self, targets: Targets, change: Change, found: Predictions, clean: Predictions) -> list[Row]:
        scores = {
            _score(prompt, reference): agreement(found[prompt], masks)
            for prompt in self.prompts
            for reference, masks in ((CLEAN, clean[prompt]), (TRUTH, targets.sample.rles))
        }
        return [
            Row(
                number,
                targets.areas[i],
                {name: values[i] for name, values in scores.items()},
                {"change": change.kind, "level": change.level},
            )
            for i, number in enumerate(targets.sample.ids)
        ]

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """Mean IoU by change and level, for each kind of prompt; the degradation; curves."""
        means = _Means(results)
        numbers: dict[str, Any] = {
            "photos": sum(bool(result.rows) for result in results),
            "masks": means.masks,
            "mean_iou": {prompt: self._numbers(means, prompt) for prompt in self.prompts},
            "degradation": {prompt: self._degradation(means, prompt) for prompt in self.prompts},
            "rises": {prompt: self._rises(means, prompt) for prompt in self.prompts},
        }
        tables = [self._table(means, prompt) for prompt in self.prompts]
        curves = [self._curves(means, group) for group in self.kinds] if means.masks else []
        return Report(numbers, tables, curves)

    def _numbers(self, means: "_Means", prompt: str) -> dict[str, Any]:
        def of(change: Change) -> dict[str, float | None]:
            return {one: means.of(change, prompt, one) for one in (CLEAN, TRUTH)}

        return {
            CLEAN: of(Change(CLEAN, 0))[TRUTH],
            **{kind: {level: of(Change(kind, level)) for level in self.levels} for kind in self._all_kinds},
        }

    def _degradation(self, means: "_Means", prompt: str) -> dict[str, float]:
        """By how much the mean IoU with the ground truth is lower: for each kind, and the mean over the kinds."""
        before = means.of(Change(CLEAN, 0), prompt, TRUTH) or 0.0
        found = {kind: before - self._over_levels(means, kind, prompt, TRUTH) for kind in self._all_kinds}
        return {**found, "mean": float(np.mean(list(found.values())))}

    def _over_levels(self, means: "_Means", kind: str, prompt: str, reference: str) -> float:
        values = (means.of(Change(kind, level), prompt, reference) or 0.0 for level in self.levels)
        return float(np.mean(list(values)))

    def _rises(self, means: "_Means", prompt: str) -> dict[str, list[int]]:
        """The levels at which the mean IoU with the clean mask is higher than at the level before, by kind."""
        found = {}
        for kind in self._all_kinds:
            values = [means.of(Change(kind, level), prompt, CLEAN) or 0.0 for level in self.levels]
            steps = zip(pairwise(values), self.levels[1:], strict=True)
            found[kind] = [level for (before, after), level in steps if after > before + TOLERANCE]
        return {kind: levels for kind, levels in found.items() if levels}

    def _table(self, means: "_Means", prompt: str) -> Table:
        degradation, rises = self._degradation(means, prompt), self._rises(means, prompt)
        lines = []
        for kind in self._all_kinds:
            values = [means.of(Change(kind, level), prompt, CLEAN) for level in self.levels]
            truth = self._over_levels(means, kind, prompt, TRUTH)
            falls = "not at " + ", ".join(map(str, rises[kind])) if kind in rises else "yes"
            lines.append([kind, *map(percent, values), percent(truth), percent(degradation[kind]), falls])
        by_level = [
            float(np.mean([means.of(Change(kind, level), prompt, CLEAN) or 0.0 for kind in self._all_kinds]))
            for level in self.levels
        ]
        truth = float(np.mean([self._over_levels(means, kind, prompt, TRUTH) for kind in self._all_kinds]))
        lines.append(["mean", *map(percent, by_level), percent(truth), percent(degradation["mean"]), ""])
        before = percent(means.of(Change(CLEAN, 0), prompt, TRUTH))
        title = (
            f"{prompt}: mean IoU, %, with the mask of the unchanged photo, by {self.level_name}; with the ground"
            f" truth, over all of them ({before} unchanged), and the degradation in points"
        )
        headings = [prompt, *map(str, self.levels), "truth", "degradation", "falls"]
        return Table(title, headings, lines, total=True)

    def _curves(self, means: "_Means", group: str) -> Curves:
        """A line for each kind of a group: the mean IoU with the clean mask of the first kind of prompt."""
        prompt = self.prompts[0]
        lines = {
            kind: [
                (float(level), 100 * (means.of(Change(kind, level), prompt, CLEAN) or 0.0))
                for level in self.levels
            ]
            for kind in self.kinds[group]
        }
        return Curves(f"{group} ({prompt})", self.level_name, "mean IoU with the clean mask, %", lines)

    def pictures(
        self, results: Sequence[PhotoResult], dataset: Dataset, open_model: OpenModel
    ) -> dict[str, bytes]:
        """A sheet of the first photo: unchanged, and after each kind of change, with the masks of its boxes."""
        first = next(result.photo for result in results if result.rows)
        sample, segmenter = dataset.read(first).promptable(), open_model()
        targets = Targets.of(sample, self.seed)
        masks_of = partial(predict, segmenter, targets=targets, prompts=[BOX])
        tiles = [Tile("unchanged", sample.image, masks_of(sample.image)[BOX])]
        for kind in self._all_kinds:
            change = Change(kind, self.shown_level)
            image = self.changed(sample, change)
            tiles.append(Tile(str(change), image, masks_of(image)[BOX]))
        return {EXAMPLES: sheet(tiles)}


class _Means:
    """The mean of each score, by change; masks: how many masks there are."""

    def __init__(self, results: Sequence[PhotoResult]) -> None:
        self.masks = 0
        self._means: dict[tuple[Change, str], Mean] = {}
        for row in (row for result in results for row in result.rows):
            change = Change(row.prompt["change"], row.prompt["level"])
            self.masks += change.kind == CLEAN
            for name, value in row.scores.items():
                self._means.setdefault((change, name), Mean()).add(value)

    def of(self, change: Change, prompt: str, reference: str) -> float | None:
        """The mean IoU after a change by a kind of prompt; None where nothing was measured."""
        mean = self._means.get((change, _score(prompt, reference)))
        return None if mean is None else mean.value


def _score(prompt: str, reference: str) -> str:
    return f"{prompt}, {reference}"

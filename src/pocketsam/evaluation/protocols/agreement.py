"""Agreement with a teacher: how much alike are two models' masks for the same prompt?

The protocol of MobileSAM (arXiv 2306.14289): Table 2 prompts with one point, Table 7 with a foreground and a
background point at a fixed distance from each other. The teacher's mask counts as ground truth, so images need no
masks. The points are sampled from the whole image, wherever they fall, and each model gives the mask that its user
would get: of a single click's multimask output, the most confident one. Where both find nothing, they agree.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.config import BACKGROUND, FOREGROUND
from pocketsam.data.sample import Dataset, Sample
from pocketsam.errors import InputError
from pocketsam.evaluation.metrics import ious
from pocketsam.evaluation.prompting import sample_pair, sample_points
from pocketsam.evaluation.protocol import EvaluationProtocol, OpenModel
from pocketsam.evaluation.results import Curves, Means, PhotoResult, Report, Row, Table, mean_report, percent
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.options import option

POINT = "point"


@dataclass(frozen=True)
class Teacher(EvaluationProtocol):
    """against: opens the teacher, once in each process; it must be picklable to be used with workers.

    points: how many lone points an image gets, at least 1. distances: in image pixels, each of which gives an image
    one pair of points, if it is large enough. seed: a non-negative integer that fixes the points.
    Raises InputError for fewer points, and for distances below 1.
    """

    against: OpenModel = field(
        metadata=option(
            type=str,
            help="The model to compare with: a name, a folder or a file.",
            metavar="MODEL",
            names_model=True,
        )
    )
    points: int = 4
    distances: tuple[int, ...] = (100, 200, 300, 400, 500)
    seed: int = field(
        default=0, metadata=option(type=int, help="Fixes the random points.", metavar="N", minimum=0)
    )

    name: ClassVar[str] = "teacher"
    summary: ClassVar[str] = "mean IoU with the masks of another model (MobileSAM)"
    description: ClassVar[str] = (
        "Prompts two models with the same random points, and with pairs of a foreground and a background point, and"
        " compares their masks. The photos need no masks."
    )
    follows: ClassVar[str] = "MobileSAM (arXiv 2306.14289), Tables 2 and 7"
    results: ClassVar[dict[str, str]] = {
        "point": "mean IoU in % of the two models' masks for a single point",
        "100 px … 500 px": "the same for a foreground and a background point so many pixels apart",
        "prompts": "how many prompts each mean is taken over",
    }
    needs_masks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.points < 1:
            raise InputError(f"points is {self.points}, but a photo needs at least 1")
        if min(self.distances, default=1) < 1:
            raise InputError(
                f"a distance is {min(self.distances)} pixels, but two points are at least 1 apart"
            )

    @classmethod
    def build(
        cls, settings: Mapping[str, Any], dataset: Dataset, open_model: Callable[[str], OpenModel]
    ) -> "Teacher":
        return cls(**{**settings, "against": open_model(settings["against"])})

    @property
    def headline(self) -> str:
        return POINT

    @property
    def columns(self) -> list[str]:
        return [POINT, *map(_apart, self.distances)]

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """Prompt both models with the same points of one image: a row a prompt, numbered in the columns' order."""
        height, width = sample.image.shape[:2]
        sampled = [sample_pair((height, width), d, self.seed, sample.name) for d in self.distances]
        pairs = {i: pair for i, pair in enumerate(sampled) if pair is not None}
        points = sample_points((height, width), self.points, self.seed, sample.name)[:, None]
        student, teacher = segmenter.open(sample.image), _opened(self.against).open(sample.image)
        rows = self._compare(student, teacher, points, {i: POINT for i in range(self.points)})
        if pairs:
            names = {self.points + i: _apart(self.distances[i]) for i in pairs}
            rows += self._compare(student, teacher, np.stack(list(pairs.values())), names)
        return PhotoResult(photo, sample.name, sample.source, rows)

    def _compare(
        self, student: Photo, teacher: Photo, points: NDArray[np.float64], columns: dict[int, str]
    ) -> list[Row]:
        """The rows of N prompts (N, 1 or 2, 2), whose numbers and columns are given: one call to each model."""
        labels = np.tile([FOREGROUND, BACKGROUND][: points.shape[1]], (len(points), 1))
        masks, truth = (model.segment(points=points, labels=labels) for model in (student, teacher))
        found = ious(masks, (mask.binary[0] for mask in truth))
        return [
            Row(
                mask=number,
                area=int(truth.areas[i]),
                scores={name: found[i] if name == column else None for name in self.columns},
                prompt={"points": points[i].tolist(), "labels": labels[i].tolist()},
                truth=truth.rle[i],
                answer=masks.rle[i],
            )
            for i, (number, column) in enumerate(columns.items())
        ]

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """Mean IoU for a lone point and for pairs by their distance, and how many prompts each mean is of."""
        title = "mean IoU with the teacher's masks, %"
        numbers, by_source = mean_report(results, self.columns, f"{title}, by source")
        means = Means(results)
        prompts = {name: means.scores[name].count if means.masks else 0 for name in self.columns}
        # An image has one pair of each distance, unless it is too small for one.
        too_small = {name: means.photos - prompts[name] for name in self.columns if name != POINT}
        numbers |= {"prompts": prompts, "too_small_photos": too_small}
        lines = [
            ["mean IoU", *(percent(means[name]) for name in self.columns)],
            ["prompts", *(str(count) for count in prompts.values())],
        ]
        return Report(numbers, [Table(title, ["", *self.columns], lines), by_source], self._curves(means))

    def _curves(self, means: Means) -> list[Curves]:
        found = [(float(d), means[_apart(d)]) for d in sorted(self.distances)]
        pairs = [(d, 100 * value) for d, value in found if value is not None]
        point = [(d, 100 * (means[POINT] or 0)) for d, _ in pairs]
        if len(pairs) < 2:
            return []
        lines = {"a foreground and a background point": pairs, "a point alone": point}
        return [Curves("Agreement with the teacher", "pixels between the points", "mean IoU, %", lines)]


def _apart(distance: int) -> str:
    return f"{distance} px"


@lru_cache(maxsize=1)
def _opened(teacher: OpenModel) -> Segmenter:
    # Not kept in the protocol, which travels to workers.
    segmenter: Segmenter = teacher()
    return segmenter

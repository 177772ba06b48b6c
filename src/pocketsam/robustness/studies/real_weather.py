"""Real weather: photos in fog, rain, snow and sand, with boxes of road users and no masks.

Shan and Zhang (arXiv 2306.13290) show SAM's masks on such photos. Without ground truth, three figures stand in for
it: how much of a box its mask covers (an object fills most of its box), how much of the mask lies outside, and
how much two models agree. A mask that covers less than a fifth of its box has failed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pycocotools import mask as coco

from pocketsam.data.coco import CocoSet
from pocketsam.data.sample import Dataset, Sample
from pocketsam.errors import DataError, InputError
from pocketsam.evaluation.output import EXAMPLES
from pocketsam.evaluation.protocol import OpenModel
from pocketsam.evaluation.results import Means, PhotoResult, Report, Row, group_table, groups, percent
from pocketsam.robustness.others import Others, against_option, each_opened, openers
from pocketsam.robustness.pictures import Tile, sheet
from pocketsam.robustness.predictions import agreement
from pocketsam.robustness.study import Study
from pocketsam.segmenter import Segmenter
from pocketsam.utils.rle import RLE, boxes

FAILED = 0.2
"""The share of its box below which a mask counts as failed."""
COVERED, OUTSIDE, FAILURES = "covered", "outside", "failed"


class BoxSet(CocoSet):
    """A COCO JSON whose objects have boxes and no masks: the masks of its samples are the boxes.

    The `weather` of an image, where it has one, is the sample's source.
    """

    def __init__(self, annotations: Path, photos: Path | None = None) -> None:
        super().__init__(annotations, photos)
        for annotation in (one for some in self._annotations.values() for one in some):
            if box := annotation.get("bbox"):
                try:
                    x, y, width, height = map(float, box)
                except (TypeError, ValueError) as error:
                    raise DataError(
                        f"{annotations}: annotation {annotation.get('id')} has no bbox of four numbers"
                    ) from error
                corners = [x, y, x + width, y, x + width, y + height, x, y + height]
                annotation["segmentation"] = [corners]

    def read(self, i: int) -> Sample:
        """See `CocoSet.read`."""
        return replace(super().read(i), source=str(self._images[i].get("weather", "")))


@dataclass(frozen=True)
class RealWeather(Study):
    """against: the models with whose masks those of the measured one are compared."""

    against: Others | None = field(
        default=None, metadata=against_option("Compare the masks with those of this model")
    )

    name: ClassVar[str] = "real-weather"
    summary: ClassVar[str] = "photos in real weather, with boxes and no masks (Shan and Zhang)"
    description: ClassVar[str] = (
        "Prompts the model with the boxes of photos in real weather, and measures how much of each box the mask"
        " covers, and how much models agree. DATA is a COCO .json with boxes; the `weather` of its images groups the"
        " results."
    )
    follows: ClassVar[str] = "Shan and Zhang (arXiv 2306.13290)"
    results: ClassVar[dict[str, str]] = {
        "covered": "mean share of the box that the mask covers, in %",
        "outside": "mean share of the mask that is outside the box, in %",
        "failed": "how many of the masks cover less than 20 % of their box, in %",
        "a model's name": "mean IoU in % with the masks of that model",
    }
    shows_worst: ClassVar[bool] = True

    @classmethod
    def open_data(cls, paths: Sequence[Path], photos: Path | None) -> Dataset:
        """See `EvaluationProtocol.open_data`. Raises InputError for anything but one COCO JSON."""
        if len(paths) != 1 or paths[0].suffix.lower() != ".json":
            raise InputError(f"{paths[0]}: real-weather reads boxes from one COCO .json; give that alone")
        return BoxSet(paths[0], photos)

    @classmethod
    def build(
        cls, settings: Mapping[str, Any], dataset: Dataset, open_model: Callable[[str], OpenModel]
    ) -> "RealWeather":
        """See `EvaluationProtocol.build`."""
        return cls(openers(settings.get("against"), open_model))

    @property
    def headline(self) -> str:
        """The score by which the worst masks are chosen."""
        return COVERED

    @property
    def _columns(self) -> list[str]:
        return [COVERED, OUTSIDE, FAILURES, *(self.against or {})]

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """The masks of all boxes of one photo."""
        corners = boxes(sample.rles)
        masks = segmenter.open(sample.image).segment(boxes=corners).rle
        scores: dict[str, list[float]] = {COVERED: [], OUTSIDE: [], FAILURES: []} | {
            name: agreement(masks, other.open(sample.image).segment(boxes=corners).rle)
            for name, other in each_opened(self.against).items()
        }
        for mask, box in zip(masks, sample.rles, strict=True):
            inside, whole = _area(coco.merge([mask, box], intersect=True)), _area(mask)
            covered = inside / _area(box)
            scores[COVERED].append(covered)
            scores[OUTSIDE].append(1 - inside / whole if whole else 0.0)
            scores[FAILURES].append(float(covered < FAILED))
        rows = [
            Row(
                number,
                int(_area(sample.rles[i])),
                {name: values[i] for name, values in scores.items()},
                {"box": corners[i].tolist()},
                answer=masks[i],
            )
            for i, number in enumerate(sample.ids)
        ]
        return PhotoResult(photo, sample.name, sample.source, rows)

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """A line for each kind of weather."""
        parts = groups(results)
        numbers = {
            name: {"boxes": Means(part).masks, **{column: Means(part)[column] for column in self._columns}}
            for name, part in parts.items()
        }

        def cells(part: Sequence[PhotoResult]) -> list[str]:
            means = Means(part)
            return [percent(means[column]) for column in self._columns]

        table = group_table("masks from boxes in real weather, %", self._columns, parts, cells)
        return Report(numbers, [table])

    def pictures(
        self, results: Sequence[PhotoResult], dataset: Dataset, open_model: OpenModel
    ) -> dict[str, bytes]:
        """A sheet with two photos of each kind of weather."""
        segmenter, shown = open_model(), []
        for part in groups(results).values():
            shown += [result for result in part if result.rows and result not in shown][:2]
        tiles = []
        for result in shown:
            sample = dataset.read(result.photo).promptable()
            masks = segmenter.open(sample.image).segment(boxes=boxes(sample.rles)).rle
            tiles.append(Tile(result.source or result.name, sample.image, masks))
        return {EXAMPLES: sheet(tiles, columns=5, side=230)}


def _area(rle: RLE) -> float:
    return float(coco.area(rle))

"""Prompts mapped onto everything mode's masks, as FastSAM does, against the model's own prompts.

MobileSAM (arXiv 2306.14289, section 4.3 and Table 7) prompts with a foreground and a background point at a fixed
distance from each other, wherever they fall, and takes the masks of the model with prompts for the truth. That says
how much is lost by mapping, but not which of the two masks is better. So both are also compared with the ground
truth: the foreground point is then on one of its masks, and the background point is not; and the mask's box is a
prompt, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.apps.mapping import PromptMapping, masks_to_map, open_fastsam
from pocketsam.config import BACKGROUND, FOREGROUND
from pocketsam.data.sample import Sample
from pocketsam.errors import InputError
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.prompting import sample_pair, sample_pair_of_mask
from pocketsam.evaluation.protocol import EvaluationProtocol
from pocketsam.evaluation.results import Curves, Means, PhotoResult, Report, Row, Table, percent
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.boxes import tight_box
from pocketsam.utils.options import option
from pocketsam.utils.rle import RLE, areas, decode

BOX = "box"
AGREEMENT, MAPPED, OWN = "agreement", "mapped", "own prompts"
LABELS = [FOREGROUND, BACKGROUND]


@dataclass(frozen=True)
class Mapped(EvaluationProtocol):
    """fastsam: an ONNX file whose masks are mapped onto, instead of those of the model's own everything mode.

    distances: between the two points, in image pixels. seed: a non-negative integer that fixes the points.
    Raises InputError for distances below 1, ModelError where FastSAM's file cannot be used.
    """

    fastsam: Path | None = field(
        default=None,
        metadata=option(Path, "Map onto the masks of this FastSAM or YOLOv8-seg model.", metavar="FILE.onnx"),
    )
    distances: tuple[int, ...] = (100, 200, 300, 400, 500)
    seed: int = field(
        default=0, metadata=option(type=int, help="Fixes the random points.", metavar="N", minimum=0)
    )

    name: ClassVar[str] = "mapped"
    summary: ClassVar[str] = "prompts mapped onto everything mode's masks, against the model's own (FastSAM)"
    description: ClassVar[str] = (
        "Finds the masks of all objects first, and lets pairs of a foreground and a background point, and boxes,"
        " choose among them, as FastSAM does; and prompts the model itself with the same."
    )
    follows: ClassVar[str] = "MobileSAM (arXiv 2306.14289), Table 7; FastSAM (arXiv 2306.12156), section 3.2"
    results: ClassVar[dict[str, str]] = {
        "agreement": "mean IoU in % of the mapped masks with those of the model's own prompts, for random pairs",
        "mapped": "mean IoU in % of the mapped masks with the ground truth, for pairs and boxes",
        "own prompts": "the same for the masks that the model gives for the prompts themselves",
    }

    def __post_init__(self) -> None:
        if min(self.distances, default=1) < 1:
            raise InputError(
                f"a distance is {min(self.distances)} pixels, but two points are at least 1 apart"
            )
        if self.fastsam is not None:
            open_fastsam(self.fastsam)  # which says what is wrong with it before anything is measured

    @property
    def headline(self) -> str:
        return f"{BOX}: {MAPPED}"

    @property
    def prompts(self) -> list[str]:
        """What the kinds of prompts are called."""
        return [*map(_apart, self.distances), BOX]

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """A row for each random pair of points, and a row for each ground-truth mask, with its pairs and its box."""
        opened = segmenter.open(sample.image)
        mapping = masks_to_map(opened, self.fastsam)
        rows = self._agreement(opened, mapping, sample.name)
        rows += self._accuracy(opened, mapping, sample)
        return PhotoResult(photo, sample.name, sample.source, rows, {"proposals": float(len(mapping.rle))})

    def _agreement(self, photo: Photo, mapping: PromptMapping, name: str) -> list[Row]:
        """The mapped masks of pairs of points anywhere, compared with those of the model's own prompts."""
        sampled = {d: sample_pair(mapping.size, d, self.seed, name) for d in self.distances}
        pairs = {distance: pair for distance, pair in sampled.items() if pair is not None}
        rows = []
        for (distance, pair), own in zip(pairs.items(), _prompted(photo, list(pairs.values())), strict=True):
            mapped = mapping.of_points(pair, LABELS)
            scores = {f"{_apart(distance)}: {AGREEMENT}": iou(decode(mapped), decode(own))}
            prompt = {"points": pair.tolist(), "labels": LABELS}
            rows.append(Row(-distance, int(areas([own])[0]), {**self._none, **scores}, prompt, own, mapped))
        return rows

    def _accuracy(self, photo: Photo, mapping: PromptMapping, sample: Sample) -> list[Row]:
        """The masks of each ground-truth mask's prompts, mapped and the model's own, compared with it."""
        truths = dict(zip(sample.ids, sample.rles, strict=True))
        boxes = {number: tight_box(decode(truth)) for number, truth in truths.items()}
        pairs = {
            (number, distance): pair
            for number, truth in truths.items()
            for distance in self.distances
            if (pair := sample_pair_of_mask(decode(truth), distance, self.seed, sample.name, number))
            is not None
        }
        rows = {
            number: Row(
                number, int(areas([truth])[0]), dict(self._none), {"box": boxes[number].tolist()}, truth
            )
            for number, truth in truths.items()
        }

        def compare(number: int, prompt: str, mapped: RLE, own: RLE) -> None:
            truth = decode(truths[number])
            rows[number].scores[f"{prompt}: {MAPPED}"] = iou(decode(mapped), truth)
            rows[number].scores[f"{prompt}: {OWN}"] = iou(decode(own), truth)

        own = _prompted(photo, list(pairs.values()))
        for ((number, distance), pair), mask in zip(pairs.items(), own, strict=True):
            compare(number, _apart(distance), mapping.of_points(pair, LABELS), mask)
        own = photo.segment(boxes=np.stack(list(boxes.values()))).rle if boxes else []
        for (number, box), mask in zip(boxes.items(), own, strict=True):
            compare(number, BOX, chosen := mapping.of_box(box), mask)
            rows[number] = replace(rows[number], answer=chosen)
        return list(rows.values())

    @property
    def _none(self) -> dict[str, float | None]:
        """The scores that every row has."""
        pairs = [f"{name}: {AGREEMENT}" for name in self.prompts if name != BOX]
        return dict.fromkeys([*pairs, *(f"{name}: {way}" for name in self.prompts for way in (MAPPED, OWN))])

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """The three means by the kind of prompt, and how many prompts each is of."""
        means = Means(results)
        onto = self.fastsam.name if self.fastsam else "everything mode"
        lines = {
            f"mapped onto {onto}: IoU with the model's own prompts": AGREEMENT,
            f"mapped onto {onto}: IoU with the ground truth": MAPPED,
            "the model's own prompts: IoU with the ground truth": OWN,
        }
        numbers = {
            way: {name: means[f"{name}: {way}"] for name in self.prompts} for way in (AGREEMENT, MAPPED, OWN)
        }
        counts = {
            way: [
                means.scores[f"{name}: {way}"].count if f"{name}: {way}" in means.scores else 0
                for name in self.prompts
            ]
            for way in (AGREEMENT, OWN)
        }
        table = [[line, *map(percent, numbers[way].values())] for line, way in lines.items()]
        table += [
            ["random pairs", *map(str, counts[AGREEMENT])],
            ["prompts with ground truth", *map(str, counts[OWN])],
        ]
        proposals = [result.facts["proposals"] for result in results if "proposals" in result.facts]
        record = {
            "photos": len(proposals),
            "proposals_per_photo": float(np.mean(proposals)) if proposals else None,
            "mean_iou": numbers,
            "prompts": {way: dict(zip(self.prompts, count, strict=True)) for way, count in counts.items()},
        }
        title = f"mean IoU, %, on {len(proposals)} photos"
        return Report(record, [Table(title, ["", *self.prompts], table)], self._curves(numbers))

    def _curves(self, numbers: dict[str, dict[str, float | None]]) -> list[Curves]:
        lines = {
            way: [
                (float(d), 100 * value)
                for d in sorted(self.distances)
                if (value := numbers[way][_apart(d)]) is not None
            ]
            for way in (MAPPED, OWN)
        }
        title = "Prompts mapped onto masks, and prompts for masks"
        return (
            [Curves(title, "pixels between the points", "mean IoU, %", lines)] if all(lines.values()) else []
        )


def _apart(distance: int) -> str:
    return f"{distance} px"


def _prompted(photo: Photo, pairs: list[NDArray[np.float64]]) -> list[RLE]:
    """The model's own masks for pairs of points."""
    return photo.segment(points=np.stack(pairs), labels=[LABELS] * len(pairs)).rle if pairs else []

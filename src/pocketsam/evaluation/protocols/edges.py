"""Zero-shot edges: everything mode as an edge detector, by the benchmark of BSDS500 (SAM, section 7.2).

The ground truth is the boundaries of the photo's masks, which must be the regions of one or more annotators, one
annotator after the other. Where a set has all of BSDS500's annotators the figures are the benchmark's; where it has
two of them, the coarsest and the finest, a predicted edge that only a third one drew counts as wrong.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean
from typing import ClassVar

from pocketsam.apps.edges import POINTS_PER_SIDE, edge_map
from pocketsam.data.sample import Sample
from pocketsam.errors import InputError
from pocketsam.evaluation.boundaries import (
    Counts,
    average_precision,
    count,
    optimal_f,
    optimal_f_by_image,
    outlines,
    partitions,
    total,
)
from pocketsam.evaluation.protocol import EvaluationProtocol
from pocketsam.evaluation.results import Curves, PhotoResult, Report, Row, Table, percent
from pocketsam.segmenter import Segmenter
from pocketsam.utils.options import option

F = "F"


@dataclass(frozen=True)
class Edges(EvaluationProtocol):
    """source: only photos from these sources; all, if none is given. Raises InputError for numbers below 1."""

    points_per_side: int = field(
        default=POINTS_PER_SIDE,
        metadata=option(int, "Points a side of the grid of prompts.", metavar="N", minimum=1),
    )
    thresholds: int = field(
        default=33,
        metadata=option(
            int, "Thresholds of the edge map, evenly between 0 and 1; the benchmark has 99.", metavar="N"
        ),
    )
    source: tuple[str, ...] = field(
        default=(),
        metadata=option(
            list[str],
            "Measure only photos from this source, such as bsds-test; may be repeated.",
            metavar="SOURCE",
            read=tuple,
        ),
    )

    name: ClassVar[str] = "edges"
    summary: ClassVar[str] = "ODS, OIS and AP of the outlines of everything mode, as edges (SAM, BSDS500)"
    description: ClassVar[str] = (
        "Makes an edge map of the masks of a grid of points, and compares it with the boundaries of the photo's"
        " masks, which must be regions that cover the photo, of one annotator after the other."
    )
    follows: ClassVar[str] = (
        "SAM (arXiv 2304.02643), section 7.2 and appendix D.2; BSDS500 (Arbeláez et al., TPAMI 2011)"
    )
    results: ClassVar[dict[str, str]] = {
        "ODS": "the largest F-measure in % at one threshold for all photos",
        "OIS": "the F-measure in % at the best threshold of each photo",
        "AP": "average precision in %",
        "R50": "recall in % at a precision of 50 %",
    }
    shows_worst: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.thresholds < 1 or self.points_per_side < 1:
            raise InputError("thresholds and points_per_side are whole numbers from 1 on")

    @property
    def headline(self) -> str:
        return F

    @property
    def levels(self) -> list[float]:
        """The thresholds, evenly between 0 and 1."""
        return [(i + 1) / (self.thresholds + 1) for i in range(self.thresholds)]

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """The counts of one image at each threshold."""
        if self.source and sample.source not in self.source:
            return PhotoResult(photo, sample.name, sample.source)
        truths = [outlines(regions) for regions in partitions(list(sample.each_mask()))]
        edges = edge_map(segmenter.open(sample.image), self.points_per_side)
        counts = count(edges, truths, self.levels)
        row = Row(photo, counts[0].true, {F: max(one.f for one in counts)})
        facts = {"annotators": float(len(truths))}
        return PhotoResult(photo, sample.name, sample.source, [row], facts, [asdict(one) for one in counts])

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """The benchmark's figures over all images, and the curve of precision and recall."""
        measured = [result for result in results if result.rows]
        photos = [[Counts(**one) for one in result.detections] for result in measured]
        if not photos:
            return Report({"photos": 0}, [])
        ods, at = optimal_f(photos)
        curve = total(photos)
        numbers = {
            "ODS": ods,
            "OIS": optimal_f_by_image(photos),
            "AP": average_precision(photos),
            "R50": max((one.recall for one in curve if one.precision >= 0.5), default=0.0),
        }
        annotators = mean(result.facts["annotators"] for result in measured)
        line = [
            str(len(photos)),
            f"{annotators:.1f}",
            *map(percent, numbers.values()),
            f"{self.levels[at]:.2f}",
        ]
        headings = ["photos", "annotators a photo", *(f"{name}, %" for name in numbers), "threshold of ODS"]
        points = sorted((100 * one.recall, 100 * one.precision) for one in curve if one.found)
        return Report(
            {"photos": len(photos), **numbers, "threshold": self.levels[at]},
            [Table("Everything mode's outlines as edges", headings, [line])],
            [Curves("Edges at each threshold", "recall, %", "precision, %", {"edges": points})],
        )

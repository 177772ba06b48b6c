"""Segment-anything metrics: how good is the mask you get for a box, for one click, for three clicks?

The protocol of EfficientSAM (arXiv 2312.00863, Table 4): clicks are drawn uniformly among the pixels of the
true mask, the box is its tightest box, and the mask compared is the one the user would get (for a lone click
the most confident: the segmenter's own rule). IoU is taken at the photo's resolution; the mean is
over masks. A photo is encoded once, and each kind of prompt is decoded in one call for all its masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.sa1b import Sample
from pocketsam.masks import Masks
from pocketsam.segmenter import Segmenter

if TYPE_CHECKING:
    from rich.table import Table

PROMPTS = ("box", "1 click", "3 clicks")


@dataclass(frozen=True)
class PhotoScore:
    """What one photo adds to the result.

    iou (N, 3) float64: a row for each of the photo's N masks that have pixels, a column for each of PROMPTS.
    empty: how many of its true masks have none, and so cannot be prompted.
    """

    source: str
    iou: NDArray[np.float64]
    empty: int


@dataclass
class Tally:
    """Counts of photos and masks, and the mean IoU over the masks."""

    photos: int = 0
    masks: int = 0
    empty: int = 0
    iou_sum: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(PROMPTS)))

    def add(self, score: PhotoScore) -> None:
        self.photos += 1
        self.masks += len(score.iou)
        self.empty += score.empty
        self.iou_sum = self.iou_sum + score.iou.sum(axis=0)

    @property
    def mean_iou(self) -> dict[str, float | None]:
        """Mean IoU over the masks for each of PROMPTS, 0 to 1; None where there is no mask."""
        if not self.masks:
            return dict.fromkeys(PROMPTS)
        return dict(zip(PROMPTS, (self.iou_sum / self.masks).tolist(), strict=True))

    @property
    def percent(self) -> list[str]:
        """The means for people: "71.3", or a dash where there is no mask."""
        return ["–" if mean is None else f"{100 * mean:.1f}" for mean in self.mean_iou.values()]

    def to_dict(self) -> dict[str, Any]:
        return {
            "photos": self.photos,
            "masks": self.masks,
            "empty_masks": self.empty,
            "mean_iou": self.mean_iou,
        }


@dataclass
class Result:
    """A tally over everything, and one for each source of photos."""

    overall: Tally = field(default_factory=Tally)
    sources: dict[str, Tally] = field(default_factory=dict)

    def add(self, score: PhotoScore) -> None:
        self.overall.add(score)
        self.sources.setdefault(score.source, Tally()).add(score)

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.overall.to_dict(),
            "sources": {name: self.sources[name].to_dict() for name in sorted(self.sources)},
        }

    def table(self) -> Table:
        """Mean IoU in percent, a source a line, all masks in the last."""
        from rich.table import Table

        table = Table(title="mean IoU, %", title_justify="left")
        table.add_column("source", overflow="fold")
        for heading in ("photos", "masks", *PROMPTS):
            table.add_column(heading, justify="right")
        for name in sorted(self.sources):
            table.add_row(*_cells(name, self.sources[name]))
        table.add_section()
        table.add_row(*_cells("all", self.overall), style="bold")
        return table


def evaluate(
    segmenter: Segmenter,
    samples: Iterable[Sample],
    seed: int = 0,
    after_photo: Callable[[Result], None] | None = None,
) -> Result:
    """Score every photo of `samples`; `after_photo` sees the result so far after each one.

    seed: a non-negative integer that fixes the clicks; neither order nor number of photos changes them.
    Raises DataError where a sample cannot be read.
    """
    result = Result()
    for sample in samples:
        result.add(score_photo(segmenter, sample, seed))
        if after_photo:
            after_photo(result)
    return result


def score_photo(segmenter: Segmenter, sample: Sample, seed: int = 0) -> PhotoScore:
    """Prompt `segmenter` for each true mask of one photo, in each of the three ways."""
    masks = sample.masks()
    present = np.flatnonzero(masks.any(axis=(1, 2)))
    empty = len(masks) - len(present)
    if not len(present):
        return PhotoScore(sample.source, np.empty((0, len(PROMPTS))), empty)

    truth = masks if not empty else masks[present]
    boxes = np.stack([tightest_box(mask) for mask in truth])
    clicks = np.stack([draw_clicks(masks[index], 3, seed, sample.name, index) for index in present.tolist()])
    photo = segmenter.open(sample.image)
    columns = [
        iou(photo.segment(boxes=boxes), truth),
        iou(photo.segment(points=clicks[:, :1]), truth),
        iou(photo.segment(points=clicks), truth),
    ]
    return PhotoScore(sample.source, np.stack(columns, axis=-1), empty)


def tightest_box(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The smallest box around a mask (H, W) that has pixels: (4,) XYXY, pixel edges (x1 = last + 1)."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def draw_clicks(
    mask: NDArray[np.bool_], count: int, seed: int, name: str, annotation: int
) -> NDArray[np.int64]:
    """`count` independent uniform draws among the pixels of a mask (H, W) that has some: (count, 2) x, y.

    The generator is seeded by (seed, photo, annotation), so that a mask gets the same clicks whatever is
    measured before it. Pixel indices: the model adds the half pixel to a pixel's centre itself.
    """
    rows, columns = np.nonzero(mask)
    generator = np.random.default_rng([seed, annotation, *name.encode()])
    chosen = generator.integers(len(rows), size=count)
    return np.stack([columns[chosen], rows[chosen]], axis=-1)


def iou(predicted: Masks, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of N predicted masks with N true ones (N, H, W) that have pixels: (N,)."""
    # One predicted mask at a time at the photo's resolution: all of them could be gigabytes.
    pairs = ((one.binary[0], true) for one, true in zip(predicted, truth, strict=True))
    return np.array([np.count_nonzero(ours & true) / np.count_nonzero(ours | true) for ours, true in pairs])


def _cells(name: str, tally: Tally) -> list[str]:
    return [name, str(tally.photos), str(tally.masks), *tally.percent]

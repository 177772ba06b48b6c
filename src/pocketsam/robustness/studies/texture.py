"""Texture against shape: when the two disagree, which one does the mask follow?

The study of Zhang et al. (arXiv 2311.11465), who find that SAM follows texture: a patch of texture is segmented with
or without an outline, an outline without a texture of its own is not. The shape of each picture is the outline of a
photo's largest object, and its textures are made:

- "texture, no outline": the shape has another texture than the background.
- "texture and outline": the same, with a black line around it.
- "outline alone": the background's texture goes on inside a black line.
- "conflict": the line is around the shape, and the other texture fills a disc of the same area that overlaps it. The
  click is in both. A mask that has an IoU of at least one half with either counts as a choice of the one with which
  its IoU is larger; the shape bias is the share of the choices for the shape.
- "overlapping textures": the disc has a third texture and lies on the shape, which has the other; the click is where
  they overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.data.sample import Dataset, Sample
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.output import EXAMPLES
from pocketsam.evaluation.protocol import OpenModel
from pocketsam.evaluation.results import Means, PhotoResult, Report, Row, Table, percent
from pocketsam.predict.regions import deepest_pixel
from pocketsam.robustness.pictures import Tile, sheet
from pocketsam.robustness.studies.style import texture
from pocketsam.robustness.study import Study, with_prompt
from pocketsam.segmenter import Segmenter
from pocketsam.utils.options import option
from pocketsam.utils.rle import areas, encode

SETUPS = PLAIN, OUTLINED, OUTLINE, CONFLICT, OVERLAP = (
    "texture, no outline",
    "texture and outline",
    "outline alone",
    "conflict",
    "overlapping textures",
)
SHAPE, TEXTURE = "shape", "texture"
CHOSEN = 0.5
"""The IoU from which a mask counts as a choice."""


@dataclass(frozen=True)
class TextureAgainstShape(Study):
    """seed: a non-negative integer that fixes textures and discs."""

    seed: int = field(
        default=0,
        metadata=option(type=int, help="Fixes the random textures and discs.", metavar="N", minimum=0),
    )

    name: ClassVar[str] = "texture"
    summary: ClassVar[str] = "texture against shape: which one do masks follow? (Zhang et al.)"
    description: ClassVar[str] = (
        "Makes pictures of textures with the shape of each photo's largest object, with and without outlines and with"
        " texture and outline in conflict, and compares the masks of a click with both."
    )
    follows: ClassVar[str] = "Zhang et al. (arXiv 2311.11465)"
    results: ClassVar[dict[str, str]] = {
        "shape, texture": "mean IoU in % with the outlined shape, and with the region of a texture",
        "shape bias": "of the masks that follow either in a conflict, how many follow the shape, in %",
    }

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """A row for each setup."""
        cues = _Cues.of(sample, self.seed)
        rows = []
        for setup in SETUPS:
            mask = cues.clicked(segmenter, setup)
            scores = {SHAPE: iou(mask, cues.shape), TEXTURE: iou(mask, cues.region(setup))}
            point = list(cues.click(setup))
            rows.append(
                Row(cues.number, int(cues.shape.sum()), {**scores}, {"setup": setup, "points": [point]})
            )
        return PhotoResult(photo, sample.name, sample.source, rows)

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """A line for each setup, and the shape bias."""
        means = {setup: Means(with_prompt(results, setup=setup)) for setup in SETUPS}
        choices, shape_bias = _bias(with_prompt(results, setup=CONFLICT))
        numbers = {
            "photos": means[CONFLICT].photos,
            "mean_iou": {setup: {cue: one[cue] for cue in (SHAPE, TEXTURE)} for setup, one in means.items()},
            "choices": choices,
            "shape_bias": shape_bias,
        }
        lines = [
            [setup, str(one.photos), percent(one[SHAPE]), percent(one[TEXTURE])]
            for setup, one in means.items()
        ]
        bias = [CONFLICT, f"{choices} of {means[CONFLICT].photos}", percent(shape_bias)]
        return Report(
            numbers,
            [
                Table("mean IoU, %, of the mask of a click", ["", "photos", SHAPE, TEXTURE], lines),
                Table(
                    "shape bias, %, of the masks that follow either", ["", "choices", "shape bias"], [bias]
                ),
            ],
        )

    def pictures(
        self, results: Sequence[PhotoResult], dataset: Dataset, open_model: OpenModel
    ) -> dict[str, bytes]:
        """A sheet of the first photos: each setup with the click and its mask."""
        segmenter, tiles = open_model(), []
        for result in [result for result in results if result.rows][:3]:
            cues = _Cues.of(dataset.read(result.photo).promptable(), self.seed)
            for setup in SETUPS:
                mask = encode(cues.clicked(segmenter, setup))
                tiles.append(Tile(setup, cues.picture(setup), [mask], [cues.click(setup)]))
        return {EXAMPLES: sheet(tiles, columns=len(SETUPS), side=200)}


@dataclass(frozen=True)
class _Cues:
    """The shape (H, W) of an object, a disc (H, W) that overlaps it, and three textures (H, W, 3)."""

    number: int
    shape: NDArray[np.bool_]
    disc: NDArray[np.bool_]
    textures: list[NDArray[np.float32]]

    @classmethod
    def of(cls, sample: Sample, seed: int) -> "_Cues":
        """Those of the sample's largest object; the disc's middle is a random pixel of its edge."""
        random = np.random.default_rng([seed, *f"cues/{sample.name}".encode()])
        largest = int(areas(sample.rles).argmax())
        shape = sample.mask(largest)
        height, width = shape.shape
        inner = cv2.erode(np.pad(shape, 1).view(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
        rows, columns = np.nonzero(shape & ~inner)
        chosen = int(random.integers(len(rows)))
        y, x = np.mgrid[0:height, 0:width]
        disc = np.hypot(x - columns[chosen], y - rows[chosen]) <= max(1.0, np.sqrt(shape.sum() / np.pi))
        return cls(sample.ids[largest], shape, disc, [texture(height, width, random) for _ in range(3)])

    def region(self, setup: str) -> NDArray[np.bool_]:
        """Where the texture is on which the click is."""
        return self.disc if setup in (CONFLICT, OVERLAP) else self.shape

    def click(self, setup: str) -> tuple[int, int]:
        """x, y in the middle of the shape or, where there is a disc, of what both have in common."""
        x, y, _ = deepest_pixel(self.shape & self.region(setup))
        return x, y

    def clicked(self, segmenter: Segmenter, setup: str) -> NDArray[np.bool_]:
        """The mask (H, W) for the click in a setup's picture."""
        return np.asarray(segmenter.open(self.picture(setup)).segment(points=self.click(setup)).binary[0])

    def picture(self, setup: str) -> NDArray[np.uint8]:
        """The picture (H, W, 3) of a setup."""
        background, other, third = self.textures
        pixels = background.copy()
        if setup in (PLAIN, OUTLINED, OVERLAP):
            pixels[self.shape] = other[self.shape]
        if setup == CONFLICT:
            pixels[self.disc] = other[self.disc]
        if setup == OVERLAP:
            pixels[self.disc] = third[self.disc]
        found = np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)
        if setup in (OUTLINED, OUTLINE, CONFLICT):
            contours, _ = cv2.findContours(
                self.shape.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(found, contours, -1, (0, 0, 0), 2)
        return found


def _bias(results: Sequence[PhotoResult]) -> tuple[int, float | None]:
    """How many masks follow shape or texture, and which share of these the shape."""
    pairs = [(row.scores[SHAPE] or 0.0, row.scores[TEXTURE] or 0.0) for one in results for row in one.rows]
    choices = [shape > other for shape, other in pairs if max(shape, other) >= CHOSEN]
    return len(choices), float(np.mean(choices)) if choices else None

"""Glass and mirrors: does a click find the pane, what is behind it, or what it reflects?

The question of Han et al. (arXiv 2305.00278), who find that SAM often segments what is seen through glass and in
mirrors, and not the glass. Here a pane with a known mask is put into each photo: "opaque" to compare with; "clear",
which bends and tints what is behind it a little and has a bright edge; "reflecting", which shows the photo the other
way round as well; and "mirror", which shows that alone. The clicks are those that the paper tells apart:

- interior: in the middle of the pane, as is its box. Figures are the IoU with the pane.
- exterior: beside the pane. The figure is the share of the pane that the mask takes with it; less is better.
- reflection: on an object that the pane reflects. Figures are the IoU with the pane, and with the reflected object.

The photos' own objects are measured beside them by source, as some sources are of real glass.
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
from pocketsam.evaluation.results import (
    Means,
    PhotoResult,
    Report,
    Row,
    Scores,
    Table,
    group_table,
    groups,
    percent,
)
from pocketsam.predict.regions import deepest_pixel
from pocketsam.robustness.pictures import Tile, sheet
from pocketsam.robustness.study import Study, with_prompt
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.boxes import tight_box
from pocketsam.utils.options import option
from pocketsam.utils.rle import areas, encode

PANES = OPAQUE, CLEAR, REFLECTING, MIRROR = "opaque", "clear", "reflecting", "mirror"
OWN = "the photo's own objects"
BOX, INTERIOR, EXTERIOR, REFLECTION, REFLECTED = (
    "box",
    "interior",
    "exterior",
    "reflection",
    "reflected object",
)
SCORES = BOX, INTERIOR, EXTERIOR, REFLECTION, REFLECTED
LEAST, BESIDE = 100, 12
"""The pixels of a reflected object that can be clicked on; how far beside the pane the exterior click is at most."""


@dataclass(frozen=True)
class Glass(Study):
    """seed: a non-negative integer that fixes the panes."""

    seed: int = field(
        default=0, metadata=option(type=int, help="Fixes the random panes.", metavar="N", minimum=0)
    )

    name: ClassVar[str] = "glass"
    summary: ClassVar[str] = "panes of glass and mirrors with known masks (Han et al.)"
    description: ClassVar[str] = (
        "Puts a pane into each photo that is opaque, clear, reflecting or a mirror, and clicks inside, outside and on"
        " reflected objects."
    )
    follows: ClassVar[str] = "Han et al. (arXiv 2305.00278), with panes that are made"
    results: ClassVar[dict[str, str]] = {
        "box, interior": "mean IoU in % with the pane",
        "exterior": "mean share in % of the pane that the mask of a click beside it takes with it; less is better",
        "reflection, reflected object": "mean IoU in % with the pane, and with a reflected object, for a click on it",
    }

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """A row for each pane, and one for each of the photo's own objects."""
        pane = _Pane.of(sample, self.seed)
        rows = [
            Row(-1 - i, int(pane.mask.sum()), pane.scores(segmenter, kind), {"pane": kind})
            for i, kind in enumerate(PANES)
        ]
        opened = segmenter.open(sample.image)
        for number, area, mask in zip(sample.ids, areas(sample.rles), sample.each_mask(), strict=True):
            rows.append(Row(number, int(area), _inside(opened, mask), {"pane": OWN}))
        return PhotoResult(photo, sample.name, sample.source, rows)

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """A line for each kind of pane; the photos' own objects by source."""
        means = {kind: Means(with_prompt(results, pane=kind)) for kind in (*PANES, OWN)}
        lines = [[kind, *(percent(one[name]) for name in SCORES)] for kind, one in means.items()]

        def cells(part: Sequence[PhotoResult]) -> list[str]:
            own = Means(with_prompt(part, pane=OWN))
            return [percent(own[BOX]), percent(own[INTERIOR])]

        numbers = {kind: {name: one[name] for name in SCORES} for kind, one in means.items()}
        title = "mean IoU with the pane, %; exterior: share of the pane that the mask takes, %"
        tables = [
            Table(title, ["pane", *SCORES], lines),
            group_table(
                "the photos' own objects: mean IoU, %",
                [BOX, INTERIOR],
                groups(with_prompt(results, pane=OWN)),
                cells,
            ),
        ]
        return Report({"photos": means[OPAQUE].masks, "panes": numbers}, tables)

    def pictures(
        self, results: Sequence[PhotoResult], dataset: Dataset, open_model: OpenModel
    ) -> dict[str, bytes]:
        """A sheet of the first photos: each pane with the mask of its interior click."""
        segmenter, tiles = open_model(), []
        for result in [result for result in results if result.rows][:3]:
            pane = _Pane.of(dataset.read(result.photo).promptable(), self.seed)
            x, y, _ = deepest_pixel(pane.mask)
            for kind in PANES:
                image = pane.compose(kind)
                mask = _clicked(segmenter.open(image), (x, y))
                tiles.append(Tile(f"{kind}, {INTERIOR} click", image, [encode(mask)], [(x, y)]))
        return {EXAMPLES: sheet(tiles, columns=4, side=200)}


@dataclass(frozen=True)
class _Pane:
    """A pane in a photo. mask, edge: (H, W) bool. colour: (3,) of the opaque one."""

    sample: Sample
    mask: NDArray[np.bool_]
    edge: NDArray[np.bool_]
    colour: NDArray[np.float64]

    @classmethod
    def of(cls, sample: Sample, seed: int) -> "_Pane":
        """A rectangle or an ellipse, turned a little, a third to a half of the photo wide and high."""
        random = np.random.default_rng([seed, *f"pane/{sample.name}".encode()])
        height, width = sample.image.shape[:2]
        size = random.uniform(1 / 3, 1 / 2, 2) * (width, height)
        low, high = 0.6 * size, (width, height) - 0.6 * size
        middle = random.uniform(low, high)
        shape = (tuple(middle.tolist()), tuple(size.tolist()), float(random.uniform(-12, 12)))
        drawn = np.zeros((height, width), np.uint8)
        if random.random() < 0.5:
            cv2.ellipse(drawn, shape, 1, cv2.FILLED)
        else:
            cv2.fillPoly(drawn, [np.rint(cv2.boxPoints(shape)).astype(np.int32)], 1)
        inner = cv2.erode(drawn, np.ones((3, 3), np.uint8), iterations=2)
        return cls(sample, drawn > 0, drawn > inner, random.uniform(40, 215, 3))

    def compose(self, kind: str) -> NDArray[np.uint8]:
        """The photo (H, W, 3) with a pane of this kind."""
        photo = self.sample.image.astype(np.float64)
        behind = 0.93 * cv2.GaussianBlur(np.roll(photo, (3, 5), (0, 1)), (0, 0), 0.8)
        reflection = photo[:, ::-1]
        pane = {
            OPAQUE: np.broadcast_to(self.colour, photo.shape),
            CLEAR: behind + 4,
            REFLECTING: 0.65 * behind + 0.4 * reflection,
            MIRROR: 0.95 * reflection,
        }[kind]
        composed = np.where(self.mask[..., None], pane, photo)
        composed[self.edge] += 30
        return np.asarray(np.clip(np.rint(composed), 0, 255), np.uint8)

    def scores(self, segmenter: Segmenter, kind: str) -> Scores:
        """What boxes and clicks find of a pane of this kind."""
        opened = segmenter.open(self.compose(kind))
        x, y, _ = deepest_pixel(self._beside())
        outside = _clicked(opened, (x, y))
        found: Scores = {
            **_inside(opened, self.mask),
            EXTERIOR: float((outside & self.mask).sum() / self.mask.sum()),
            REFLECTION: None,
            REFLECTED: None,
        }
        reflected = self._reflected()
        if kind in (REFLECTING, MIRROR) and reflected is not None:
            x, y, _ = deepest_pixel(reflected)
            clicked = _clicked(opened, (x, y))
            found |= {REFLECTION: iou(clicked, self.mask), REFLECTED: iou(clicked, reflected)}
        return found

    def _beside(self) -> NDArray[np.bool_]:
        """A strip (H, W) around the pane."""
        grown = cv2.dilate(self.mask.view(np.uint8), np.ones((3, 3), np.uint8), iterations=BESIDE)
        return np.asarray((grown > 0) & ~self.mask)

    def _reflected(self) -> NDArray[np.bool_] | None:
        """What the pane shows of the largest reflected object, (H, W); None if that is next to nothing."""
        shown = [mask[:, ::-1] & self.mask for mask in self.sample.each_mask()]
        largest = max(shown, key=np.count_nonzero)
        return largest if np.count_nonzero(largest) >= LEAST else None


def _inside(opened: Photo, mask: NDArray[np.bool_]) -> Scores:
    """The IoUs for the box of a mask (H, W), and for a click in its middle."""
    x, y, _ = deepest_pixel(mask)
    by_box = opened.segment(boxes=tight_box(mask)).binary[0]
    return {BOX: iou(by_box, mask), INTERIOR: iou(_clicked(opened, (x, y)), mask)}


def _clicked(opened: Photo, point: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (H, W) for a click."""
    return np.asarray(opened.segment(points=point).binary[0])

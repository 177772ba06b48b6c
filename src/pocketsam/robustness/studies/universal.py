"""A universal perturbation: does one pattern, made with other photos, take the masks away in photos it never saw?

Attack-SAM (Zhang et al. 2023, arXiv 2305.00866) attacks each photo by itself. A pattern that works for all photos
(Moosavi-Dezfooli et al., arXiv 1610.08401) needs no gradients where it is used. It is made with random points of the
photos of --fit, and measured on one object in each photo of DATA, with the same prompts and defences as attacks are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.datasets import open_dataset
from pocketsam.data.sample import Dataset, Sample
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.output import EXAMPLES
from pocketsam.evaluation.prompting import sample_points
from pocketsam.evaluation.protocol import OpenModel
from pocketsam.evaluation.results import Means, PhotoResult, Report, Row, Table, percent
from pocketsam.predict.prompts import Prompts
from pocketsam.robustness.attacks.case import Case, as_jpeg, resized, white_box
from pocketsam.robustness.others import Others, against_option, each_opened, surrogate_option, with_gradients
from pocketsam.robustness.pictures import Tile, sheet
from pocketsam.robustness.study import Study, with_prompt
from pocketsam.segmenter import Segmenter
from pocketsam.utils.options import counts, option
from pocketsam.utils.progress import Progress
from pocketsam.utils.rle import encode

if TYPE_CHECKING:
    from pocketsam.robustness.attacks.network import WhiteBox

CLICK, BOX, JPEG, RESIZED, NOISE = "click", "box", "JPEG", "resized", "random noise"
SCORES = CLICK, BOX, JPEG, RESIZED, NOISE
THRESHOLD = 2.0
"""See `attacks.goals`."""


@dataclass(frozen=True)
class Universal(Study):
    """fit: the photos with which the pattern is made. surrogate, against: as in `Attacks`."""

    fit: Path = field(
        metadata=option(
            type=Path,
            help="The photos with which the perturbation is made, others than DATA: a shard or a folder.",
            metavar="DATA",
        )
    )
    fit_photos: int = field(
        default=32, metadata=option(type=int, help="How many of them.", metavar="N", minimum=1)
    )
    passes: int = field(
        default=4, metadata=option(type=int, help="How often each of them is used.", metavar="N", minimum=1)
    )
    points: int = field(
        default=16,
        metadata=option(
            type=int, help="How many random points of each are attacked together.", metavar="K", minimum=1
        ),
    )
    epsilons: tuple[int, ...] = field(
        default=(8,),
        metadata=option(
            type=str, help="The largest changes of a pixel, in grey levels.", metavar="N,…", read=counts
        ),
    )
    step_size: float = field(
        default=1.0, metadata=option(type=float, help="The length of a step, in grey levels.", metavar="X")
    )
    surrogate: OpenModel | None = field(default=None, metadata=surrogate_option())
    against: Others | None = field(
        default=None,
        metadata=against_option("Also measure this model with the same photos (transfer)"),
        hash=False,  # a dict has none, and patterns are kept by study
    )
    seed: int = field(
        default=0,
        metadata=option(type=int, help="Fixes points, objects and clicks.", metavar="N", minimum=0),
    )

    name: ClassVar[str] = "universal"
    summary: ClassVar[str] = "one perturbation for all photos, made with others (Moosavi-Dezfooli et al.)"
    description: ClassVar[str] = (
        "Makes one pattern of a few grey levels that takes masks away from the photos of --fit, adds it to each"
        " photo, and compares the mask of a click with that of the clean photo. The pattern is made when the first"
        " photo is measured. The engine must compute gradients: give --engine torch, or another model as --surrogate."
    )
    follows: ClassVar[str] = "universal perturbations (arXiv 1610.08401, found as in 1811.11304)"
    results: ClassVar[dict[str, str]] = {
        "click, box": "mean IoU in % of the masks of the changed and of the clean photo",
        "JPEG, resized": "as click, after saving as JPEG (quality 75), or halving and doubling the size",
        "random noise": "as click, for random changes of ε instead of the pattern",
    }

    @classmethod
    def build(
        cls, settings: Mapping[str, Any], dataset: Dataset, open_model: Callable[[str], OpenModel]
    ) -> "Universal":
        """See `EvaluationProtocol.build`. Raises InputError without PyTorch, and DataError for --fit."""
        open_dataset([settings["fit"]], None, labelled=False)
        return cls(**with_gradients(cls, settings, open_model))

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """One object of a photo, with the pattern of each ε: a row each. Raises ModelError without gradients."""
        case = Case.of(sample, self.seed)
        others = each_opened(self.against)
        clean = {name: case.mask(one, sample.image) for name, one in {"": segmenter, **others}.items()}
        if not clean[""].any():
            return PhotoResult(photo, sample.name, sample.source)
        rows = []
        for epsilon in self.epsilons:
            image = self.changed(segmenter, sample.image, epsilon)
            scores = self._scores(case, segmenter, image, clean[""], epsilon)
            scores |= {name: iou(case.mask(one, image), clean[name]) for name, one in others.items()}
            record = {"epsilon": epsilon, "box": case.box.tolist(), "points": case.click.tolist()}
            rows.append(Row(case.number, int(clean[""].sum()), scores, record))
        return PhotoResult(photo, sample.name, sample.source, rows)

    def changed(self, segmenter: Segmenter, image: NDArray[np.uint8], epsilon: int) -> NDArray[np.uint8]:
        """A photo (H, W, 3) with the pattern."""
        from pocketsam.robustness.attacks.universal import add_pattern

        return add_pattern(image, _pattern(self, white_box(segmenter, self.surrogate), epsilon), epsilon)

    def _scores(
        self,
        case: Case,
        segmenter: Segmenter,
        image: NDArray[np.uint8],
        clean: NDArray[np.bool_],
        epsilon: int,
    ) -> dict[str, float | None]:
        boxed, before = (segmenter.open(one).segment(boxes=case.box) for one in (image, case.sample.image))
        changed = {
            CLICK: image,
            JPEG: as_jpeg(image),
            RESIZED: resized(image),
            NOISE: case.noise(self.seed, epsilon),
        }
        return {
            BOX: iou(boxed.binary[0], before.binary[0]),
            **{name: iou(case.mask(segmenter, one), clean) for name, one in changed.items()},
        }

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """A line for each ε."""
        columns = [*SCORES, *(self.against or {})]
        means = {epsilon: Means(with_prompt(results, epsilon=epsilon)) for epsilon in self.epsilons}
        photos = sum(bool(result.rows) for result in results)
        numbers = {
            "photos": photos,
            "epsilons": {epsilon: {name: one[name] for name in columns} for epsilon, one in means.items()},
        }
        lines = [
            [f"ε {epsilon}", *(percent(one[name]) for name in columns)] for epsilon, one in means.items()
        ]
        title = (
            f"one object in each of {photos} photos: mean IoU with the mask of the clean photo, %;"
            f" the pattern is made with {self.fit_photos} other photos"
        )
        return Report(numbers, [Table(title, ["pattern", *columns], lines)])

    def pictures(
        self, results: Sequence[PhotoResult], dataset: Dataset, open_model: OpenModel
    ) -> dict[str, bytes]:
        """A sheet: the pattern, made visible, and the first photos clean and with it."""
        segmenter, epsilon = open_model(), max(self.epsilons)
        pattern = _pattern(self, white_box(segmenter, self.surrogate), epsilon)
        visible = np.clip(128 + 127 / epsilon * pattern, 0, 255).astype(np.uint8)
        tiles = [Tile(f"the pattern of eps {epsilon}, enlarged", visible)]
        for result in [result for result in results if result.rows][:3]:
            case = Case.of(dataset.read(result.photo).promptable(), self.seed)
            click = [(float(x), float(y)) for x, y in case.click]
            clean = case.sample.image
            for caption, image in (("clean", clean), ("changed", self.changed(segmenter, clean, epsilon))):
                tiles.append(Tile(caption, image, [encode(case.mask(segmenter, image))], click))
        return {EXAMPLES: sheet(tiles, columns=4, side=260)}


@lru_cache(maxsize=8)
def _pattern(study: Universal, box: "WhiteBox", epsilon: int) -> NDArray[np.float32]:
    """The pattern of a study for a network, made once in each process, and the same in all."""
    from pocketsam.robustness.attacks.universal import find_pattern

    dataset = open_dataset([study.fit], None, labelled=False)
    photos = []
    for sample in islice(map(dataset.read, range(len(dataset))), study.fit_photos):
        size = sample.image.shape[:2]
        points = sample_points(size, study.points, study.seed, sample.name)[:, None]
        photos.append((sample.image, Prompts.of(points=points, photo_size=size)))
    steps = study.passes * len(photos)
    with _progress(f"steps of the pattern of ε {epsilon}", steps) as progress:
        progress.print(
            f"making the pattern of ε {epsilon}: {steps} steps on {len(photos)} photos of {study.fit}"
        )
        return find_pattern(
            box, photos, epsilon, study.passes, study.step_size, THRESHOLD, after_step=progress.advance
        )


def _progress(name: str, total: int) -> Progress:
    """Lines alone, as the bar on a terminal is that of the photos. Workers are quiet: they make the same pattern."""
    from rich.console import Console

    in_worker = parent_process() is not None
    return Progress(
        name, total, console=Console(stderr=True, highlight=False, force_terminal=False, quiet=in_worker)
    )

"""Image classification: how often the right class is the most probable one, or among the five most probable ones.

The measure of ImageNet (arXiv 1409.0575, section 4.1), by which EfficientSAM compares its pretraining (arXiv
2312.00863, table 1).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pocketsam.data.class_folders import ClassFolders
from pocketsam.data.sample import Dataset, Sample
from pocketsam.errors import InputError
from pocketsam.evaluation.heads import HeadPredictor, HeadProtocol
from pocketsam.evaluation.protocol import OpenModel
from pocketsam.evaluation.results import Means, PhotoResult, Report, Row, Table, percent

TOP_1, TOP_5 = SCORES = ("top-1", "top-5")


@dataclass(frozen=True)
class Classification(HeadProtocol):
    """data: the photos and their classes, the dataset that is measured."""

    data: ClassFolders = field(repr=False)

    name: ClassVar[str] = "classification"
    summary: ClassVar[str] = "top-1 and top-5 accuracy of an image classifier (EfficientSAM)"
    description: ClassVar[str] = (
        "Classifies photos with a model that was trained by the method classification. DATA is ROOT/CLASS/NAME.jpg:"
        " folders of class folders, or tar files, such as photos.tar/val."
    )
    follows: ClassVar[str] = "EfficientSAM (arXiv 2312.00863), Table 1"
    results: ClassVar[dict[str, str]] = {
        TOP_1: "photos whose most probable class is the right one, in %",
        TOP_5: "photos whose right class is among the five most probable ones, in %",
    }
    needs_masks: ClassVar[bool] = False
    task: ClassVar[str] = "classification"

    @classmethod
    def open_data(cls, paths: Sequence[Path], photos: Path | None) -> Dataset:
        """See `EvaluationProtocol.open_data`."""
        if photos is not None:
            raise InputError(f"--photos {photos}: class folders have their photos in them; leave it out")
        return ClassFolders(paths)

    @classmethod
    def build(
        cls, settings: Mapping[str, Any], dataset: Dataset, open_model: Callable[[str], OpenModel]
    ) -> "Classification":
        assert isinstance(dataset, ClassFolders)
        return cls(dataset, **settings)

    @property
    def headline(self) -> str:
        return TOP_1

    def measure(self, segmenter: HeadPredictor, sample: Sample, photo: int) -> PhotoResult:
        """Whether a photo's class is the most probable one. Raises InputError where the model does not know it."""
        known = segmenter.engine.head.classes
        wanted = self.data.classes[self.data.labels[photo]]
        if wanted not in known:
            raise InputError(
                f"{sample.location}: the class {wanted} is none of the {len(known)} classes of the model"
            )
        order = np.argsort(-segmenter(sample.image)["logits"][0], kind="stable")
        rank = int(np.flatnonzero(order == known.index(wanted))[0])
        scores: dict[str, float | None] = {TOP_1: float(rank < 1), TOP_5: float(rank < 5)}
        guess = {"class": wanted, "predicted": known[int(order[0])]}
        area = sample.image.shape[0] * sample.image.shape[1]
        return PhotoResult(photo, sample.name, rows=[Row(0, area, scores, guess)])

    def scores(self, results: Sequence[PhotoResult]) -> dict[str, float]:
        """See `HeadProtocol.scores`."""
        means = Means(results)
        return {name: means[name] or 0.0 for name in SCORES}

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """Accuracy over all photos."""
        scores = self.scores(results)
        line = [str(len(results)), *(percent(scores[name]) for name in SCORES)]
        table = Table("accuracy, %", ["photos", *SCORES], [line])
        return Report({"photos": len(results), "accuracy": scores}, [table])

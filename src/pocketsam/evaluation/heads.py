"""Measuring models with a head for another task: what their protocols have in common."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.categories import CategorySet
from pocketsam.data.sample import Dataset
from pocketsam.errors import InputError
from pocketsam.evaluation.protocol import EvaluationProtocol, OpenModel
from pocketsam.evaluation.results import PhotoResult
from pocketsam.predict.image import preprocess

if TYPE_CHECKING:
    from pocketsam.engines.head import HeadEngine


class HeadPredictor:
    """A model with a head, in front of photos of any size."""

    def __init__(self, engine: "HeadEngine") -> None:
        self.engine = engine

    @classmethod
    def open(
        cls, model: str, engine: str, device: str, precision: str, threads: int | None
    ) -> "HeadPredictor":
        """The model in a file or folder. Raises InputError or ModelError when it cannot be used."""
        import torch

        from pocketsam.engines.head import HeadEngine

        if not Path(model).exists():
            raise InputError(
                f"--model {model}: no such file or folder; give the model.safetensors of a training run"
            )
        if threads:
            torch.set_num_threads(threads)
        return cls(HeadEngine.load(Path(model), engine, device, precision))

    def __call__(self, photo: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """What the head predicts of a photo (H, W, 3), in the model's pixels."""
        return self.engine.predict(preprocess(photo, self.engine.config))


class HeadProtocol(EvaluationProtocol):
    """A way to measure models with a head. task: the head's."""

    task: ClassVar[str]
    needs_all_photos: ClassVar[bool] = True

    @classmethod
    def opener(cls, model: str, **opening: Any) -> OpenModel:
        """See `EvaluationProtocol.opener`; the model must have a head for this task."""
        how = {name: value for name, value in opening.items() if name != "batch"}  # one photo at a time
        return partial(_open, model, cls.task, **how)

    @abstractmethod
    def scores(self, results: Sequence[PhotoResult]) -> dict[str, float]:
        """The figures that choose the best weights of a run, in [0, 1]."""


@dataclass(frozen=True)
class CategoryProtocol(HeadProtocol):
    """A measurement on masks with classes. data: the photos and their masks, the dataset that is measured."""

    data: CategorySet = field(repr=False)

    needs_masks: ClassVar[bool] = False

    @classmethod
    def open_data(cls, paths: Sequence[Path], photos: Path | None) -> Dataset:
        """See `EvaluationProtocol.open_data`."""
        return CategorySet(paths, photos, leave_out=True)

    @classmethod
    def build(
        cls, settings: Mapping[str, Any], dataset: Dataset, open_model: Callable[[str], OpenModel]
    ) -> "CategoryProtocol":
        """See `EvaluationProtocol.build`."""
        assert isinstance(dataset, CategorySet)
        return cls(dataset, **settings)


def _open(model: str, task: str, **opening: Any) -> HeadPredictor:
    predictor = HeadPredictor.open(model, **opening)
    if predictor.engine.head.task != task:
        raise InputError(
            f"--model {model}: has a head for {predictor.engine.head.task}, not for {task}; measure that"
        )
    return predictor


def model_classes(of_data: Sequence[str], of_model: Sequence[str]) -> list[int]:
    """The number that a model gives each class of the data. Raises InputError for a class that it does not know."""
    for name in of_data:
        if name not in of_model:
            raise InputError(
                f"the class {name} of the data is none of the {len(of_model)} classes of the model"
            )
    return [of_model.index(name) for name in of_data]

"""What a recipe trains: a model, its loss, the data it learns from, and how well it does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.utils.data import Dataset

from pocketsam.config import HeadConfig, ModelConfig
from pocketsam.data.datasets import evenly_spread, open_dataset
from pocketsam.data.sample import Dataset as PhotoSet
from pocketsam.engines.head import HeadEngine
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import DataError
from pocketsam.evaluation.heads import HeadPredictor, HeadProtocol
from pocketsam.evaluation.protocols.clicks import Clicks
from pocketsam.evaluation.results import Means
from pocketsam.evaluation.session import run
from pocketsam.segmenter import Segmenter
from pocketsam.training.config import Recipe
from pocketsam.training.samples.stream import Item

Validator: TypeAlias = Callable[[Any], dict[str, float]]
"""The scores of the task's model, in [0, 1] and the larger the better; their mean chooses the best weights."""


@dataclass(frozen=True)
class Task:
    """Everything in a run that depends on the method.

    model: what learns; its `image_encoder` has the encoder's learning rate. config: what it expects of a photo.
    loss: a module of (batch, step) that returns `loss` to step on and its parts; it holds the model.
    samples: the samples of the run by number, each a function of its number alone, or the error that it raised.
    validate: how good the model is; None where nothing is given to measure it on.
    result: those weights of the model that its file is to hold; all of them, unless some only help to train others.
    metadata: what else its file says of the model.
    """

    model: nn.Module
    config: ModelConfig
    loss: nn.Module
    samples: Dataset[Item | DataError]
    validate: Validator | None = None
    result: Callable[[Any], Mapping[str, Tensor]] = nn.Module.state_dict
    metadata: Mapping[str, str] = field(default_factory=dict)


def prompt_validator(recipe: Recipe, config: ModelConfig) -> Validator | None:
    """Box, 1-click and 3-click mIoU on `val_photos` of the photos in `val`, spread over the whole set."""
    if not recipe.val:
        return None
    dataset, protocol = open_dataset(recipe.val), Clicks()
    chosen = evenly_spread(len(dataset), recipe.val_photos)

    def validate(sam: Any) -> dict[str, float]:
        segmenter = Segmenter(engine=TorchEngine(sam, config))
        results = run(protocol, dataset, lambda: segmenter, photos=chosen)
        if missing := [result.missing for result in results if result.missing]:
            raise DataError(missing[0])
        means = Means(results)
        return {name: means[name] or 0.0 for name in protocol.columns}

    return validate


def head_validator(
    protocol: HeadProtocol, dataset: PhotoSet, photos: int, head: HeadConfig, config: ModelConfig
) -> Validator:
    """The scores of a protocol on `photos` of the photos in a dataset, spread over the whole set."""
    chosen = evenly_spread(len(dataset), photos)

    def validate(model: Any) -> dict[str, float]:
        predictor = HeadPredictor(HeadEngine(model, head, config))
        return protocol.scores(run(protocol, dataset, lambda: predictor, photos=chosen))

    return validate

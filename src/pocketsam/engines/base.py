"""What an engine is: a model that encodes an image, and decodes prompts on it, whatever runs it.

The rest of PocketSAM knows only `Engine`, its `config` (what the model expects) and its `info` (how it runs).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.graphs import EMBEDDING_CHANNELS

INT8 = "int8"
"""The precision of an engine whose encoder computes with 8-bit integers, and its decoder in float32."""

PreparedImage: TypeAlias = Any
"""What an engine prepared of an embedded image. Only that engine can read it."""


@dataclass(frozen=True)
class EngineInfo:
    """How an engine runs its model.

    name: the engine's, as `open_engine` takes it. device: "cpu", "cuda:0" and so on. numerics: the precision of its
    arithmetic, such as "float32" or "bfloat16", or a quantised model's own numerics; inputs and outputs are float32
    always. threads: the CPU threads that it uses, and that work on its results may use. thread_safe: whether several
    threads may call it at the same time. batch: how many prompts it computes at a time where there are many.
    """

    name: str
    device: str = "cpu"
    numerics: str = "float32"
    threads: int = 1
    thread_safe: bool = False
    batch: int = 1


@dataclass(frozen=True)
class EngineOptions:
    """How a model is to run: see `open_engine`."""

    device: str = "auto"
    precision: str = "float32"
    threads: int | None = None
    compile: bool = False
    config: ModelConfig | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """What an engine predicts of N prompts before it computes a mask.

    predicted_iou: (N, 4) float32, of the masks that it would compute. mask_inputs: what it needs for that; only it
    can read it.
    """

    predicted_iou: NDArray[np.float32]
    mask_inputs: Any


class Engine(Protocol):
    """A model that runs. S is `config.image_size`; N objects, P points and K prompt embeddings each.

    An image is encoded and prepared once. Then the IoU of any number of prompts' masks is predicted, and those masks
    are computed that are worth it, which is half of the work.
    """

    config: ModelConfig
    info: EngineInfo

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """A preprocessed image (1, 3, S, S) to its image embedding (1, C, S/16, S/16)."""
        ...

    def prepare(
        self, embedding: NDArray[np.float32], mask_input: NDArray[np.float32] | None = None
    ) -> PreparedImage:
        """What of an embedded image is the same for all prompts.

        mask_input: (1, 1, S/4, S/4) logits of an earlier mask; it then is part of the image, for the prompts that
        come with it.
        """
        ...

    def predict_iou(
        self,
        prepared: PreparedImage,
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        sparse_embeddings: NDArray[np.float32] | None = None,
    ) -> Prediction:
        """The predicted IoU of the masks of N prompts.

        points (N, P, 2) in model pixels; P may be 0; labels (N, P): 1, 0, -1 padding, 2 and 3 box corners.
        sparse_embeddings (N, K, 256): prompts that another encoder, of text for instance, has turned into embeddings.
        """
        ...

    def decode_masks(
        self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """The masks of some of the N objects, given their numbers: logits (objects, 4, S/4, S/4) float32.

        Mask 0 is for unambiguous prompts; masks 1 to 3 are those of an ambiguous click: the whole, the part and the
        subpart.
        """
        ...


def decode(
    engine: Engine,
    embedding: NDArray[np.float32],
    points: NDArray[np.float32],
    labels: NDArray[np.int32],
    mask_input: NDArray[np.float32],
    has_mask: NDArray[np.float32],
    prepared: PreparedImage | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Prompts on an embedded photo to logits (N, 4, S/4, S/4) and predicted IoU (N, 4), both float32.

    points, labels: as `Engine.predict_iou` takes them. mask_input: (N, 1, S/4, S/4) logits, used where
    has_mask (N,) is 1.
    prepared: what `engine.prepare` made of the embedding, where that is at hand.
    """
    side = engine.config.mask_size
    logits, iou = np.empty((len(points), 4, side, side), np.float32), np.empty((len(points), 4), np.float32)
    plain = np.flatnonzero(has_mask == 0)
    groups = [(plain, engine.prepare(embedding) if prepared is None else prepared)] if plain.size else []
    for i in np.flatnonzero(has_mask):
        groups.append((np.array([i]), engine.prepare(embedding, mask_input[i : i + 1])))
    for group, of_photo in groups:
        prediction = engine.predict_iou(of_photo, points[group], labels[group])
        logits[group], iou[group] = (
            engine.decode_masks(prediction, range(len(group))),
            prediction.predicted_iou,
        )
    return logits, iou


def mask_or_none(
    config: ModelConfig, mask_input: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A mask as a prompt, (1, 1, S/4, S/4), and 1 if there is one, else 0, (1,): as the exported graphs take them."""
    if mask_input is not None:
        return mask_input, np.ones(1, np.float32)
    side = config.mask_size
    return np.zeros((1, 1, side, side), np.float32), np.zeros(1, np.float32)


def no_embeddings(objects: int) -> NDArray[np.float32]:
    """No prompt embeddings for each of some objects: (objects, 0, 256)."""
    return np.zeros((objects, 0, EMBEDDING_CHANNELS), np.float32)


def cores() -> int:
    """The processor cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

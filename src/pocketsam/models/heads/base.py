"""An image encoder of the family with a head for another task, and the files of such models."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from pocketsam.config import HEAD_KEY, METADATA_KEY, HeadConfig, ModelConfig
from pocketsam.errors import ModelError
from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.models.checkpoints import FILE_NAME, digest, load_published, load_strictly
from pocketsam.models.encoders.base import ImageEncoder
from pocketsam.models.heads import HEADS
from pocketsam.utils.tables import load


class EncoderShape(NamedTuple):
    """The feature maps that an encoder gives, the finest first: their channels, and pixels a cell."""

    widths: tuple[int, ...]
    strides: tuple[int, ...]


class Head(Protocol):
    """What every head has beside `forward`, which gives what its loss takes."""

    def predict(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the head predicts of one image's feature maps, by name."""
        ...


class KeepMaps(nn.Module):
    """In the place of an encoder's neck: the feature maps themselves."""

    def forward(self, *maps: Tensor) -> list[Tensor]:
        return list(maps)


class HeadModel(nn.Module):
    """Normalised pixels (B, 3, S, S) -> what the head gives.

    The encoder has no neck. learns_encoder: otherwise it is frozen, as in a linear probe.
    """

    def __init__(self, image_encoder: ImageEncoder, head: nn.Module, learns_encoder: bool = True) -> None:
        super().__init__()
        self.image_encoder, self.head, self.learns_encoder = image_encoder, head, learns_encoder
        image_encoder.requires_grad_(learns_encoder)

    def train(self, mode: bool = True) -> "HeadModel":
        """See `nn.Module.train`; an encoder that is frozen stays as it is."""
        super().train(mode)
        if not self.learns_encoder:
            self.image_encoder.eval()
        return self

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """The encoder's feature maps, the finest first."""
        return cast(list[Tensor], self.image_encoder(pixels))

    def forward(self, pixels: Tensor) -> object:
        return self.head(self.maps(pixels))


def build_head_model(head: HeadConfig, image_size: int, **how: bool) -> HeadModel:
    """The model with random weights, for images of this size. how: of `HeadModel`.

    Raises ValueError for arguments that make no head.
    """
    encoder = ARCHITECTURES[head.architecture].build_encoder(image_size)
    shape = encoder_shape(encoder, image_size)
    encoder.neck = KeepMaps()
    kind = load("pocketsam.models.heads", HEADS[head.task])
    return HeadModel(encoder, kind(shape, len(head.classes), **head.arguments), **how)


@torch.no_grad()
def encoder_shape(encoder: ImageEncoder, image_size: int) -> EncoderShape:
    """The shape of the encoder's feature maps. Its weights are left as they are."""
    training, device = encoder.training, next(encoder.parameters()).device
    maps = encoder.eval().forward_features(torch.zeros(1, 3, image_size, image_size, device=device))
    encoder.train(training)
    return EncoderShape(tuple(x.shape[1] for x in maps), tuple(image_size // x.shape[2] for x in maps))


def load_head_model(path: Path) -> tuple[HeadModel, HeadConfig, ModelConfig]:
    """The model in a file of ours or in FOLDER/model.safetensors, in float32, ready for inference.

    Raises ModelError when the file is missing, damaged, or of a model without a head.
    """
    file = path / FILE_NAME if path.is_dir() else path
    tensors, metadata = load_published(file)
    if HEAD_KEY not in metadata or METADATA_KEY not in metadata:
        raise ModelError(
            f"{file}: has no head for another task than segment anything; train one with a recipe"
        )
    try:
        head = HeadConfig.from_json(metadata[HEAD_KEY])
        config = ModelConfig.from_json(metadata[METADATA_KEY])
        with torch.device("meta"):
            model = build_head_model(head, config.image_size)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file}: has an invalid config ({error}); train the model again") from error
    load_strictly(model, tensors, file, assign=True)
    return model.eval().requires_grad_(False), head, replace(config, weights=digest(tensors))

"""What every image encoder has, whatever its architecture."""

from abc import ABC, abstractmethod
from typing import Any, cast

from torch import Tensor, nn

from pocketsam.models.layers import Shapes


class ImageEncoder(nn.Module, ABC):
    """Normalised pixels (B, 3, S, S), S a multiple of 64 -> image embedding (B, C, S/16, S/16).

    It has two parts: `forward_features`, which pretraining and heads for other tasks can use too, and `neck`, which
    turns the feature maps into the embedding that SAM's mask decoder expects.

    embedding_channels: C; SAM's 256 and, with finer maps beside them, more.
    image_size: the only S that it takes; None for an encoder that takes any.
    kept_in_float: the modules that INT8 files compute in float, because rounding them costs much and saves little.
    keeps_statistics: in training mode, too, batch normalisation uses the statistics of an earlier training, as a few
    photos a step make poor ones.
    """

    embedding_channels: int = 256
    image_size: int | None = None
    kept_in_float: tuple[str, ...] = ()
    keeps_statistics: bool = False
    neck: nn.Module

    @classmethod
    def for_size(cls, image_size: int, **arguments: Any) -> "ImageEncoder":
        """The encoder with these arguments of its class, for images of this size."""
        return cls(**arguments)

    @classmethod
    @abstractmethod
    def matches(cls, shapes: Shapes) -> bool:
        """Whether tensors of these shapes are an encoder of this class; true for one class only."""

    @classmethod
    @abstractmethod
    def like(cls, shapes: Shapes) -> "ImageEncoder":
        """The encoder whose state dict has these shapes. Raises KeyError where too few are given to tell."""

    def train(self, mode: bool = True) -> "ImageEncoder":
        """See `nn.Module.train`."""
        super().train(mode)
        if self.keeps_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    @abstractmethod
    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The feature maps that the neck is given, the finest first: (B, C_i, S/stride_i, S/stride_i) each."""

    def forward(self, x: Tensor) -> Tensor:
        """An image (B, 3, S, S) -> its embedding (B, C, S/16, S/16)."""
        return cast(Tensor, self.neck(*self.forward_features(x)))

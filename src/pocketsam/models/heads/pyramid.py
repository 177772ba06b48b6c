"""A feature pyramid on any encoder of the family: maps of the same width, at several strides.

Of an encoder with one map this is ViTDet's simple feature pyramid (arXiv 2203.16527, section 3): each level is made
of that map, by transposed convolutions or pooling. Where an encoder has a map of a level's stride, that one is taken,
and coarser levels are added to finer ones (FPN, arXiv 1612.03144).
"""

import math
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.heads.base import EncoderShape
from pocketsam.models.layers import LayerNorm2d


class FeaturePyramid(nn.Module):
    """An encoder's feature maps -> a map (B, channels, S/stride, S/stride) for each of `strides`, the finest first.

    top_down: whether coarser levels are added to finer ones. If not given: where the encoder has several maps, as
    ViTDet found that one map needs no more.
    """

    def __init__(
        self, shape: EncoderShape, channels: int, strides: Sequence[int], top_down: bool | None = None
    ) -> None:
        super().__init__()
        self.top_down = len(shape.strides) > 1 if top_down is None else top_down
        self.sources = [_nearest(shape.strides, stride) for stride in strides]
        self.lateral, self.output = nn.ModuleList(), nn.ModuleList()
        for stride, source in zip(strides, self.sources, strict=True):
            resample, width = _resampling(shape.widths[source], shape.strides[source], stride)
            self.lateral.append(
                nn.Sequential(*resample, nn.Conv2d(width, channels, 1, bias=False), LayerNorm2d(channels))
            )
            self.output.append(
                nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), LayerNorm2d(channels))
            )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The encoder's maps (B, C_i, H_i, W_i) -> a level for each stride, (B, channels, S/stride, S/stride)."""
        levels = [
            cast(Tensor, lateral(maps[source]))
            for lateral, source in zip(self.lateral, self.sources, strict=True)
        ]
        if self.top_down:
            for i in range(len(levels) - 2, -1, -1):
                levels[i] = levels[i] + F.interpolate(levels[i + 1], levels[i].shape[2:], mode="nearest")
        return [output(level) for output, level in zip(self.output, levels, strict=True)]


def _nearest(strides: Sequence[int], wanted: int) -> int:
    """The place of the map whose stride is nearest to the one that is wanted; of equals the finer one."""
    return min(range(len(strides)), key=lambda i: abs(math.log2(strides[i] / wanted)))


def _resampling(width: int, stride: int, wanted: int) -> tuple[list[nn.Module], int]:
    """The layers from a map's stride to the one that is wanted, and the channels that they give."""
    layers: list[nn.Module] = []
    while stride > wanted:
        if layers:
            layers += [LayerNorm2d(width), nn.GELU()]
        layers.append(nn.ConvTranspose2d(width, width // 2, 2, 2))
        width, stride = width // 2, stride // 2
    while stride < wanted:
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
        stride *= 2
    return layers, width

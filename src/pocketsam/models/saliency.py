"""A head that finds the salient object of a photo, on the embedding that the encoder makes for prompts anyway.

A small U-net (arXiv 1505.04597), whose contracting half the encoder has done already: context comes from the
embedding at strides 16, 32 and 64, outlines from the finer feature maps in it, where it has some. Its blocks are
ConvNeXt's (arXiv 2201.03545), which have few weights.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.graphs import EMBEDDING_CHANNELS
from pocketsam.models.layers import LayerNorm2d

FINER = EMBEDDING_CHANNELS + 4 * (EMBEDDING_CHANNELS // 4) + 16 * (EMBEDDING_CHANNELS // 8)
"""The channels of an embedding with finer maps: see `encoders.efficientnet_lite.FeaturePyramid`."""


class Block(nn.Module):
    """A depthwise convolution, then two layers for each cell; the input is added."""

    def __init__(self, width: int, kernel: int = 5, expansion: int = 2) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = LayerNorm2d(width)
        self.expand = nn.Conv2d(width, width * expansion, 1)
        self.project = nn.Conv2d(width * expansion, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.expand(self.norm(self.depthwise(x))))
        return x + cast(Tensor, self.project(y))


class SaliencyHead(nn.Module):
    """Image embedding (B, C, g, g), g a multiple of 4 -> logits of saliency (B, 1, 4 g, 4 g).

    channels: C, 256 or, with finer maps, 1024. width: channels at stride 16.
    """

    def __init__(self, channels: int, width: int = 96) -> None:
        super().__init__()
        self.has_finer = channels == FINER
        self.input = nn.Sequential(nn.Conv2d(EMBEDDING_CHANNELS, width, 1), LayerNorm2d(width))
        self.stride16 = Block(width)
        self.stride32 = nn.Sequential(Block(width), Block(width))
        self.stride64 = nn.Sequential(Block(width), Block(width))
        self.whole = nn.Linear(width, width)
        self.merge = Block(width)
        at8, at4 = width // 3, width // 6
        self.to8, self.to4 = nn.Conv2d(width, at8, 1), nn.Conv2d(at8, at4, 1)
        self.skip8 = nn.Conv2d(EMBEDDING_CHANNELS // 4, at8, 1) if self.has_finer else None
        self.skip4 = nn.Conv2d(EMBEDDING_CHANNELS // 8, at4, 1) if self.has_finer else None
        self.stride8 = Block(at8, 3)
        self.coarse, self.output = nn.Conv2d(width, 1, 1), nn.Conv2d(at4, 1, 3, padding=1)

    def forward(self, embedding: Tensor) -> Tensor:
        """An embedding (B, C, g, g) -> logits of the salient object (B, 1, 4 g, 4 g)."""
        return self.outlines(self.context(embedding), embedding)

    def context(self, embedding: Tensor) -> Tensor:
        """What is salient, in channels at stride 16, (B, width, g, g); `coarse` turns them into logits."""
        x16 = self.stride16(self.input(embedding[:, :EMBEDDING_CHANNELS]))
        x32 = self.stride32(F.avg_pool2d(x16, 2))
        x64 = self.stride64(F.avg_pool2d(x32, 2))
        x64 = x64 + self.whole(x64.mean((2, 3)))[..., None, None]
        return cast(Tensor, self.merge(x16 + _double(x32 + _double(x64))))

    def outlines(self, context: Tensor, embedding: Tensor) -> Tensor:
        """The logits at stride 4 by the context and the embedding, or by the same window of both."""
        x8 = _double(self.to8(context))
        if self.skip8 is not None:
            stride8 = embedding[:, EMBEDDING_CHANNELS : 2 * EMBEDDING_CHANNELS]
            x8 = x8 + self.skip8(F.pixel_shuffle(stride8, 2))
        x4 = _double(self.to4(self.stride8(x8)))
        if self.skip4 is not None:
            x4 = x4 + self.skip4(F.pixel_shuffle(embedding[:, 2 * EMBEDDING_CHANNELS :], 4))
        return cast(Tensor, self.output(F.gelu(x4)))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)

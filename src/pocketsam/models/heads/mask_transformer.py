"""Semantic segmentation by mask classification: Mask2Former's transformer decoder (arXiv 2112.01527, section 3).

A few learned queries each find one region and its class. In each layer a query attends to the image, but only to
where it found its region in the layer before (masked attention, equation 2), to the other queries, and passes an MLP.
Layers take the pyramid's levels in turns, the coarsest first. A region's mask is the product of the query with the
features of every cell at stride 4.

The pixel decoder is a feature pyramid, with which the paper compares deformable attention (table 4e).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.heads.base import EncoderShape
from pocketsam.models.heads.pyramid import FeaturePyramid
from pocketsam.models.layers import MLP

STRIDES = (4, 8, 16, 32)


class Regions(NamedTuple):
    """What N queries found in B images, as logits.

    classes: (B, N, K + 1), the last one for none. masks: (B, N, S/4, S/4).
    """

    classes: Tensor
    masks: Tensor


class Layer(nn.Module):
    """Masked attention to the image, self-attention of the queries, an MLP; each is added and normalised."""

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.to_image = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.to_queries = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.heads = heads

    def forward(
        self, queries: Tensor, query_positions: Tensor, image: Tensor, positions: Tensor, hidden: Tensor
    ) -> Tensor:
        """queries (B, N, C), query_positions (N, C), image (B, L, C), positions (L, C) -> queries.

        hidden (B, N, L) bool: the cells that a query must not attend to.
        """
        mask = hidden.repeat_interleave(self.heads, dim=0)
        keys = image + positions
        x = self.to_image(queries + query_positions, keys, image, need_weights=False, attn_mask=mask)[0]
        queries = self.norms[0](queries + x)
        keys = queries + query_positions
        x = self.to_queries(keys, keys, queries, need_weights=False)[0]
        queries = self.norms[1](queries + x)
        return cast(Tensor, self.norms[2](queries + self.mlp(queries)))


class MaskTransformer(nn.Module):
    """Feature maps -> the regions that the queries find, after each layer.

    classes: K. channels: of the queries and the pyramid. queries: N. layers: of the decoder; a multiple of 3 takes
    every level as often.
    """

    def __init__(
        self,
        shape: EncoderShape,
        classes: int,
        channels: int = 256,
        queries: int = 100,
        layers: int = 9,
        heads: int = 8,
    ) -> None:
        super().__init__()
        self.pyramid = FeaturePyramid(shape, channels, STRIDES, top_down=True)
        self.cells = nn.Conv2d(channels, channels, 1)
        self.levels = nn.Parameter(torch.randn(len(STRIDES) - 1, channels))
        self.queries = nn.Parameter(torch.randn(queries, channels))
        self.query_positions = nn.Parameter(torch.randn(queries, channels))
        self.layers = nn.ModuleList(Layer(channels, heads, 8 * channels) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.classify = nn.Linear(channels, classes + 1)
        self.mask = MLP(channels, channels, channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Regions]:
        """Before the first layer and after each one; the last are the result."""
        fine, *levels = self.pyramid(maps)
        cells = self.cells(fine)
        levels = levels[::-1]
        queries = self.queries.expand(len(fine), -1, -1)
        found = [self._regions(queries, cells)]
        for i, layer in enumerate(self.layers):
            at = i % len(levels)
            level = levels[at]
            positions = sine_positions(level.shape[2], level.shape[3], level.shape[1]).to(level)
            image = level.flatten(2).transpose(1, 2) + self.levels[at]
            hidden = outside(found[-1].masks, level.shape[2:])
            queries = layer(queries, self.query_positions, image, positions, hidden)
            found.append(self._regions(queries, cells))
        return found

    def _regions(self, queries: Tensor, cells: Tensor) -> Regions:
        queries = self.norm(queries)
        masks = torch.einsum("bnc,bchw->bnhw", self.mask(queries), cells)
        return Regions(self.classify(queries), masks)

    def predict(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """`scores` (B, K, S/4, S/4): how much speaks for a class in a cell, summed over the queries (section 3.4)."""
        found = self(maps)[-1]
        classes = found.classes.softmax(-1)[..., :-1]
        return {"scores": torch.einsum("bnk,bnhw->bkhw", classes, found.masks.sigmoid())}


def outside(masks: Tensor, size: Sequence[int]) -> Tensor:
    """The cells (B, N, h * w) bool of a level that lie outside of the masks (B, N, H, W), given as logits.

    A query whose mask is empty attends to everything.
    """
    resized = F.interpolate(masks.detach().float(), tuple(size), mode="bilinear", align_corners=False)
    hidden = (resized < 0).flatten(2)
    return hidden & ~hidden.all(-1, keepdim=True)


def sine_positions(height: int, width: int, channels: int) -> Tensor:
    """The positions of a map's cells as sines and cosines, (height * width, channels) (arXiv 2005.12872, A.4)."""
    each = channels // 4
    frequencies = 10000.0 ** (-torch.arange(each) / each)
    parts = []
    for side, shape in ((height, (-1, 1, 1)), (width, (1, -1, 1))):
        place = 2 * math.pi * (torch.arange(side) + 0.5) / side
        angles = (place[:, None] * frequencies).reshape(*shape[:2], each)
        parts += [angles.sin().expand(height, width, -1), angles.cos().expand(height, width, -1)]
    return torch.cat(parts, -1).flatten(0, 1)

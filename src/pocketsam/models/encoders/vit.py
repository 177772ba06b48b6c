"""The ViT of EfficientSAM (arXiv 2312.00863, section 3): global attention, absolute positions.

The positions are those of the 224-pixel pretraining, 14 x 14 and a class token that nothing uses any more; they are
stretched to the map at hand. Parameter names and shapes are those of the published `efficient_sam_vit*.pt`, but for
the MLPs, which are SAM's.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.encoders.base import ImageEncoder
from pocketsam.models.encoders.sam_vit import MLP, PATCH, PatchEmbed
from pocketsam.models.layers import (
    Shapes,
    attend,
    check_heads,
    count,
    initialise_linear,
    neck,
    sine_positions,
    take,
    to_patches,
)

HEAD_WIDTH = 64


class Attention(nn.Module):
    """Self-attention over all tokens (B, L, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = attend(q, k, v)
        return cast(Tensor, self.proj(x.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Attention and an MLP, each with its normalisation before it."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + cast(Tensor, self.mlp(self.norm2(x)))


class ViT(ImageEncoder):
    """Pixels (B, 3, S, S), normalised, S a multiple of 16 -> image embedding (B, 256, S/16, S/16)."""

    def __init__(
        self, width: int = 192, depth: int = 12, hidden: int = 768, pretrained_side: int = 14
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(width)
        positions = torch.cat([torch.zeros(1, width), sine_positions(pretrained_side, width)])
        self.pos_embed = nn.Parameter(positions[None])
        self.blocks = nn.ModuleList(Block(width, width // HEAD_WIDTH, hidden) for _ in range(depth))
        self.neck = neck(width)
        self.apply(initialise_linear)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))  # linear, too

    @classmethod
    def matches(cls, shapes: Shapes) -> bool:
        """See `ImageEncoder.matches`."""
        return "pos_embed" in shapes and "blocks.0.attn.rel_pos_h" not in shapes

    @classmethod
    def like(cls, shapes: Shapes) -> "ViT":
        """See `ImageEncoder.like`."""
        _, positions, width = shapes["pos_embed"]
        hidden = shapes["blocks.0.mlp.lin1.weight"][0]
        return cls(width, count(shapes, "blocks"), hidden, math.isqrt(positions - 1))

    def positions(self, side: int) -> Tensor:
        """The absolute positions of a map of `side` x `side` tokens: (1, C, side, side)."""
        learned = self.pos_embed[:, 1:].transpose(1, 2)
        learned = learned.unflatten(2, (math.isqrt(learned.shape[2]), -1))
        return F.interpolate(learned, (side, side), mode="bicubic", align_corners=False)

    def tokens(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """Every patch as a token with its position, row by row: (B, 3, S, S) -> (B, L, width), L = (S/16)².

        kept (B, V): the numbers of those patches that become tokens, in this order; the others are not computed.
        """
        positions = self.positions(x.shape[2] // PATCH).flatten(2).transpose(1, 2)
        if kept is None:
            return cast(Tensor, self.patch_embed(x).flatten(2).transpose(1, 2) + positions)
        projection = self.patch_embed.proj
        patches = take(to_patches(x, PATCH), kept)
        embedded = F.linear(patches, projection.weight.flatten(1), projection.bias)
        return embedded + take(positions.expand(len(x), -1, -1), kept)

    def attend(self, tokens: Tensor) -> Tensor:
        """The blocks: (B, L, width) -> the same shape.

        A token carries its position, so that these may be any subset of an image's, as masked-image pretraining
        takes them.
        """
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """One map (B, width, S/16, S/16)."""
        side = x.shape[2] // PATCH
        return [self.attend(self.tokens(x)).transpose(1, 2).unflatten(2, (side, side))]

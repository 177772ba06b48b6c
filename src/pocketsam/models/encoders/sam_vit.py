"""SAM's image encoder (arXiv 2304.02643, appendix A): a ViT with windows and relative positions, as in ViTDet.

Most blocks attend inside windows of 14 x 14 patches, four evenly spaced ones over the whole map (Li et al.,
arXiv 2203.16527). Parameter names and shapes are those of the published `sam_vit_*.pth`. Width, depth, heads,
windows and MLPs follow from the shapes, so uniformly pruned networks (SlimSAM, arXiv 2312.05284) are the same class.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.encoders.base import ImageEncoder
from pocketsam.models.layers import Shapes, check_heads, count, from_windows, neck, pad_to, to_windows

PATCH = 16


class PatchEmbed(nn.Module):
    """Every 16 x 16 patch through one linear map: (B, 3, S, S) -> (B, C, S/16, S/16)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.proj(x))


class Attention(nn.Module):
    """Self-attention in windows of `side` x `side` tokens, or over a map of that side, with relative positions.

    The bias between a query and a key is q . Rh[dy] + q . Rw[dx] (Li et al., arXiv 2112.01526, equation 4).
    """

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads, self.side = heads, side
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def bias(self, q: Tensor) -> Tensor:
        """q (windows, heads, side², c) -> the scores' bias (windows, heads, side², side²)."""
        side = self.side
        positions = torch.arange(side, device=q.device)
        offsets = positions[:, None] - positions + side - 1  # [query, key]
        grid = q.unflatten(2, (side, side))
        rows = grid @ self.rel_pos_h[offsets].transpose(1, 2)  # (…, y, x, key's y)
        columns = grid.transpose(2, 3) @ self.rel_pos_w[offsets].transpose(1, 2)  # (…, x, y, key's x)
        bias = rows[..., :, None] + columns.transpose(2, 3)[..., None, :]
        return cast(Tensor, bias.flatten(4).flatten(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """A map (B, H, W, C) -> the same shape."""
        height, width = x.shape[1:3]
        x = pad_to(x, self.side)
        q, k, v = (
            to_windows(part, self.side) for part in self.qkv(x).unflatten(3, (3, self.heads, -1)).unbind(3)
        )
        tokens = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(q))
        x = from_windows(tokens, self.side, *x.shape[1:3])
        return cast(Tensor, self.proj(x[:, :height, :width]))


class MLP(nn.Module):
    """The two-layer MLP of a block."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.lin2(F.gelu(self.lin1(x))))


class Block(nn.Module):
    """Attention, in windows or over the whole map, and an MLP."""

    def __init__(self, width: int, heads: int, hidden: int, side: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, side)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, H, W, C) -> the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + cast(Tensor, self.mlp(self.norm2(x)))


class SamViT(ImageEncoder):
    """Pixels (B, 3, S, S), normalised -> image embedding (B, 256, S/16, S/16), for the one S it was made for."""

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        hidden: int = 3072,
        global_blocks: Sequence[int] = (2, 5, 8, 11),
        window: int = 14,
        image_size: int = 1024,
    ) -> None:
        super().__init__()
        side = image_size // PATCH
        self.image_size = image_size
        self.patch_embed = PatchEmbed(width)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, side if i in global_blocks else window) for i in range(depth)
        )
        self.neck = neck(width)

    @classmethod
    def for_size(cls, image_size: int, **arguments: Any) -> "SamViT":
        """See `ImageEncoder.for_size`."""
        return cls(**arguments, image_size=image_size)

    @classmethod
    def matches(cls, shapes: Shapes) -> bool:
        """See `ImageEncoder.matches`."""
        return "blocks.0.attn.rel_pos_h" in shapes

    @classmethod
    def like(cls, shapes: Shapes) -> "SamViT":
        """See `ImageEncoder.like`."""
        _, side, _, width = shapes["pos_embed"]
        depth = count(shapes, "blocks")
        rows, head_width = zip(*(shapes[f"blocks.{i}.attn.rel_pos_h"] for i in range(depth)), strict=True)
        return cls(
            width,
            depth,
            heads=width // head_width[0],
            hidden=shapes["blocks.0.mlp.lin1.weight"][0],
            global_blocks=[i for i in range(depth) if rows[i] == 2 * side - 1],
            window=(min(rows) + 1) // 2,
            image_size=side * PATCH,
        )

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """One map (B, width, S/16, S/16)."""
        x = self.patch_embed(x).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return [x.permute(0, 3, 1, 2)]

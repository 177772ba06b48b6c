"""SAM's prompt encoder (arXiv 2304.02643, section 3 and appendix A): clicks, boxes and masks become tokens."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from pocketsam.models.layers import LayerNorm2d

PADDING, BACKGROUND, FOREGROUND, BOX_START, BOX_END = -1, 0, 1, 2, 3


class FourierPositions(nn.Module):
    """Positions as sines and cosines of random frequencies (Tancik et al., 2020)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))

    def forward(self, unit: Tensor) -> Tensor:
        """unit: (…, 2) as (x, y) in [0, 1] -> (…, channels). Always float32: half precision blurs positions."""
        matrix = self.positional_encoding_gaussian_matrix.float()
        with torch.autocast(unit.device.type, enabled=False):
            angle = 2 * math.pi * ((2 * unit.float() - 1) @ matrix)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Prompts in the pixels of an S x S input -> sparse tokens and a dense embedding."""

    def __init__(self, channels: int = 256, mask_channels: int = 16) -> None:
        super().__init__()
        self.pe_layer = FourierPositions(channels)
        # background, foreground, first and second corner of a box
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, 2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, 2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, channels, 1),
        )
        self.no_mask_embed = nn.Embedding(1, channels)

    def dense_positions(self, side: int) -> Tensor:
        """The position encoding of every embedding cell's centre: (1, side * side, C), row by row."""
        device = self.no_mask_embed.weight.device
        centres = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return cast(Tensor, self.pe_layer(torch.stack([x, y], dim=-1).flatten(0, 1)[None]))

    def points(self, points: Tensor, labels: Tensor, image_size: int) -> Tensor:
        """points (…, P, 2) in input pixels, labels (…, P) in -1…3 -> tokens (…, P, C)."""
        positions = self.pe_layer((points + 0.5) / image_size)  # + 0.5: pixel centres
        kinds = [self.not_a_point_embed, *self.point_embeddings]
        table = torch.cat([kind.weight for kind in kinds])  # row = label + 1
        real = (labels != PADDING)[..., None]
        return torch.where(real, positions, 0.0) + table[(labels + 1).long()]

    def masks(self, masks: Tensor, has_mask: Tensor) -> Tensor:
        """mask logits (N, 1, 4g, 4g), has_mask (N,) in {0, 1} -> dense embedding (N, C, g, g)."""
        given = self.mask_downscaling(masks)
        return torch.where(has_mask.view(-1, 1, 1, 1) > 0, given, self.no_mask())

    def no_mask(self) -> Tensor:
        """The dense embedding that stands for "no mask given": (1, C, 1, 1)."""
        return self.no_mask_embed.weight.view(1, -1, 1, 1)

"""SAM's prompt encoder (arXiv 2304.02643, section 3 and appendix A): clicks, boxes and masks become tokens.

And EfficientSAM's, which takes no masks.
"""

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from pocketsam.config import PADDING
from pocketsam.models.layers import LayerNorm2d


class FourierPositions(nn.Module):
    """Positions as sines and cosines of random frequencies (Tancik et al., 2020)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FourierPositions":
        # Called for every .to() and .half(): the frequencies move, but half precision would blur positions.
        frequencies = self.positional_encoding_gaussian_matrix
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        moved = self.positional_encoding_gaussian_matrix
        self.positional_encoding_gaussian_matrix = frequencies.to(moved.device)
        return self

    def forward(self, unit: Tensor) -> Tensor:
        """unit: (…, 2) as (x, y) in [0, 1] -> (…, channels). Always float32."""
        with torch.autocast(unit.device.type, enabled=False):
            x, y = (2 * unit.float() - 1).unbind(-1)
            of_x, of_y = self.positional_encoding_gaussian_matrix
            # Not a matrix product, whose rounding depends on the processor's mood: masks move with the last digit.
            angle = 2 * math.pi * (x[..., None] * of_x + y[..., None] * of_y)
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
        return dense_positions(self.pe_layer, side)

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


class EfficientSamPromptEncoder(nn.Module):
    """EfficientSAM's prompt encoder: clicks and boxes as tokens; a mask cannot be a prompt.

    Padding is a point like any other, at (-1, -1), and a background click is a position without a kind: negative
    points were not part of its training. The published code keeps six points and drops the rest; here all count.
    """

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.pe_layer = FourierPositions(channels)
        self.invalid_points = nn.Embedding(1, channels)
        self.point_embeddings = nn.Embedding(1, channels)
        self.bbox_top_left_embeddings = nn.Embedding(1, channels)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, channels)

    def dense_positions(self, side: int) -> Tensor:
        """See `PromptEncoder.dense_positions`."""
        return dense_positions(self.pe_layer, side)

    def points(self, points: Tensor, labels: Tensor, image_size: int) -> Tensor:
        """See `PromptEncoder.points`."""
        real = (labels != PADDING)[..., None]
        positions = self.pe_layer((torch.where(real, points, -1.0) + 0.5) / image_size)
        foreground = self.point_embeddings.weight
        corners = [self.bbox_top_left_embeddings.weight, self.bbox_bottom_right_embeddings.weight]
        background = torch.zeros_like(foreground)
        table = torch.cat([self.invalid_points.weight, background, foreground, *corners])  # row = label + 1
        return cast(Tensor, positions + table[(labels + 1).long()])

    def no_mask(self) -> Tensor:
        """Nothing is added to the image embedding: (1, C, 1, 1) zeros."""
        return torch.zeros_like(self.invalid_points.weight).view(1, -1, 1, 1)


def dense_positions(pe_layer: FourierPositions, side: int) -> Tensor:
    """The position encoding of every embedding cell's centre: (1, side * side, C), row by row."""
    device = pe_layer.positional_encoding_gaussian_matrix.device
    centres = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return cast(Tensor, pe_layer(torch.stack([x, y], dim=-1).flatten(0, 1)[None]))

"""Layers that several of the published modules have."""

from typing import cast

import torch
from torch import Tensor, nn

from pocketsam.models import layers

__all__ = ["LayerNorm2d", "MLPBlock"]


class LayerNorm2d(layers.LayerNorm2d):
    """Layer normalisation over channels (B, C, H, W), in the published order of operations."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = centred.square().mean(1, keepdim=True)
        normalised = centred / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * normalised + self.bias[:, None, None]


class MLPBlock(nn.Module):
    """The two-layer MLP of a transformer block: (…, embedding_dim) -> the same shape."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.lin2(self.act(self.lin1(x))))

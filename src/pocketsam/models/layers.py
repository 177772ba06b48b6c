"""The two layers that every part of the family shares."""

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of an image-shaped tensor (B, C, H, W)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # In channels-last memory both permutes are free, and the fused kernel does the rest.
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class MLP(nn.Module):
    """Linear layers with ReLU between them: SAM's hypernetworks and its IoU head."""

    def __init__(self, width_in: int, width_hidden: int, width_out: int, depth: int = 3) -> None:
        super().__init__()
        widths = [width_in, *[width_hidden] * (depth - 1), width_out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return cast(Tensor, self.layers[-1](x))

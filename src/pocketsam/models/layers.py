"""The layers that several parts of the family share."""

import itertools
from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation: TypeAlias = Callable[[Tensor], Tensor]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""The shapes of a state dict's tensors, by name: all that it takes to tell which network they belong to."""


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
    """Linear layers with an activation between them: SAM's hypernetworks and its IoU head."""

    def __init__(
        self,
        width_in: int,
        width_hidden: int,
        width_out: int,
        depth: int = 3,
        activation: Activation = F.relu,
    ) -> None:
        super().__init__()
        self.activation = activation
        widths = [width_in, *[width_hidden] * (depth - 1), width_out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return cast(Tensor, self.layers[-1](x))


def neck(width: int, channels: int = 256) -> nn.Sequential:
    """From an encoder's width to the image embedding's channels: what follows every encoder of the family."""
    return nn.Sequential(
        nn.Conv2d(width, channels, 1, bias=False),
        LayerNorm2d(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        LayerNorm2d(channels),
    )


def in_windows(x: Tensor, side: int, attend: Callable[[Tensor], Tensor]) -> Tensor:
    """`attend`, from (windows, side², C) to the same shape, on the windows of a map (B, H, W, C).

    Maps that do not divide are padded with zeros, which take part as keys, as in the published networks.
    """
    batch, height, width, channels = x.shape
    down, right = -height % side, -width % side
    if down or right:
        x = F.pad(x, (0, 0, 0, right, 0, down))
    rows, columns = (height + down) // side, (width + right) // side
    x = x.view(batch, rows, side, columns, side, channels).transpose(2, 3)
    x = attend(x.reshape(-1, side * side, channels))
    x = x.view(batch, rows, columns, side, side, channels).transpose(2, 3)
    x = x.reshape(batch, height + down, width + right, channels)
    return x[:, :height, :width]


def count(shapes: Shapes, prefix: str) -> int:
    """How many modules the list called `prefix` holds: one more than the largest index among its tensors."""
    rest = (name[len(prefix) + 1 :] for name in shapes if name.startswith(f"{prefix}."))
    return 1 + max((int(name.split(".")[0]) for name in rest), default=-1)

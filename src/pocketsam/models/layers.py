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


class Normalise(nn.Module):
    """Pixels 0 to 255 (B, 3, H, W) of any type -> float, by the mean and standard deviation of each colour."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) / self.std


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


def sine_positions(side: int, width: int) -> Tensor:
    """Fixed positions of a map of `side` x `side` tokens, row by row: (side², width); `width` is a multiple of 4.

    Sines and cosines of y, then of x, at geometrically spaced frequencies (arXiv 2111.06377, as in its code).
    """
    frequencies = 10_000.0 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


def initialise_linear(module: nn.Module) -> None:
    """Start a linear layer as masked autoencoders do: Xavier's uniform weights, no bias. To be given to `apply`."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def to_patches(x: Tensor, patch: int) -> Tensor:
    """An image (B, C, S, S) as patches, row by row: (B, (S/patch)², C * patch²), channels first."""
    return F.unfold(x, patch, stride=patch).transpose(1, 2)


def take(tokens: Tensor, numbers: Tensor) -> Tensor:
    """The tokens (B, L, C) with these numbers (B, N), in their order -> (B, N, C)."""
    return tokens.gather(1, numbers[..., None].expand(-1, -1, tokens.shape[2]))


def neck(width: int, channels: int = 256) -> nn.Sequential:
    """From an encoder's width to the image embedding's channels: what follows every encoder of the family."""
    return nn.Sequential(
        nn.Conv2d(width, channels, 1, bias=False),
        LayerNorm2d(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        LayerNorm2d(channels),
    )


def to_windows(x: Tensor, side: int) -> Tensor:
    """The tokens of a map (B, H, W, heads, c) by window: (windows, heads, side², c); `side` divides H and W."""
    batch, height, width, heads, _ = x.shape
    x = x.view(batch, height // side, side, width // side, side, heads, -1)
    return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, heads, side * side, x.shape[-1])


def from_windows(x: Tensor, side: int, height: int, width: int) -> Tensor:
    """`to_windows` undone, with the heads side by side: (windows, heads, side², c) -> (B, H, W, C)."""
    rows, columns = height // side, width // side
    x = x.view(-1, rows, columns, x.shape[1], side, side, x.shape[3])
    return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, height, width, x.shape[3] * x.shape[6])


def pad_to(x: Tensor, side: int) -> Tensor:
    """A map (B, H, W, C), padded below and on the right with zeros until `side` divides it.

    The zeros take part as keys, as in the published networks.
    """
    down, right = -x.shape[1] % side, -x.shape[2] % side
    return F.pad(x, (0, 0, 0, right, 0, down)) if down or right else x


def count(shapes: Shapes, prefix: str) -> int:
    """How many modules the list called `prefix` holds. Raises KeyError where one is missing among the others."""
    rest = (name[len(prefix) + 1 :] for name in shapes if name.startswith(f"{prefix}."))
    found = {int(name.split(".")[0]) for name in rest}
    for i in range(len(found)):
        if i not in found:
            raise KeyError(f"{prefix}.{i}")
    return len(found)


MOST_MULTIPLIED = 1024
"""Tokens. The matrix of more of them takes too much memory to be kept for the gradients."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of q (B, heads, N, D) to k and v (B, heads, L, D) -> (B, heads, N, D).

    On a CPU, the gradients of PyTorch's fused attention in bfloat16 take up to eight times as long as those of two
    matrix products (2.13; 16 to 256 tokens).
    """
    slow = q.requires_grad and q.dtype == torch.bfloat16 and q.device.type == "cpu"
    if not slow or k.shape[2] > MOST_MULTIPLIED:
        return F.scaled_dot_product_attention(q, k, v)
    weights = (q * q.shape[3] ** -0.5 @ k.transpose(2, 3)).softmax(dim=3, dtype=torch.float32)
    return cast(Tensor, weights.to(v.dtype) @ v)


def check_heads(width: int, heads: int) -> None:
    """Raises ValueError where `width` channels cannot be shared out among `heads`."""
    if heads < 1 or width % heads:
        raise ValueError(f"{width} channels for {heads} heads")

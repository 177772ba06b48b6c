"""Uniform symmetric quantisers (TinySAM, arXiv 2312.13789, section 3.3; two groups: PTQ4ViT, arXiv 2111.12293).

    x_q = clip(round(x / s), -2^(b-1), 2^(b-1) - 1),    x ≈ s · x_q

for b bits and a scale s, of a whole tensor or of each channel. Numbers that are never negative use 0 … 2^b - 1
instead, for the sign bit would be lost. The zero point is 0 always.

The outputs of a softmax or a GELU are spread unevenly: many numbers near 0, and a few far from it. Their quantiser
has two groups of numbers with a scale each: one bit tells the group, the other b - 1 bits are the number. The fine
scale is the coarse one divided by a power of two, so that integers of both groups add up after a shift.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Groups = Literal["one", "softmax", "gelu"]
"""Not at all; small and large numbers, after a softmax; negative and other numbers, after a GELU."""
LARGEST_SHIFT = 12
"""The fine scale is at least 2^-12 of the coarse one."""


def levels(bits: int, unsigned: bool = False) -> tuple[int, int]:
    """The lowest and the highest integer of so many bits."""
    half = 1 << (bits - 1)
    return (0, 2 * half - 1) if unsigned else (-half, half - 1)


@dataclass(frozen=True)
class Quantizer:
    """Numbers of any shape, rounded to those that `bits` bits can tell apart.

    bits: from 2 on. scale: float32 > 0, of any shape that broadcasts with the numbers: () for a scale for all.
    unsigned: whether the integers are 0 and above; for one group only. groups: see `Groups`.
    shift: with two groups, the fine scale is scale / 2^shift.
    """

    bits: int
    scale: Tensor
    unsigned: bool = False
    groups: Groups = "one"
    shift: int = 0

    def __post_init__(self) -> None:
        if self.groups not in get_args(Groups):
            raise ValueError(f"there are no groups {self.groups!r}")

    def __call__(self, x: Tensor) -> Tensor:
        """The rounded numbers, float32, of the shape of `x`. Gradients pass as if nothing was rounded."""
        rounded = self._round(x.detach())
        return x + (rounded - x).detach() if x.requires_grad and torch.is_grad_enabled() else rounded

    def _round(self, x: Tensor) -> Tensor:
        if self.groups == "one":
            return _uniform(x, self.scale, *levels(self.bits, self.unsigned))
        half = 2 ** (self.bits - 1)  # the other bit tells the group
        fine = self.scale * 2.0**-self.shift
        coarse_numbers = _uniform(x, self.scale, 0, half - 1)
        if self.groups == "softmax":
            return torch.where(x < half * fine, _uniform(x, fine, 0, half - 1), coarse_numbers)
        return torch.where(x < 0, _uniform(x, fine, -half, 0), coarse_numbers)


def _uniform(x: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
    return (x / scale).round_().clamp_(lowest, highest).mul_(scale)

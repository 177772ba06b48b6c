"""Batch normalisation over all processes: with the batch shared out, its statistics are still the whole batch's.

PyTorch's own synchronised layer runs on CUDA alone. This one is written with a differentiable sum over processes, so
it runs wherever they can talk, and the gradient of what each contributed finds its way back.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, whose mean and variance are those of the batches of all processes together."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape; every process brings a batch of the same shape."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        sums = torch.cat(
            [values.sum((0, 2, 3)), values.square().sum((0, 2, 3)), values.new_tensor([x[:, 0].numel()])]
        )
        sums = cast(Tensor, all_reduce(sums))
        count = sums[-1].detach()
        mean, squares = (part / count for part in sums[:-1].chunk(2))
        variance = squares - mean.square()
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = cast(Tensor, self.weight) * (variance + self.eps).rsqrt()
        shift = cast(Tensor, self.bias) - mean * scale
        return (values * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked += 1
        cast(Tensor, self.running_mean).lerp_(mean, self.momentum)
        cast(Tensor, self.running_var).lerp_(variance, self.momentum)


def share_batch_norm(module: nn.Module) -> None:
    """Turn every batch normalisation in a module, in place, into one over all processes; its tensors stay its own."""
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = SharedBatchNorm2d

"""Batch normalisation over all processes: with the batch shared out, its statistics are still the whole batch's.

PyTorch's own synchronised layer runs on CUDA alone. This one is written with a differentiable sum over processes, so
it runs wherever they can talk, and the gradient of what each contributed finds its way back.
"""

from typing import Any, cast

import torch
from torch import Tensor, distributed, nn


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, whose mean and variance are those of the batches of all processes together."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape; every process brings a batch of the same shape."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        count = values[:, 0].numel() * distributed.get_world_size()
        mean = _sum_over_processes(values.sum((0, 2, 3))) / count
        deviations = (
            values - mean.view(1, -1, 1, 1)
        ).square()  # in a second pass: a difference of squares is not exact
        variance = _sum_over_processes(deviations.sum((0, 2, 3))) / count
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


class _SumOverProcesses(torch.autograd.Function):
    """The sum of what all processes bring; each one's contribution gets the sum of all their gradients."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        total = mine.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def _sum_over_processes(mine: Tensor) -> Tensor:
    return cast(Tensor, _SumOverProcesses.apply(mine))  # type: ignore[no-untyped-call]


def share_batch_norm(module: nn.Module) -> nn.Module:
    """The module with every batch normalisation in it replaced by one over all processes, which keeps its tensors.

    Like `torch.nn.SyncBatchNorm.convert_sync_batchnorm`: the module itself stays the same object unless it is a
    batch normalisation.
    """
    if type(module) is nn.BatchNorm2d:
        return _shared(module)
    for name, child in module.named_children():
        module.add_module(name, share_batch_norm(child))
    return module


def _shared(norm: nn.BatchNorm2d) -> SharedBatchNorm2d:
    shared = SharedBatchNorm2d(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, norm.weight.device
    )
    shared.weight, shared.bias = norm.weight, norm.bias
    shared.running_mean, shared.running_var = norm.running_mean, norm.running_var
    shared.num_batches_tracked = norm.num_batches_tracked
    return shared.train(norm.training)

"""A depthwise convolution whose gradients are fast on a CPU in half precision.

PyTorch's kernels for x86 have fast paths for depthwise gradients, but neither for the input of a convolution with
stride 2 nor for a 5 x 5 kernel. Both are rewritten here as convolutions that have one; the gradients are the same to
rounding.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """`F.conv2d` with a kernel a channel: x (B, C, H, W), weight (C, 1, k, k), k 3 or 5, bias (C,)."""
    if x.device.type != "cpu" or not torch.is_grad_enabled() or not weight.requires_grad:
        return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))
    if torch.is_autocast_enabled("cpu"):
        weight = weight.to(torch.get_autocast_dtype("cpu"))
        x, bias = x.to(weight.dtype), None if bias is None else bias.to(weight.dtype)
    x = F.pad(x, (padding,) * 4) if padding and stride > 1 else x
    return cast(Tensor, _Depthwise.apply(x, weight, bias, stride, 0 if stride > 1 else padding))  # type: ignore[no-untyped-call]


class _Depthwise(torch.autograd.Function):
    """Stride 1 with any padding, or stride 2 without."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_x = None
        if ctx.needs_input_grad[0]:
            by_stride = _gradient_of_input if ctx.stride == 1 else _gradient_of_strided_input
            of_x = by_stride(gradient, x, weight, ctx.padding)
        of_weight = _gradient_of_weight(gradient, x, weight, ctx.stride, ctx.padding)
        of_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return of_x, of_weight, of_bias, None, None


def _gradient_of_input(gradient: Tensor, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """A convolution with the mirrored kernel."""
    padding = weight.shape[-1] - 1 - padding
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, padding, groups=len(weight))


def _gradient_of_strided_input(gradient: Tensor, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Of stride 2, without padding: every second row and column is a convolution with a part of the kernel."""
    found = torch.zeros_like(x, memory_format=torch.channels_last)
    for top in (0, 1):
        for left in (0, 1):
            part = weight[:, :, top::2, left::2].flip(2, 3).contiguous()
            rows, columns = part.shape[2:]
            phase = F.conv2d(gradient, part, None, 1, (rows - 1, columns - 1), groups=len(weight))
            target = found[:, :, top::2, left::2]
            height, width = (min(a, b) for a, b in zip(phase.shape[2:], target.shape[2:], strict=True))
            target[:, :, :height, :width] = phase[:, :, :height, :width]
    return found


def _gradient_of_weight(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Of a 5 x 5 kernel in four pieces of 3 x 3, which overlap in the middle row and column."""
    if weight.shape[-1] != 5:
        return _backward(gradient, x, weight, stride, padding)
    x = F.pad(x, (padding,) * 4)
    height, width = (stride * (size - 1) + 3 for size in gradient.shape[2:])
    found = torch.empty_like(weight)
    for top in (0, 2):
        for left in (0, 2):
            window = x[:, :, top : top + height, left : left + width]
            window = window.contiguous(memory_format=torch.channels_last)
            piece = weight[:, :, :3, :3].contiguous()
            found[:, :, top : top + 3, left : left + 3] = _backward(gradient, window, piece, stride, 0)
    return found


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    _, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        [stride] * 2,
        [padding] * 2,
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [False, True, False],
    )
    return cast(Tensor, of_weight)

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
        x = x.to(weight.dtype)
    x = F.pad(x, (padding,) * 4) if padding and stride > 1 else x
    y = cast(Tensor, _Depthwise.apply(x, weight, stride, 0 if stride > 1 else padding))  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias.to(y.dtype).view(-1, 1, 1)


class _Depthwise(torch.autograd.Function):
    """Stride 1 with any padding, or any stride without."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_x = (
            _gradient_of_input(gradient, x, weight, ctx.stride, ctx.padding)
            if ctx.needs_input_grad[0]
            else None
        )
        return of_x, _gradient_of_weight(gradient, x, weight, ctx.stride, ctx.padding), None, None


def _gradient_of_input(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """A convolution with the mirrored kernel; between the gradients of a stride lie zeros."""
    kernel = weight.shape[-1]
    if stride > 1:
        height, width = (size - kernel + 1 for size in x.shape[2:])
        spread = gradient.new_zeros(*x.shape[:2], height, width).contiguous(memory_format=torch.channels_last)
        spread[:, :, ::stride, ::stride] = gradient
        gradient = spread
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, kernel - 1 - padding, groups=len(weight))


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

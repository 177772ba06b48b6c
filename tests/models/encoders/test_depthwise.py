"""The rewritten gradients are those of `F.conv2d`."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pocketsam.models.encoders.depthwise import depthwise_conv2d

CASES = [(kernel, stride) for kernel in (3, 5) for stride in (1, 2)]


def gradients(conv: object, dtype: torch.dtype, kernel: int, stride: int, bias: bool = True) -> list[Tensor]:
    """Output, and the gradients of input, kernel and bias."""
    torch.manual_seed(0)
    channels, padding = 6, kernel // 2
    x = torch.randn(2, channels, 13, 10, dtype=dtype, requires_grad=True)
    weight = torch.randn(channels, 1, kernel, kernel, dtype=dtype, requires_grad=True)
    shift = torch.randn(channels, dtype=dtype, requires_grad=True) if bias else None
    y = conv(x, weight, shift, stride, padding)  # type: ignore[operator]
    (y.to(dtype) * torch.randn(y.shape, dtype=dtype)).sum().backward()
    return [y.detach(), *(tensor.grad for tensor in (x, weight, shift) if tensor is not None)]


def reference(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))


@pytest.mark.parametrize(("kernel", "stride"), CASES)
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_exact_in_float64(kernel: int, stride: int, bias: bool) -> None:
    ours = gradients(depthwise_conv2d, torch.float64, kernel, stride, bias)
    theirs = gradients(reference, torch.float64, kernel, stride, bias)
    assert len(ours) == (4 if bias else 3)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kernel", "stride"), CASES)
def test_gradients_in_mixed_precision_are_near(kernel: int, stride: int) -> None:
    exact = gradients(reference, torch.float32, kernel, stride)
    with torch.autocast("cpu", torch.bfloat16):
        ours = gradients(depthwise_conv2d, torch.float32, kernel, stride)
        theirs = gradients(reference, torch.float32, kernel, stride)
    assert ours[0].dtype == theirs[0].dtype == torch.bfloat16
    for one, other, true in zip(ours, theirs, exact, strict=True):
        assert one.dtype == other.dtype
        error = float((one.float() - true).norm() / true.norm())
        assert error < 0.01, "bfloat16 keeps 8 bits"


def test_without_gradients_it_is_the_library_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 1, 3, 3)
    monkeypatch.setattr("pocketsam.models.encoders.depthwise._Depthwise", None)
    torch.testing.assert_close(depthwise_conv2d(x, weight, None, 1, 1), reference(x, weight, None, 1, 1))
    with torch.no_grad():
        weight.requires_grad_()
        torch.testing.assert_close(depthwise_conv2d(x, weight, None, 2, 1), reference(x, weight, None, 2, 1))

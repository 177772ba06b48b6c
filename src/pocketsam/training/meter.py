"""How fast a run is: photos a second, and what share of the device's matrix rate they keep busy.

The rate is not a data sheet's but what one large matrix product reaches on this device, in the run's precision: the
share then says what the run could gain at most.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode


class Speed:
    """Photos a second over the whole run so far, pauses aside.

    operations: floating-point operations a photo. rate: what the devices reach together, a second.
    """

    def __init__(self, operations: int, rate: float) -> None:
        self.operations, self.rate = operations, rate
        self.photos, self.seconds, self._since = 0, 0.0, time.perf_counter()

    def count(self, photos: int) -> None:
        """So many photos more were learned from, since the last ones or a pause."""
        now = time.perf_counter()
        self.photos, self.seconds, self._since = self.photos + photos, self.seconds + now - self._since, now

    def pause(self) -> None:
        """What was done since the last photos, such as validation, does not count."""
        self._since = time.perf_counter()

    @property
    def photos_a_second(self) -> float:
        return self.photos / self.seconds

    @property
    def share(self) -> float:
        """Of the devices' matrix rate."""
        return self.photos_a_second * self.operations / self.rate

    def __str__(self) -> str:
        return f"{self.photos_a_second:.1f} photos/s, {100 * self.share:.1f} % of the matrix rate"


def floating_point_operations(step: Callable[[], Tensor]) -> int:
    """Those of the matrix products, convolutions and attentions of a loss and of its gradients."""
    gradients = {torch.ops.aten.convolution_backward: _of_convolution_gradients}
    with FlopCounterMode(display=False, custom_mapping=gradients) as counter:
        step().backward()
    return int(counter.get_total_flops())


def _of_convolution_gradients(
    output: Sequence[int], image: Sequence[int], weight: Sequence[int], *rest: Any, **_: Any
) -> int:
    """As many as the convolution itself takes, for the gradient of each of image and weight.

    PyTorch's own count takes a depthwise convolution's gradients for those of a dense one. The shapes of the
    output's gradient, of the image and of the weight; rest: the other arguments of `convolution_backward`.
    """
    transposed, mask = rest[4], rest[-1]
    products = math.prod(image if transposed else output) * math.prod(weight[1:])
    return 2 * products * int(sum(mask[:2]))


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, the best of a few."""
    side, tries = (8192, 5) if device.type == "cuda" else (1024, 5)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(tries):
        _wait(device)
        began = time.perf_counter()
        a @ b
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

import time

import pytest
import torch
from torch import nn

from pocketsam.training import meter
from pocketsam.training.meter import Speed, floating_point_operations, matrix_rate


def test_operations_of_a_linear_layer_forwards_and_backwards() -> None:
    layer, x = nn.Linear(20, 30, bias=False), torch.randn(10, 20, requires_grad=True)
    # y = x W', and the gradients of x and of W: three products of 10 × 20 × 30.
    assert floating_point_operations(lambda: layer(x).sum()) == 3 * 2 * 10 * 20 * 30


def test_pauses_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 2.0, 102.0, 104.0])
    monkeypatch.setattr(meter.time, "perf_counter", lambda: next(now))
    speed = Speed(operations=50, rate=1000.0)
    speed.count(8)
    speed.pause()
    speed.count(8)
    assert (speed.photos_a_second, speed.share) == (4.0, 0.2)
    assert str(speed) == "4.0 photos/s, 20.0 % of the matrix rate"


def test_the_matrix_rate_is_measured() -> None:
    began = time.perf_counter()
    rate = matrix_rate(torch.device("cpu"), torch.float32)
    assert rate >= 2 * 1024**3 / (time.perf_counter() - began)

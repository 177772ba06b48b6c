import pytest
import torch
from torch import nn

from pocketsam.training import meter
from pocketsam.training.meter import Speed, floating_point_operations, matrix_rate


def test_operations_of_a_linear_layer_forwards_and_backwards() -> None:
    layer, x = nn.Linear(20, 30, bias=False), torch.randn(10, 20, requires_grad=True)
    # y = x W', and the gradients of x and of W: three products of 10 × 20 × 30.
    assert floating_point_operations(lambda: layer(x).sum()) == 3 * 2 * 10 * 20 * 30


@pytest.mark.parametrize(
    ("layer", "products"),
    [
        (nn.Conv2d(8, 12, 3, padding=1, bias=False), 12 * 8 * 9 * 100),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), 8 * 9 * 100),
        (nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4, bias=False), 16 * 2 * 9 * 25),
        (nn.ConvTranspose2d(8, 4, 2, stride=2, bias=False), 8 * 4 * 4 * 100),
    ],
)
def test_the_gradients_of_a_convolution_take_twice_what_it_takes(layer: nn.Module, products: int) -> None:
    image = torch.randn(1, 8, 10, 10, requires_grad=True)
    assert floating_point_operations(lambda: layer(image).sum()) == 3 * 2 * products


def test_pauses_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 2.0, 102.0, 104.0])
    monkeypatch.setattr(meter.time, "perf_counter", lambda: next(now))
    speed = Speed(operations=50, rate=1000.0)
    speed.count(8)
    speed.pause()
    speed.count(8)
    assert (speed.photos_a_second, speed.share) == (4.0, 0.2)
    assert str(speed) == "4.0 photos/s, 20.0 % of the matrix rate"


def test_the_matrix_rate_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five products of 2 × 1024³ operations, by a clock that says how long each took."""
    ends = [5.0, 7.0, 11.0, 12.0, 15.0]  # after 5, 2, 4, 1 and 3 seconds
    ticks = iter(tick for began, end in zip([0.0, *ends], ends, strict=False) for tick in (began, end))
    monkeypatch.setattr(meter.time, "perf_counter", lambda: next(ticks))
    assert matrix_rate(torch.device("cpu"), torch.float32) == 2 * 1024**3 / 1.0

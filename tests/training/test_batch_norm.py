"""Batch normalisation over processes: with one, it is PyTorch's own. With two: test_distillation.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from pocketsam.training.batch_norm import SharedBatchNorm2d, share_batch_norm


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_alone_it_is_the_ordinary_one() -> None:
    torch.manual_seed(0)
    ordinary = nn.BatchNorm2d(3)
    nn.init.normal_(ordinary.weight)
    shared = nn.Sequential(nn.BatchNorm2d(3))
    shared[0].load_state_dict(ordinary.state_dict())
    norm = shared[0]
    assert share_batch_norm(shared) is shared
    assert type(shared[0]) is SharedBatchNorm2d and type(norm) is nn.BatchNorm2d, "replaced, not changed"
    assert shared[0].weight is norm.weight and shared[0].running_mean is norm.running_mean
    for _ in range(2):
        x = (3 * torch.randn(4, 3, 5, 6) + 2).requires_grad_()
        y = x.detach().clone().requires_grad_()
        a, b = ordinary(x), shared(y)
        torch.testing.assert_close(a, b)
        (a**3).sum().backward()
        (b**3).sum().backward()
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-4)
    for name, value in ordinary.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[f"0.{name}"], value)
    torch.testing.assert_close(ordinary.weight.grad, shared[0].weight.grad, rtol=1e-4, atol=1e-4)
    assert torch.equal(ordinary.eval()(x), shared.eval()(x))


def test_settings_and_names_stay() -> None:
    nested = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3, momentum=0.2).eval())
    )
    names = list(nested.state_dict())
    (norm,) = share_batch_norm(nested)[1]
    assert (type(norm), norm.eps, norm.momentum, norm.training) == (SharedBatchNorm2d, 1e-3, 0.2, False)
    assert list(nested.state_dict()) == names
    assert type(share_batch_norm(nn.BatchNorm2d(2))) is SharedBatchNorm2d

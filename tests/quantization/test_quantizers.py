"""The quantisers against a slow transcription, number by number."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pocketsam.quantization.quantizers import Quantizer, levels


def one(x: float, scale: float, lowest: int, highest: int) -> float:
    """clip(round(x / s), lowest, highest), and back."""
    return float(np.clip(np.round(np.float32(x) / np.float32(scale)), lowest, highest) * np.float32(scale))


def two(x: float, scale: float, bits: int, groups: str, shift: int) -> float:
    """One bit for the group, the others for the number."""
    fine, half = scale / 2**shift, 2 ** (bits - 1)
    if groups == "softmax":
        return one(x, fine, 0, half - 1) if x < half * fine else one(x, scale, 0, half - 1)
    return one(x, fine, -half, 0) if x < 0 else one(x, scale, 0, half - 1)


def numbers(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 4, 6, 8, 16])
@pytest.mark.parametrize("unsigned", [False, True])
def test_one_scale_for_all(bits: int, unsigned: bool) -> None:
    x, scale = numbers((4, 50)), 2.5 / 2**bits
    found = Quantizer(bits, torch.tensor(scale), unsigned)(torch.from_numpy(x))
    wanted = [[one(v, scale, *levels(bits, unsigned)) for v in row] for row in x]
    assert np.abs(found.numpy() - wanted).max() < 1e-6
    assert len(found.unique()) <= 2**bits


def test_the_levels_are_those_of_the_paper() -> None:
    assert levels(8) == (-128, 127)
    assert levels(4) == (-8, 7)
    assert levels(8, unsigned=True) == (0, 255)


def test_a_scale_a_channel() -> None:
    x, scales = numbers((3, 50)), np.array([0.5, 0.01, 0.1], np.float32)
    found = Quantizer(6, torch.from_numpy(scales)[:, None])(torch.from_numpy(x))
    wanted = [[one(v, s, -32, 31) for v in row] for row, s in zip(x, scales, strict=True)]
    assert np.abs(found.numpy() - wanted).max() < 1e-6


@pytest.mark.parametrize("groups", ["softmax", "gelu"])
@pytest.mark.parametrize("shift", [0, 3, 7])
def test_two_groups(groups: str, shift: int) -> None:
    x = torch.from_numpy(numbers((300,)))
    x = x.softmax(0) if groups == "softmax" else torch.nn.functional.gelu(x)
    scale = float(x.max()) / 15
    found = Quantizer(5, torch.tensor(scale), False, groups, shift)(x)  # type: ignore[arg-type]
    wanted = [two(v, scale, 5, groups, shift) for v in x.tolist()]
    assert np.abs(found.numpy() - wanted).max() < 1e-6
    assert len(found.unique()) <= 2**5 + 1  # 0 is in both groups


def test_two_groups_keep_small_numbers_apart_from_nothing() -> None:
    x = torch.tensor([0.002, 0.9])
    scale = torch.tensor(1 / 7)
    assert Quantizer(4, scale)(x)[0] == 0
    assert Quantizer(4, scale, groups="softmax", shift=6)(x)[0] == pytest.approx(0.002, rel=0.2)


def test_gradients_pass() -> None:
    x = torch.tensor([0.3, 5.0], requires_grad=True)
    rounded = Quantizer(3, torch.tensor(0.25))(x)
    assert rounded.tolist() == [0.25, 0.75]
    rounded.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 1]


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="three"):
        Quantizer(8, torch.ones(()), groups="three")  # type: ignore[arg-type]

"""The search against slow transcriptions in numpy, and its gradients against finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pocketsam.quantization.calibrate import task_loss
from pocketsam.quantization.quantizers import Quantizer
from pocketsam.quantization.search import Part, Samples, distance, find_scales, initial_scales
from pocketsam.quantization.settings import QuantizationSettings

FAST = QuantizationSettings(weight_bits=4, activation_bits=4, candidates=12)


def samples(channels: int = 5, gradient: bool = True, groups: str = "one") -> Samples:
    torch.manual_seed(1)
    a, b = torch.randn(1, 16, 8), torch.randn(1, 8, 5) * torch.tensor([0.1, 1, 3, 1, 1])
    if groups == "softmax":
        a = (4 * a).softmax(-1)
    part = Part(a, b, torch.randn(1, 16, 5) if gradient else None)
    return Samples(
        (part,), (float(a.min()), float(a.max())), (float(b.min()), float(b.max())), groups, channels
    )  # type: ignore[arg-type]


def quantize(x: np.ndarray, scale: np.ndarray | float, bits: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.clip(np.round(x / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale


@pytest.mark.parametrize("with_gradient", [False, True])
def test_distance_is_the_squared_error_weighted_by_squared_gradients(with_gradient: bool) -> None:
    (part,) = samples(gradient=with_gradient).parts
    output = torch.randn(1, 16, 5)
    found = distance(part, output)
    a, b = part.a.double().numpy()[0], part.b.double().numpy()[0]
    for channel in range(5):
        wanted = 0.0
        for row in range(16):
            exact = sum(a[row, k] * b[k, channel] for k in range(8))
            weight = float(part.gradient[0, row, channel]) ** 2 if part.gradient is not None else 1.0
            wanted += weight * (float(output[0, row, channel]) - exact) ** 2
        assert float(found[0, channel]) == pytest.approx(wanted, rel=1e-5)


def test_min_max_clips_nothing() -> None:
    of = samples()
    scales = initial_scales(of, replace(FAST, method="minmax"))
    (part,) = of.parts
    assert float(scales.a.scale) == pytest.approx(float(part.a.abs().max()) / 7)
    assert scales.b.scale.tolist() == pytest.approx((part.b[0].abs().amax(0) / 7).tolist())


def test_percentile_leaves_the_largest_out() -> None:
    a = torch.linspace(0, 1, 2001).view(1, -1, 1)
    of = Samples((Part(a, torch.ones(1, 1, 1)),), (0.0, 1.0), (1.0, 1.0), "one", 1)
    scales = initial_scales(of, replace(FAST, method="percentile"))
    assert scales.a.unsigned
    assert float(scales.a.scale) == pytest.approx(0.999 / 15, rel=1e-3)


def test_mse_is_the_best_candidate_of_the_numbers() -> None:
    of = samples()
    scales = initial_scales(of, replace(FAST, method="mse"))
    numbers = of.parts[0].a.numpy()
    largest = np.abs(numbers).max()
    candidates = [largest / 7, *(np.linspace(0.01, 1.2, 12) * largest / 8)]
    errors = [((quantize(numbers, scale, 4) - numbers) ** 2).sum() for scale in candidates]
    assert float(scales.a.scale) == pytest.approx(candidates[int(np.argmin(errors))], rel=1e-5)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("method", ["output", "hessian"])
def test_the_alternating_search_is_the_papers(method: str, rounds: int) -> None:
    of = samples()
    if method == "output":
        of = replace(of, parts=(replace(of.parts[0], gradient=None),))
    found = find_scales(of, replace(FAST, method=method, rounds=rounds))  # type: ignore[arg-type]
    a, b = of.parts[0].a.numpy()[0].astype(np.float64), of.parts[0].b.numpy()[0].astype(np.float64)
    gradient = of.parts[0].gradient
    weight = np.ones((16, 5)) if gradient is None else gradient.numpy()[0].astype(np.float64) ** 2
    fractions = np.linspace(0.01, 1.2, 12)
    scale_a, scale_b = np.abs(a).max() / 7, np.abs(b).max(0) / 7
    for _ in range(rounds):
        other = quantize(b, scale_b, 4) if rounds > 1 else b
        candidates = [scale_a, *(fractions * np.abs(a).max() / 8)]
        errors = [(weight * (quantize(a, s, 4) @ other - a @ b) ** 2).sum() for s in candidates]
        scale_a = candidates[int(np.argmin(errors))]
        other = quantize(a, scale_a, 4) if rounds > 1 else a
        for channel in range(5):
            column, largest = b[:, channel], np.abs(b[:, channel]).max()
            options = [scale_b[channel], *(fractions * largest / 8)]
            errors = [
                (weight[:, channel] * (other @ quantize(column, s, 4) - a @ column) ** 2).sum()
                for s in options
            ]
            scale_b[channel] = options[int(np.argmin(errors))]
    assert float(found.a.scale) == pytest.approx(scale_a, rel=1e-5)
    assert found.b.scale.tolist() == pytest.approx(scale_b.tolist(), rel=1e-5)


def test_the_search_is_at_least_as_good_as_min_max_and_two_groups_better_still() -> None:
    of = samples(groups="softmax")
    (part,) = of.parts

    def error(settings: QuantizationSettings) -> float:
        scales = find_scales(of, settings)
        return float(distance(part, scales.a(part.a) @ Quantizer(4, scales.b.scale)(part.b)).sum())

    one = replace(FAST, two_groups=False)
    assert error(one) < error(replace(one, method="minmax"))
    assert error(FAST) < error(one)


def test_an_activation_b_has_one_scale() -> None:
    scales = find_scales(samples(channels=0), FAST)
    assert scales.b.scale.shape == ()


def test_zeros_have_a_scale() -> None:
    part = Part(torch.zeros(1, 4, 2), torch.zeros(1, 2, 3))
    scales = find_scales(Samples((part,), (0.0, 0.0), (0.0, 0.0), "one", 3), FAST)
    assert float(scales.a.scale) > 0 and (scales.b.scale > 0).all()


def test_task_loss_is_the_sum_of_two_divergences() -> None:
    generator = np.random.default_rng(0)
    logits, other = generator.normal(size=(2, 3)), generator.normal(size=(2, 3))
    iou, other_iou = generator.uniform(0.1, 0.9, 4), generator.uniform(0.1, 0.9, 4)

    def kl(p: float, q: float) -> float:
        return float(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))

    sigmoid = 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-other))
    wanted = np.mean([kl(p, q) for p, q in zip(sigmoid[0].flat, sigmoid[1].flat, strict=True)])
    wanted += np.mean([kl(p, q) for p, q in zip(iou, other_iou, strict=True)])
    tensors = [torch.from_numpy(values) for values in (logits, iou, other, other_iou)]
    found = task_loss((tensors[2], tensors[3]), (tensors[0], tensors[1]))
    assert float(found) == pytest.approx(wanted, abs=1e-6)
    assert float(task_loss((tensors[0], tensors[1]), (tensors[0], tensors[1]))) == pytest.approx(0, abs=1e-9)


def test_gradients_of_the_task_loss_are_its_finite_differences() -> None:
    torch.manual_seed(0)
    reference = torch.randn(2, 3, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    logits = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    iou = (0.1 + 0.8 * torch.rand(4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda logits, iou: task_loss((logits, iou), reference), (logits, iou))

"""The losses of masked pretraining against literal transcriptions, in float64 NumPy loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketsam.models.encoders.vit import ViT
from pocketsam.models.layers import Normalise
from pocketsam.models.masked import AllTokenDecoder, MaskedModel
from pocketsam.training.losses.sami import (
    Mae,
    MaskedPrediction,
    Sami,
    feature_angle,
    feature_error,
    normalised_patches,
)


def literal_error(predicted: np.ndarray, target: np.ndarray) -> float:
    """1/N Σ ||f_sam - f_h||², over all images' tokens, and a share of a channel."""
    tokens = list(
        zip(predicted.reshape(-1, predicted.shape[2]), target.reshape(-1, target.shape[2]), strict=True)
    )
    total = 0.0
    for f_h, f_sam in tokens:
        total += sum((a - b) ** 2 for a, b in zip(f_sam, f_h, strict=True))
    return total / len(tokens) / predicted.shape[2]


def literal_angle(predicted: np.ndarray, target: np.ndarray) -> float:
    tokens = list(
        zip(predicted.reshape(-1, predicted.shape[2]), target.reshape(-1, target.shape[2]), strict=True)
    )
    total = 0.0
    for a, b in tokens:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        total += 1 - dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return total / len(tokens)


def literal_patches(pixels: np.ndarray) -> np.ndarray:
    """Every patch's pixels, less their mean and over their deviation."""
    images, channels, side, _ = pixels.shape
    rows = side // 16
    found = np.zeros((images, rows * rows, channels * 256))
    for image in range(images):
        for row in range(rows):
            for column in range(rows):
                patch = pixels[image, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16].flatten()
                mean = sum(patch) / len(patch)
                variance = sum((x - mean) ** 2 for x in patch) / (len(patch) - 1)
                found[image, row * rows + column] = (patch - mean) / math.sqrt(variance + 1e-6)
    return found


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_losses_are_their_equations(seed: int, scale: float) -> None:
    predicted, target = np.random.default_rng(seed).normal(0, scale, (2, 2, 5, 7))
    a, b = torch.from_numpy(predicted), torch.from_numpy(target)
    assert float(feature_error(a, b)) == pytest.approx(literal_error(predicted, target), rel=1e-6)
    assert float(feature_angle(a, b)) == pytest.approx(literal_angle(predicted, target), rel=1e-6)


def test_patches_are_normalised_each_by_itself() -> None:
    pixels = np.random.default_rng(0).normal(3, 5, (2, 3, 32, 32))
    found = normalised_patches(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(found, literal_patches(pixels), rtol=1e-6, atol=1e-9)


def small_loss(
    kind: type[MaskedPrediction], channels: int
) -> tuple[MaskedPrediction, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = MaskedModel(ViT(64, depth=1, hidden=64), AllTokenDecoder(64, 4, 32, 1), channels)
    batch = {
        "image": torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8),
        "order": torch.stack([torch.randperm(16) for _ in range(2)]),
        "target": torch.randn(2, channels, 4, 4).half(),
    }
    return kind(model, Normalise((120.0,) * 3, (60.0,) * 3), visible=4), batch


@torch.no_grad()
def test_sami_compares_every_patch_with_the_embedding_of_its_place() -> None:
    loss, batch = small_loss(Sami, 5)
    predicted = loss.model(loss.normalise(batch["image"]), batch["order"], 4).numpy()
    target = np.zeros_like(predicted)
    for row in range(4):
        for column in range(4):
            target[:, 4 * row + column] = batch["target"][:, :, row, column].float().numpy()
    assert float(loss(batch, 0)["loss"]) == pytest.approx(literal_error(predicted, target), rel=1e-6)
    loss.by_angle = True
    assert float(loss(batch, 0)["loss"]) == pytest.approx(literal_angle(predicted, target), rel=1e-6)


@torch.no_grad()
def test_mae_compares_the_masked_patches_alone() -> None:
    loss, batch = small_loss(Mae, 768)
    pixels = loss.normalise(batch["image"])
    predicted, target = loss.model(pixels, batch["order"], 4).numpy(), literal_patches(pixels.numpy())
    errors = [
        literal_error(predicted[i : i + 1, [n]], target[i : i + 1, [n]])
        for i, numbers in enumerate(batch["order"].tolist())
        for n in numbers[4:]
    ]
    assert len(errors) == 24
    assert float(loss(batch, 0)["loss"]) == pytest.approx(sum(errors) / 24, rel=1e-6)

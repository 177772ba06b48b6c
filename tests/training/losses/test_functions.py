"""Every loss against a literal transcription of its equation, in float64 NumPy loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketsam.training.losses.functions import (
    click_loss,
    cross_entropy,
    dice_loss,
    embedding_distance,
    embedding_error,
    focal_loss,
    hard_mask_weights,
    iou_distance,
    mask_distance,
    mask_iou,
    mask_loss,
    token_distance,
)


def literal_focal(logits: np.ndarray, target: np.ndarray, alpha: float = 0.25, gamma: float = 2.0) -> float:
    """-alpha_t (1 - p_t)^gamma log(p_t) for hard targets, the mean over pixels."""
    total = 0.0
    for x, t in zip(logits.flat, target.flat, strict=True):
        p = 1 / (1 + math.exp(-x))
        p_t = p if t == 1 else 1 - p
        alpha_t = alpha if t == 1 else 1 - alpha
        total -= alpha_t * (1 - p_t) ** gamma * math.log(p_t)
    return total / logits.size


def literal_dice(logits: np.ndarray, target: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-logits))
    return float(1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1))


def literal_cross_entropy(logits: np.ndarray, target: np.ndarray) -> float:
    total = 0.0
    for x, t in zip(logits.flat, target.flat, strict=True):
        p = 1 / (1 + math.exp(-x))
        total -= t * math.log(p) + (1 - t) * math.log(1 - p)
    return total / logits.size


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_losses_are_their_equations(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (2, 3, 6, 5))
    target = (rng.random((2, 3, 6, 5)) < 0.4).astype(np.float64)
    x, t = torch.from_numpy(logits), torch.from_numpy(target)
    for i in np.ndindex(2, 3):
        focal, dice = literal_focal(logits[i], target[i]), literal_dice(logits[i], target[i])
        assert float(focal_loss(x, t)[i]) == pytest.approx(focal, rel=1e-6)
        assert float(dice_loss(x, t)[i]) == pytest.approx(dice, rel=1e-6)
        entropy = literal_cross_entropy(logits[i], target[i])
        assert float(cross_entropy(x, t)[i]) == pytest.approx(entropy, rel=1e-6)
        assert float(mask_loss(x, t, "cross-entropy")[i]) == pytest.approx(2 * entropy + dice, rel=1e-6)
        assert float(mask_loss(x, t)[i]) == pytest.approx(20 * focal + dice, rel=1e-6)


def test_iou_of_thresholded_masks() -> None:
    target = torch.zeros(4, 4)
    target[:2] = 1
    logits = torch.full((4, 4), -1.0)
    logits[1:3] = 1
    assert float(mask_iou(logits, target)) == pytest.approx(4 / 12)
    assert float(mask_iou(torch.full((4, 4), -1.0), torch.zeros(4, 4))) == 0.0


def literal_mean(a: np.ndarray, b: np.ndarray, power: int) -> float:
    total = 0.0
    for x, y in zip(a.flat, b.flat, strict=True):
        total += abs(x - y) ** power
    return total / a.size


def literal_hard_weight(teacher_iou: float, student_iou: float, epsilon: float = 1e-6) -> float:
    return 1 / (1 + math.exp(-(teacher_iou / (student_iou + epsilon) - 1)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_losses_of_distillation_are_their_equations(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(0, scale, (2, 2, 3, 5, 4))
    a, b = torch.from_numpy(student), torch.from_numpy(teacher)
    assert float(embedding_error(a, b)) == pytest.approx(literal_mean(student, teacher, 2), rel=1e-6)
    for distance in (embedding_distance, token_distance, iou_distance):
        assert float(distance(a, b)) == pytest.approx(literal_mean(student, teacher, 1), rel=1e-6)
    for i in np.ndindex(2, 3):
        expected = literal_mean(student[i], teacher[i], 1)
        assert float(mask_distance(a, b)[i]) == pytest.approx(expected, rel=1e-6)


@given(teacher=st.floats(0, 1), student=st.floats(0, 1))
def test_hard_masks_weigh_more(teacher: float, student: float) -> None:
    ious = torch.tensor([teacher, student], dtype=torch.float64)
    weight = float(hard_mask_weights(ious[0], ious[1]))
    ratio = teacher / (student + 1e-6) - 1
    expected = 1.0 if ratio > 700 else literal_hard_weight(teacher, student)
    assert weight == pytest.approx(expected, rel=1e-6)
    assert (weight > 0.5) == (teacher > student + 1e-6) or weight == pytest.approx(0.5)


def test_the_loss_of_clicks_is_the_cross_entropy_of_the_cells_that_are_clicked_on() -> None:
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(0, 2, (2, 3, 16, 16)), dtype=torch.float32)
    cells = rng.integers(0, 16, (2, 3, 4, 2))
    points = torch.tensor(4 * cells + 1.5, dtype=torch.float32)  # the middle of a cell of 4 pixels
    labels = torch.tensor(rng.choice([-1, 0, 1, 2, 3], (2, 3, 4)))
    wanted: list[list[float]] = [[], []]
    for image, item, click in np.ndindex(2, 3, 4):
        label = int(labels[image, item, click])
        if label in (0, 1):
            x, y = cells[image, item, click]
            p = 1 / (1 + math.exp(-float(logits[image, item, y, x])))
            wanted[image].append(-math.log(p if label else 1 - p))
    first, second = wanted
    assert 2 < len(first) != len(second) > 2
    expected = (np.mean(first) + np.mean(second)) / 2  # so that a batch in parts is the same step
    assert float(click_loss(logits, points, labels, 64)) == pytest.approx(expected, rel=1e-5)


def test_without_clicks_there_is_no_loss_of_clicks() -> None:
    corners = torch.tensor([2, 3]).expand(1, 1, 2)
    assert float(click_loss(torch.randn(1, 1, 16, 16), torch.zeros(1, 1, 2, 2), corners, 64)) == 0

"""The measures of saliency maps, against slow transcriptions of the papers' definitions."""

import math

import numpy as np
import pytest

from pocketsam.evaluation.saliency_measures import max_f, mean_absolute_error, precision_recall, s_measure


@pytest.fixture(scope="module", params=range(4))
def pair(request) -> tuple[np.ndarray, np.ndarray]:
    """A map (H, W) and a mask that it resembles more or less."""
    rng = np.random.default_rng(request.param)
    height, width = rng.integers(9, 24, 2)
    truth = np.zeros((height, width), np.bool_)
    truth[2 : 2 + height // 2, 3 : 3 + width // 2] = True
    noise = rng.random((height, width))
    return (1 - request.param / 4) * truth + request.param / 4 * noise, truth


def slow_object(values: list[float]) -> float:
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return 2 * mean / (mean**2 + 1 + deviation)


def slow_ssim(saliency: np.ndarray, truth: np.ndarray) -> float:
    pairs = [(float(s), float(t)) for s, t in zip(saliency.ravel(), truth.ravel(), strict=True)]
    count = len(pairs)
    if not count:
        return 0
    x, y = sum(s for s, _ in pairs) / count, sum(t for _, t in pairs) / count
    degrees = count - 1 if count > 1 else 1
    xx, yy = sum((s - x) ** 2 for s, _ in pairs) / degrees, sum((t - y) ** 2 for _, t in pairs) / degrees
    xy = sum((s - x) * (t - y) for s, t in pairs) / degrees
    above, below = 4 * x * y * xy, (x * x + y * y) * (xx + yy)
    return above / below if above else float(below == 0)


def slow_s_measure(saliency: np.ndarray, truth: np.ndarray) -> float:
    inside = [float(s) for s, t in zip(saliency.ravel(), truth.ravel(), strict=True) if t]
    outside = [1 - float(s) for s, t in zip(saliency.ravel(), truth.ravel(), strict=True) if not t]
    share = len(inside) / truth.size
    objects = share * slow_object(inside) + (1 - share) * slow_object(outside)
    places = [(y, x) for y in range(truth.shape[0]) for x in range(truth.shape[1]) if truth[y, x]]
    # The published code rounds the centroid, counted from 1, and ends the upper left part with it.
    cy = math.floor(sum(y + 1 for y, _ in places) / len(places) + 0.5)
    cx = math.floor(sum(x + 1 for _, x in places) / len(places) + 0.5)
    regions = 0.0
    for rows in (slice(0, cy), slice(cy, None)):
        for columns in (slice(0, cx), slice(cx, None)):
            part = truth[rows, columns]
            regions += part.size / truth.size * slow_ssim(saliency[rows, columns], part)
    return max(0.0, (objects + regions) / 2)


def test_s_measure_is_its_definition(pair) -> None:
    assert s_measure(*pair) == pytest.approx(slow_s_measure(*pair), abs=1e-6)


def test_s_measure_of_the_mask_itself_is_one_and_of_its_contrary_low(pair) -> None:
    _, truth = pair
    assert s_measure(truth.astype(float), truth) == pytest.approx(1, abs=1e-6)
    assert s_measure(1.0 - truth, truth) < 0.3


def test_without_an_object_the_mean_of_the_map_counts() -> None:
    saliency = np.full((4, 5), 0.25)
    assert s_measure(saliency, np.zeros((4, 5), np.bool_)) == 0.75
    assert s_measure(saliency, np.ones((4, 5), np.bool_)) == 0.25


def test_precision_and_recall_are_counted_at_each_level(pair) -> None:
    saliency, truth = pair
    precision, recall = precision_recall(saliency, truth)
    for level in (0, 1, 100, 255):
        found = np.floor(saliency * 255 + 0.5) >= level
        right = np.count_nonzero(found & truth)
        assert precision[level] == pytest.approx(right / found.sum() if found.any() else 1)
        assert recall[level] == pytest.approx(right / truth.sum())


def test_max_f_is_the_largest_f_of_the_mean_curves() -> None:
    precisions, recalls = [[0.5, 0.9], [0.7, 0.7]], [[1.0, 0.4], [1.0, 0.8]]
    expected = max(1.3 * p * r / (0.3 * p + r) for p, r in ((0.6, 1.0), (0.8, 0.6)))
    assert max_f(precisions, recalls) == pytest.approx(expected)


def test_the_error_is_the_mean_difference(pair) -> None:
    saliency, truth = pair
    expected = (
        sum(abs(float(s) - t) for s, t in zip(saliency.ravel(), truth.ravel(), strict=True)) / truth.size
    )
    assert mean_absolute_error(saliency, truth) == pytest.approx(expected)

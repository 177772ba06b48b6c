"""The measures of received photos, against slow transcriptions of their definitions."""

import numpy as np
import pytest

from pocketsam.apps.transmission.quality import C1, C2, SCALE_WEIGHTS, ms_ssim, psnr, ssim


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sent = rng.integers(0, 256, (96, 128, 3), np.uint8)
    noise = rng.normal(0, 20, sent.shape)
    return sent, np.clip(sent + noise, 0, 255).astype(np.uint8)


def luma(photo: np.ndarray) -> np.ndarray:
    return 0.299 * photo[..., 0] + 0.587 * photo[..., 1] + 0.114 * photo[..., 2]


def terms(a: np.ndarray, b: np.ndarray, y: int, x: int) -> tuple[float, float]:
    """Luminance and contrast-structure in the window around a pixel, edges reflected."""
    offsets = np.arange(-5, 6)
    gaussian = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(gaussian, gaussian) / gaussian.sum() ** 2

    def reflected(at: np.ndarray, side: int) -> np.ndarray:
        at = np.where(at < 0, -at - 1, at)
        return np.where(at >= side, 2 * side - 1 - at, at)

    window = np.ix_(reflected(y + offsets, a.shape[0]), reflected(x + offsets, a.shape[1]))
    p, q = a[window], b[window]
    mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
    variance_p, variance_q = ((weights * (v - m) ** 2).sum() for v, m in ((p, mean_p), (q, mean_q)))
    covariance = (weights * (p - mean_p) * (q - mean_q)).sum()
    luminance = (2 * mean_p * mean_q + C1) / (mean_p**2 + mean_q**2 + C1)
    return luminance, (2 * covariance + C2) / (variance_p + variance_q + C2)


def halved(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean(axis=(1, 3))


def slow_mean(a: np.ndarray, b: np.ndarray, weights: np.ndarray, whole: bool) -> float:
    total = 0.0
    for y, x in np.argwhere(weights > 0):
        luminance, structure = terms(a, b, y, x)
        total += weights[y, x] * (luminance * structure if whole else structure)
    return total / weights.sum()


def test_psnr_is_by_the_mean_squared_error_inside(pair) -> None:
    sent, received = pair
    weights = np.zeros(sent.shape[:2], np.bool_)
    weights[5:9, 7:11] = True
    errors = [
        (int(sent[y, x, c]) - int(received[y, x, c])) ** 2
        for y in range(5, 9)
        for x in range(7, 11)
        for c in range(3)
    ]
    assert psnr(sent, received, weights) == pytest.approx(10 * np.log10(255**2 / np.mean(errors)))
    assert psnr(sent, sent, weights) == np.inf
    assert np.isnan(psnr(sent, received, ~np.ones_like(weights)))


def test_ssim_is_its_definition(pair) -> None:
    sent, received = pair
    weights = np.zeros(sent.shape[:2])
    weights[:4, :4], weights[30:33, 60:] = 1, 1
    expected = slow_mean(luma(sent), luma(received), weights, whole=True)
    assert ssim(sent, received, weights) == pytest.approx(expected, abs=1e-9)
    assert ssim(sent, sent, weights) == pytest.approx(1)


def test_ms_ssim_is_its_definition(pair) -> None:
    sent, received = pair
    a, b, weights = luma(sent), luma(received), np.zeros(sent.shape[:2])
    weights[16:32, 16:32] = 1
    expected = 1.0
    for scale, power in enumerate(SCALE_WEIGHTS):
        if scale:
            a, b, weights = halved(a), halved(b), halved(weights)
        expected *= slow_mean(a, b, weights, whole=scale == len(SCALE_WEIGHTS) - 1) ** power
    counted = np.zeros(sent.shape[:2])
    counted[16:32, 16:32] = 1
    assert ms_ssim(sent, received, counted) == pytest.approx(expected, abs=1e-9)
    assert np.isnan(ms_ssim(sent[:15], received[:15], counted[:15]))

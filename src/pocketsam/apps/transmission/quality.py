"""How much a received photo differs from the one that was sent, inside some regions: PSNR, SSIM, MS-SSIM.

Photos are uint8 (H, W, 3). weights: (H, W), 1 where a pixel counts and 0 where it does not.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

WINDOW, SIGMA = 11, 1.5
"""The Gaussian window of SSIM (Wang et al., TIP 2004): its side and its standard deviation, in pixels."""
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the five scales of MS-SSIM (Wang, Simoncelli and Bovik, Asilomar 2003)."""

Image = NDArray[np.uint8]
Map = NDArray[np.float64]


def psnr(sent: Image, received: Image, weights: NDArray[np.generic]) -> float:
    """The peak signal-to-noise ratio in dB over all colours; infinite for equal pixels, NaN where none counts.

    sent, received: uint8 (H, W, 3). weights: (H, W); pixels count where it is not 0.
    """
    inside = np.asarray(weights, np.bool_)
    if not inside.any():
        return float("nan")
    error = np.square(sent[inside].astype(np.float64) - received[inside]).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ssim(sent: Image, received: Image, weights: NDArray[np.generic]) -> float:
    """The mean structural similarity of the brightness (Wang et al., TIP 2004); NaN where no pixel counts.

    sent, received: uint8 (H, W, 3). weights: (H, W), how much each pixel counts, 0 or more.
    At the photo's edge the window is reflected, so that every pixel has a value.
    """
    luminance, structure = _maps(_brightness(sent), _brightness(received))
    return _mean(luminance * structure, np.asarray(weights, np.float64))


def ms_ssim(sent: Image, received: Image, weights: NDArray[np.generic]) -> float:
    """The structural similarity at five scales; NaN where no pixel counts, or a side has fewer than 16 pixels.

    sent, received, weights: as in `ssim`.
    """
    if min(sent.shape[:2]) < 2 ** (len(SCALE_WEIGHTS) - 1):
        return float("nan")
    scales = list(_scales(_brightness(sent), _brightness(received), np.asarray(weights, np.float64)))
    values = [_mean(structure, counted) for _, structure, counted in scales]
    luminance, structure, counted = scales[-1]
    values[-1] = _mean(luminance * structure, counted)
    return float(
        np.prod([max(value, 0) ** power for value, power in zip(values, SCALE_WEIGHTS, strict=True)])
    )


def _scales(a: Map, b: Map, weights: Map) -> Iterator[tuple[Map, Map, Map]]:
    """Luminance, structure and the weights at each scale; from one to the next, 2 × 2 pixels become one."""
    for scale in range(len(SCALE_WEIGHTS)):
        if scale:
            a, b, weights = _halved(a), _halved(b), _halved(weights)
        yield *_maps(a, b), weights


def _halved(x: Map) -> Map:
    size = x.shape[1] // 2, x.shape[0] // 2
    return np.asarray(cv2.resize(x, size, interpolation=cv2.INTER_AREA), np.float64)


def _maps(a: Map, b: Map) -> tuple[Map, Map]:
    """The luminance term and the contrast-structure term of SSIM in each pixel, (H, W) both."""
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a, variance_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return luminance, (2 * covariance + C2) / (variance_a + variance_b + C2)


def _blur(x: Map) -> Map:
    return np.asarray(cv2.GaussianBlur(x, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_REFLECT))


def _brightness(photo: Image) -> Map:
    """ITU-R BT.601's luma, (H, W) from 0 to 255."""
    return np.asarray(photo.astype(np.float64) @ (0.299, 0.587, 0.114))


def _mean(values: Map, weights: Map) -> float:
    total = weights.sum()
    return float((values * weights).sum() / total) if total else float("nan")

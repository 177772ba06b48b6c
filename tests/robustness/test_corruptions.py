"""ImageNet-C's corruptions: equal to the reference, imagecorruptions 1.1.2, whose results are in a file here.

imagecorruptions.npz has a photo of 40 × 32 pixels, and what the reference makes of it at severities 1, 3 and 5. For
that run the functions of `numpy.random` that it calls were those of `default_rng(severity)`. Where the reference
takes one random number at a time (impulse noise, glass blur) it has the histogram of each channel, (3, 256), over 40
photos instead.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketsam.robustness.corruptions import CORRUPTIONS, corrupt
from pocketsam.robustness.corruptions.blur import shuffled
from pocketsam.robustness.corruptions.filters import shift

REFERENCE = np.load(Path(__file__).with_name("imagecorruptions.npz"))
NAMES = [name for group in CORRUPTIONS.values() for name in group]
COUNTED = "impulse noise", "glass blur"
EQUAL = [name for name in NAMES if name not in (*COUNTED, "frost")]
SEVERITIES = 1, 3, 5


def test_there_are_15_in_four_groups() -> None:
    assert len(NAMES) == 15
    assert list(CORRUPTIONS) == ["noise", "blur", "weather", "digital"]


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", EQUAL)
def test_with_the_same_random_numbers_it_is_the_reference_to_a_grey_level(name: str, severity: int) -> None:
    found = corrupt(REFERENCE["image"], name, severity, np.random.default_rng(severity))
    expected = REFERENCE[f"{name} {severity}"]
    # A flake or a needle that is at the threshold in one arithmetic may be just below it in the other.
    close = np.abs(found.astype(int) - expected) <= 1
    assert close.mean() > 0.999
    assert (found != expected).mean() < 0.02


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", COUNTED)
def test_otherwise_its_values_are_distributed_as_the_references(name: str, severity: int) -> None:
    """Kolmogorov and Smirnov's distance of the two distributions of each channel."""
    random = np.random.default_rng(severity)
    photos = np.stack([corrupt(REFERENCE["image"], name, severity, random) for _ in range(40)])
    for channel, expected in enumerate(REFERENCE[f"{name} {severity}"]):
        found = np.bincount(photos[..., channel].ravel(), minlength=256)
        distance = np.abs(found.cumsum() / found.sum() - expected.cumsum() / expected.sum()).max()
        assert distance < 0.02


@pytest.mark.parametrize("reach", [1, 3])
def test_pixels_behind_glass_copy_each_other_in_the_references_order(reach: int) -> None:
    random = np.random.default_rng(0)
    levels = random.integers(0, 256, (12, 15, 3)).astype(float)
    offsets = random.integers(-reach, reach, (12, 15, 2))
    expected = levels.copy()
    for y in range(12 - reach, reach, -1):
        for x in range(15 - reach, reach, -1):
            dx, dy = offsets[y, x]
            expected[y, x] = expected[y + dy, x + dx]
    np.testing.assert_array_equal(shuffled(levels, reach, offsets), expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_photo_keeps_its_shape_and_the_seed_fixes_the_result(name: str) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (33, 47, 3), np.uint8)
    before = photo.copy()
    first, again = (corrupt(photo, name, 4, np.random.default_rng(7)) for _ in range(2))
    assert (first.shape, first.dtype) == (photo.shape, np.uint8)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(photo, before)
    assert (first != photo).any()


def test_ice_covers_more_of_the_photo_at_a_higher_severity() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    means = [corrupt(black, "frost", severity, np.random.default_rng(0)).mean() for severity in range(1, 6)]
    assert np.all(np.diff(means) >= 0)
    assert means[-1] > 1.5 * means[0]


@given(st.integers(-3, 3), st.integers(-3, 3))
def test_a_shift_repeats_the_edge(dy: int, dx: int) -> None:
    pixels = np.arange(30.0).reshape(5, 6)
    framed = np.pad(pixels, 3, mode="edge")
    np.testing.assert_array_equal(shift(pixels, dy, dx), framed[3 - dy : 8 - dy, 3 - dx : 9 - dx])

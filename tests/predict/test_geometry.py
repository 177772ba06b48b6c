import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketsam.errors import InputError
from pocketsam.predict.geometry import Geometry

geometries = st.builds(
    Geometry,
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    size=st.sampled_from([256, 512, 1024]),
    resize=st.sampled_from(["pad", "squash"]),
)


def disc(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return (x - 0.6 * width) ** 2 + (y - 0.4 * height) ** 2 < (0.25 * min(height, width)) ** 2


def test_longest_side_is_scaled_to_the_size_with_sams_rounding():
    assert Geometry(300, 451, 1024, "pad").resized == (681, 1024)
    assert Geometry(451, 300, 1024, "pad").resized == (1024, 681)
    assert Geometry(300, 451, 1024, "squash").resized == (1024, 1024)


@given(geometries)
def test_the_photo_always_has_a_place_in_the_model(geometry):
    height, width = geometry.resized
    assert 1 <= height <= geometry.size
    assert 1 <= width <= geometry.size


@given(geometries, st.floats(0, 1), st.floats(0, 1))
def test_points_keep_their_place_in_the_photo(geometry, u, v):
    point = (u * geometry.width, v * geometry.height)
    x, y = there = geometry.to_model(point)
    height, width = geometry.resized
    assert 0 <= x <= width + 1e-3 and 0 <= y <= height + 1e-3
    assert there.dtype == np.float32
    np.testing.assert_allclose(there, (u * width, v * height), rtol=1e-5, atol=1e-3)


def test_points_keep_their_leading_axes():
    geometry = Geometry(100, 200, 1024, "squash")
    assert geometry.to_model(np.ones((5, 3, 2))).shape == (5, 3, 2)
    np.testing.assert_allclose(geometry.to_model([[200, 100], [100, 25]]), [[1024, 1024], [512, 256]])


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize(("height", "width"), [(300, 451), (90, 40), (700, 1100)])
def test_logits_are_resized_as_the_published_sam_does_it(height, width, resize):
    torch = pytest.importorskip("torch")
    interpolate = torch.nn.functional.interpolate
    geometry = Geometry(height, width, 256, resize)
    logits = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)

    square = interpolate(
        torch.from_numpy(logits)[None, None], (256, 256), mode="bilinear", align_corners=False
    )
    inner = square[..., : geometry.resized[0], : geometry.resized[1]]
    expected = interpolate(inner, (height, width), mode="bilinear", align_corners=False)[0, 0].numpy()

    np.testing.assert_allclose(geometry.logits_to_photo(logits), expected, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 4000), (4000, 3)])
@pytest.mark.parametrize("resize", ["pad", "squash"])
def test_extreme_photos_get_logits_of_their_own_size(height, width, resize):
    full = Geometry(height, width, 256, resize).logits_to_photo(np.full((64, 64), 3, np.float32))
    assert full.shape == (height, width)
    assert (full == 3).all()


@pytest.mark.parametrize("resize", ["pad", "squash"])
@pytest.mark.parametrize(("height", "width"), [(400, 533), (180, 90), (2000, 1500)])
def test_a_mask_survives_the_way_to_the_model_and_back(height, width, resize):
    geometry = Geometry(height, width, 512, resize)
    mask = disc(height, width)
    logits = geometry.mask_to_model(mask)
    assert logits.shape == (128, 128)
    assert logits.dtype == np.float32
    assert logits.min() == -10 and logits.max() == 10
    back = geometry.logits_to_photo(logits) > 0
    assert (back & mask).sum() / (back | mask).sum() > 0.97


def test_padding_counts_as_outside_the_mask():
    logits = Geometry(100, 200, 256, "pad").mask_to_model(np.ones((100, 200), bool))
    assert (logits[:32] == 10).all()
    assert (logits[32:] == -10).all()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(InputError, match="the mask is 20 × 10 pixels, but the photo is 200 × 100"):
        Geometry(100, 200, 256, "pad").mask_to_model(np.ones((10, 20), bool))


@settings(max_examples=60, deadline=None)
@given(
    geometry=st.builds(
        Geometry,
        height=st.integers(1, 300),
        width=st.integers(1, 300),
        size=st.sampled_from([64, 128, 256]),
        resize=st.sampled_from(["pad", "squash"]),
        resampling=st.sampled_from(["antialiased", "plain"]),
    ),
    least=st.sampled_from([-3.0, -1.0, 0.0, 2.0, 50.0]),
    seed=st.integers(0, 99),
)
def test_a_part_of_the_photo_is_all_that_can_be_above_a_logit(geometry, least, seed):
    blobs = np.random.default_rng(seed).normal(-4, 4, (5, 5)).astype(np.float32)
    side = geometry.low_resolution
    logits = cv2.resize(blobs, (side, side), interpolation=cv2.INTER_CUBIC)
    part, x, y = geometry.part_of_photo(logits, least)
    whole = np.full((geometry.height, geometry.width), least, np.float32)
    whole[y : y + part.shape[0], x : x + part.shape[1]] = np.maximum(part, least)
    expected = np.maximum(geometry.logits_to_photo(logits), least)
    np.testing.assert_allclose(whole, expected, atol=1e-4)


def test_a_part_is_no_larger_than_it_must_be():
    logits = np.full((64, 64), -9, np.float32)
    logits[10:12, 20:24] = 9
    part, x, y = Geometry(1000, 1000, 256).part_of_photo(logits, 0)
    pixels = 1000 / 64
    assert part.shape[0] <= 4 * pixels + 2
    assert part.shape[1] <= 6 * pixels + 2
    assert 9 * pixels - 1 <= y <= 10 * pixels
    assert 19 * pixels - 1 <= x <= 20 * pixels
    assert (part > 0).any()

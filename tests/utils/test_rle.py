"""COCO run lengths, there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pocketsam.utils.rle import areas, boxes, decode, decode_box, encode, encode_at


def test_a_mask_comes_back_and_can_be_written_to():
    mask = np.random.default_rng(0).random((7, 5)) > 0.5
    back = decode(encode(mask))
    np.testing.assert_array_equal(back, mask)
    back[0, 0] = True


@st.composite
def placed_masks(draw):
    """A mask of up to 6 × 6 pixels, where its corner lies, and how many pixels follow it. Often there are none."""
    mask = draw(arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
    x0, y0, right, below = (draw(st.integers(0, 3)) for _ in range(4))
    return mask, x0, y0, right, below


@given(placed_masks())
def test_a_small_mask_is_encoded_at_its_place(placed):
    mask, x0, y0, right, below = placed
    large = np.pad(mask, ((y0, below), (x0, right)))
    assert encode_at(mask, x0, y0, *large.shape) == encode(large)


@given(placed_masks())
def test_what_a_masks_box_holds(placed):
    mask, x0, y0, right, below = placed
    large = np.pad(mask, ((y0, below), (x0, right)))
    inside, left, top = decode_box(encode(large))
    assert encode_at(inside, left, top, *large.shape) == encode(large)
    if mask.any():
        assert [edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1])] == [True] * 4
    else:
        assert (inside.shape, left, top) == ((0, 0), 0, 0)


def test_long_and_short_runs_come_back_from_their_box():
    """Numbers of several characters, and differences below 0."""
    rng = np.random.default_rng(1)
    large = np.repeat(np.repeat(rng.random((40, 30)) > 0.5, rng.integers(1, 60, 40), axis=0), 31, axis=1)
    inside, x0, y0 = decode_box(encode(large))
    np.testing.assert_array_equal(large[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]], inside)
    assert inside.sum() == large.sum()


@pytest.mark.parametrize("mask", [np.ones((5, 4), bool), np.zeros((5, 4), bool), np.ones((1, 1), bool)])
@pytest.mark.parametrize("corner", [(0, 0), (3, 0), (0, 2), (3, 2)])
def test_runs_that_fill_columns_and_masks_of_one_pixel_or_none(mask, corner):
    x0, y0 = corner
    large = np.pad(mask, ((y0, 0), (x0, 0)))
    assert encode_at(mask, x0, y0, *large.shape) == encode(large)


def test_the_size_of_the_photo_costs_nothing():
    """The mask of 4.2 gigapixels that `encode` would take is never made."""
    encoded = encode_at(np.ones((3, 3), bool), 60_000, 30_000, 60_000, 70_000)
    assert areas([encoded]).tolist() == [9]
    assert boxes([encoded]).tolist() == [[60_000, 30_000, 60_003, 30_003]]


def test_areas_and_boxes_of_hundreds_of_masks():
    mask = np.zeros((6, 9), bool)
    mask[2:4, 3:8] = True
    rles = [encode(mask), encode(np.zeros((6, 9), bool))] * 150
    assert areas(rles).tolist() == [10, 0] * 150
    assert boxes(rles)[:2].tolist() == [[3, 2, 8, 4], [0, 0, 0, 0]]


def test_no_masks_have_no_areas_and_no_boxes():
    assert areas([]).shape == (0,)
    assert boxes([]).shape == (0, 4)


def test_damaged_run_lengths_are_an_error():
    with pytest.raises(ValueError):
        decode({"size": [4, 3], "counts": "zzzz"})

"""COCO run lengths, there and back."""

import numpy as np
import pytest

from pocketsam.rle import areas, boxes, decode, encode


def test_a_mask_comes_back_and_can_be_written_to():
    mask = np.random.default_rng(0).random((7, 5)) > 0.5
    back = decode(encode(mask))
    np.testing.assert_array_equal(back, mask)
    back[0, 0] = True


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

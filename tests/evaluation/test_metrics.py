"""IoU, boundary IoU, correlation and calibration by hand; IoU of masks as the segmenter gives them."""

import cv2
import numpy as np
import pytest

from pocketsam.evaluation.metrics import boundary_iou, calibration, iou, ious, pearson
from shards import blocks, paint

LEFT, RIGHT, MIDDLE, NOTHING = blocks((0, 0, 4, 4), (4, 0, 8, 4), (2, 0, 6, 4), (0, 0, 0, 0), size=(4, 8))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (LEFT, LEFT, 1.0),
        (LEFT, RIGHT, 0.0),
        (LEFT, MIDDLE, 8 / 24),
        (LEFT, NOTHING, 0.0),
        (NOTHING, NOTHING, 1.0),
    ],
)
def test_iou_is_intersection_over_union_and_two_empty_masks_agree(a, b, expected):
    assert iou(a, b) == iou(b, a) == expected
    assert type(iou(a, b)) is float, "results are written as JSON"


def test_each_mask_is_compared_with_its_own_at_photo_resolution(perfect):
    drawn = blocks((0, 0, 30, 64), (40, 8, 60, 24), size=(64, 64))
    masks = perfect.open(paint(drawn)).segment(points=[[(10, 10)], [(50, 20)]])
    assert ious(masks, drawn) == [1.0, 1.0]
    assert ious(masks, drawn[::-1]) == [0.0, 0.0]


def test_as_many_masks_as_true_ones_are_needed(perfect):
    masks = perfect.open(paint(blocks((0, 0, 30, 64), size=(64, 64)))).segment(points=(10, 10))
    with pytest.raises(ValueError):
        ious(masks, np.zeros((2, 64, 64), bool))


# 30 × 40 pixels have a diagonal of 50, and so a boundary of 1 pixel; 120 × 160 have one of 200, and 4 pixels.
@pytest.mark.parametrize(
    ("a", "b", "size", "expected"),
    [
        # A square of 10 has 100 - 8² = 36 boundary pixels. Moved by 1 pixel to the right: of the two outlines the
        # rows at the top and the bottom share 9 pixels each, and the columns none.
        ((5, 5, 15, 15), (6, 5, 16, 15), (30, 40), 18 / (36 + 36 - 18)),
        ((5, 5, 15, 15), (5, 5, 15, 15), (30, 40), 1.0),
        ((5, 5, 15, 15), (20, 5, 30, 15), (30, 40), 0.0),
        # A square of 8 inside one of 10 covers 64 % of it, but shares no pixel of its outline.
        ((5, 5, 15, 15), (6, 6, 14, 14), (30, 40), 0.0),
        # 4 pixels wide: a square of 20 has 400 - 12² = 256 boundary pixels, one of 18 inside it 324 - 10² = 224, of
        # which those 3 pixels inside the larger one's inner edge are common: 18² - 12² = 180.
        ((50, 50, 70, 70), (51, 51, 69, 69), (120, 160), 180 / (256 + 224 - 180)),
        # What is thinner than two boundaries is all boundary: 5 × 10 of 10 × 10.
        ((50, 50, 58, 58), (50, 50, 54, 58), (120, 160), 0.5),
        # The image's edge is an edge: the whole image has the boundary 30 · 40 - 28 · 38 = 136.
        ((0, 0, 40, 30), (0, 0, 0, 0), (30, 40), 0.0),
        ((0, 0, 40, 30), (0, 0, 40, 15), (30, 40), (40 + 2 * 14) / (136 + 38)),
        ((0, 0, 0, 0), (0, 0, 0, 0), (30, 40), 1.0),
    ],
)
def test_boundary_iou_is_counted_by_hand(a, b, size, expected):
    one, other = blocks(a, b, size=size)
    assert boundary_iou(one, other) == boundary_iou(other, one) == pytest.approx(expected)


def test_boundary_iou_is_that_of_the_definition():
    """All pixels whose square of 2 d + 1 pixels is not within the mask, without windows or erosion."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        masks = cv2.blur(rng.random((2, 90, 120)).transpose(1, 2, 0), (15, 15)).transpose(2, 0, 1) > 0.5
        boundaries = []
        for mask in masks:
            framed = np.pad(mask, 3)  # the diagonal is 150
            squares = np.lib.stride_tricks.sliding_window_view(framed, (7, 7))
            boundaries.append(mask & ~squares.all(axis=(2, 3)))
        assert boundary_iou(*masks) == pytest.approx(iou(*boundaries))


def test_pearson_is_the_correlation_and_none_where_there_is_none():
    # Deviations -1, 0, 1 and -1, 1, 0: the products add up to 1, the squares to 2 and 2.
    assert pearson([0.1, 0.2, 0.3], [0.5, 0.7, 0.6]) == pytest.approx(0.5)
    assert pearson([1, 2, 3], [6, 4, 2]) == pytest.approx(-1)
    assert pearson([1, 1, 1], [6, 4, 2]) is None
    assert pearson([1, 2], [3, 3]) is None
    assert pearson([1], [3]) is pearson([], []) is None


def test_a_calibration_table_has_a_bin_for_every_tenth():
    bins = calibration([0.05, 0.95, 1.2, 0.91, 0.5, -0.1], [0.2, 0.9, 1.0, 0.5, 0.4, 0.0])
    assert [(one.low, one.high) for one in bins] == [(i / 10, (i + 1) / 10) for i in range(10)]
    assert [one.count for one in bins] == [2, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert (bins[0].predicted, bins[0].true) == (pytest.approx(-0.025), pytest.approx(0.1))
    assert (bins[9].predicted, bins[9].true) == (pytest.approx(1.02), pytest.approx(0.8))
    assert (bins[5].predicted, bins[5].true) == (0.5, 0.4)
    assert (bins[1].predicted, bins[1].true) == (None, None)
    assert [one.count for one in calibration([], [], bins=2)] == [0, 0]

"""IoU by hand, and of masks as the segmenter gives them."""

import numpy as np
import pytest

from pocketsam.evaluation.overlap import iou, ious
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

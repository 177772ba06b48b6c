import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naive import naive_nms
from pocketsam.automatic.filters import (
    fill_small_holes,
    is_clearly_unstable,
    is_cut_off,
    nms,
    remove_small_islands,
    stability_score,
)
from pocketsam.utils.boxes import outermost_pixels


def test_a_mask_without_a_pixel_has_no_stability_and_no_box():
    assert stability_score(np.full((4, 4), -9, np.float32), 1.0) == 0
    assert outermost_pixels(np.zeros((4, 4), bool)).tolist() == [0, 0, 0, 0]


def test_the_stability_of_a_slope():
    logits = np.tile(np.arange(-5, 5, dtype=np.float32), (3, 1))
    assert stability_score(logits, 1.0) == pytest.approx(3 / 5)  # 2, 3, 4 against 0, 1, 2, 3, 4


COORDINATE = st.integers(0, 12)


BOX = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), *[COORDINATE] * 4)


@given(
    boxes=st.lists(BOX, max_size=12),
    scores=st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=12, max_size=12),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
)
def test_nms_is_the_double_loop(boxes, scores, threshold):
    scores = scores[: len(boxes)]
    kept = nms(np.array(boxes, np.int64).reshape(-1, 4), np.array(scores), threshold)
    assert kept.tolist() == naive_nms(boxes, scores, threshold)


def test_small_holes_are_filled_and_large_ones_stay():
    mask = np.zeros((20, 20), bool)
    mask[2:18, 2:18] = True
    mask[4, 4] = mask[5, 5] = False  # one hole: corners connect
    mask[10:14, 10:14] = False
    filled, changed = fill_small_holes(mask, 3)
    assert changed
    assert filled[4, 4]
    assert not filled[10:14, 10:14].any()
    assert fill_small_holes(mask, 2)[1] is False
    assert fill_small_holes(mask, 17)[0][11, 11]


def test_small_islands_go_but_the_largest_stays():
    mask = np.zeros((20, 20), bool)
    mask[2:6, 2:6] = mask[10:12, 10:12] = True
    cleaned, changed = remove_small_islands(mask, 5)
    assert changed
    assert cleaned.sum() == 16
    cleaned, changed = remove_small_islands(mask, 100)
    assert changed
    assert cleaned.sum() == 16
    assert remove_small_islands(mask, 4)[1] is False
    assert remove_small_islands(np.zeros((4, 4), bool), 4)[1] is False


def test_a_mask_is_cut_off_at_an_edge_of_its_crop_that_is_none_of_the_photos():
    crop, photo_size = (0, 100, 200, 300), (300, 400)  # the photo's left and lower edges
    assert not is_cut_off(np.array([0, 150, 150, 299]), crop, photo_size)
    assert is_cut_off(np.array([0, 110, 150, 299]), crop, photo_size)
    assert is_cut_off(np.array([50, 150, 185, 200]), crop, photo_size)
    assert not is_cut_off(np.array([50, 150, 175, 200]), crop, photo_size)


def test_a_mask_is_clearly_unstable_only_where_it_has_many_cells():
    soft = np.tile(np.arange(-10, 10, dtype=np.float32), (20, 1)) / 10  # stability 0 at an offset of 1
    assert is_clearly_unstable(soft, 1.0, threshold=0.2)
    assert not is_clearly_unstable(soft, 1.0, threshold=0.05)
    assert not is_clearly_unstable(soft[:4], 1.0, threshold=0.2)

import numpy as np
import pytest

from pocketsam.automatic.filters import (
    is_clearly_unstable,
    is_cut_off,
    stability_score,
)
from pocketsam.utils.boxes import outermost_pixels


def test_a_mask_without_a_pixel_has_no_stability_and_no_box():
    assert stability_score(np.full((4, 4), -9, np.float32), 1.0) == 0
    assert outermost_pixels(np.zeros((4, 4), bool)).tolist() == [0, 0, 0, 0]


def test_the_stability_of_a_slope():
    logits = np.tile(np.arange(-5, 5, dtype=np.float32), (3, 1))
    assert stability_score(logits, 1.0) == pytest.approx(3 / 5)  # 2, 3, 4 against 0, 1, 2, 3, 4


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

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pocketsam.automatic.schedule import Schedule, crop_boxes, point_grid
from pocketsam.predict.geometry import Geometry


def test_a_grid_has_the_centres_of_its_cells_row_by_row():
    assert point_grid(1).tolist() == [[0.5, 0.5]]
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_crops_cover_the_photo_and_overlap():
    layers, crops = zip(*crop_boxes(100, 200, 2, 0.34), strict=True)
    assert [layers.count(layer) for layer in (0, 1, 2)] == [1, 4, 16]
    assert crops[:4] == ((0, 0, 200, 100), (0, 0, 117, 67), (0, 33, 117, 100), (83, 0, 200, 67))
    for layer in (1, 2):
        covered = np.zeros((100, 200), int)
        for x0, y0, x1, y1 in (crop for of, crop in crop_boxes(100, 200, 2, 0.34) if of == layer):
            covered[y0:y1, x0:x1] += 1
        assert covered.min() == 1
        assert covered.max() >= 4


@given(height=st.integers(1, 40), width=st.integers(1, 40), ratio=st.floats(0, 0.99))
def test_no_crop_is_empty_and_none_leaves_the_photo(height, width, ratio):
    for _, (x0, y0, x1, y1) in crop_boxes(height, width, 3, ratio):
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height


SQUARE = Geometry(80, 80, 320)
"""A photo of 80 × 80 pixels, one for each cell of the logits."""


def prompted(side: int, found: set[int], certain: np.ndarray | None = None) -> list[list[int]]:
    """The batches of a grid of side × side points when the points `found` find a mask."""
    schedule = Schedule(80 * point_grid(side), SQUARE, hierarchical=True)
    batches = []
    for batch in schedule.batches(1000):
        batches.append(batch.tolist())
        schedule.note(
            batch, np.isin(batch, list(found)), np.zeros((80, 80), bool) if certain is None else certain
        )
    return batches


def test_every_fourth_point_goes_first_then_every_second():
    first, second = prompted(8, set())
    assert first == [9, 13, 41, 45]  # columns 1 and 5 of rows 1 and 5
    assert sorted(first + second) == [8 * y + x for y in (1, 3, 5, 7) for x in (1, 3, 5, 7)]


def test_the_last_pass_prompts_the_neighbours_of_what_found_something():
    assert prompted(8, {9})[2] == [0, 1, 2, 8, 10, 16, 17, 18]


def test_what_is_certain_is_not_prompted_again_but_its_edge_is():
    left = np.zeros((80, 80), bool)
    left[:, :40] = True
    _, second, third = prompted(8, set(), left)
    assert all(i % 8 >= 4 for i in second + third)
    assert {i % 8 for i in third} == {4}


def test_a_whole_grid_is_prompted_in_order_in_batches():
    schedule = Schedule(80 * point_grid(8), SQUARE, hierarchical=False)
    assert [batch.tolist() for batch in schedule.batches(40)] == [list(range(40)), list(range(40, 64))]

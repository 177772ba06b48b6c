"""Boundaries are matched one to one, as near as the benchmark of BSDS500 allows."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketsam.evaluation.boundaries import (
    Counts,
    average_precision,
    count,
    match,
    optimal_f,
    optimal_f_by_image,
    outlines,
    partitions,
)

SIZE = (12, 16)  # the diagonal is 20 pixels
places = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 15)), max_size=5)


def drawn(pixels) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    for y, x in pixels:
        mask[y, x] = True
    return mask


def most_pairs(a: list[tuple[int, int]], b: list[tuple[int, int]], distance: float) -> int:
    """The most pairs of any assignment, by trying all of them."""
    if len(a) > len(b):
        a, b = b, a
    near = [[np.hypot(p[0] - q[0], p[1] - q[1]) <= distance for q in b] for p in a]
    return max(
        (sum(near[i][j] for i, j in enumerate(order)) for order in permutations(range(len(b)), len(a))),
        default=0,
    )


@settings(max_examples=60, deadline=None)
@given(places, places, st.sampled_from([0.05, 0.1, 0.2]))
def test_as_many_pixels_are_matched_as_can_be(a, b, tolerance: float) -> None:
    first, second = match(drawn(a), drawn(b), tolerance)
    expected = most_pairs(sorted(a), sorted(b), tolerance * 20)
    assert first.sum() == second.sum() == expected
    assert not (first & ~drawn(a)).any() and not (second & ~drawn(b)).any()


def test_a_pixel_is_right_that_any_annotator_has_and_all_are_to_be_recalled() -> None:
    edges = drawn([(2, 2), (9, 9)]).astype(np.float32)
    edges[6, 14] = 0.4
    truths = [drawn([(2, 2)]), drawn([(2, 2), (9, 9), (0, 15)])]
    low, high = count(edges, truths, [0.3, 0.9])
    assert high == Counts(found=2, right=2, true=4, recalled=3)
    assert low == Counts(found=3, right=2, true=4, recalled=3)
    assert (high.precision, high.recall) == (1.0, 0.75)


def test_figures_over_images() -> None:
    perfect, half, nothing = Counts(10, 10, 10, 10), Counts(10, 5, 10, 5), Counts(0, 0, 10, 0)
    photos = [[perfect, half], [nothing, perfect]]
    ods, at = optimal_f(photos)
    assert (ods, at) == (
        pytest.approx(0.75),
        1,
    )  # 15 of 20 at the second threshold; 10 of 10 and of 20 at the first
    assert optimal_f_by_image(photos) == 1.0
    assert average_precision([[perfect]]) == pytest.approx(1.0)
    assert average_precision([[nothing]]) == 0.0
    # precision 1 up to recall 0.5, nothing beyond: 51 of the 101 levels
    assert average_precision([[Counts(5, 5, 10, 5)]]) == pytest.approx(51 / 101)


def test_outlines_lie_between_regions_one_pixel_wide() -> None:
    left = np.zeros((4, 6), np.bool_)
    left[:, :3] = True
    found = outlines([left, ~left])
    expected = np.zeros((4, 6), np.bool_)
    expected[:, 2] = True
    assert np.array_equal(found, expected)
    assert not outlines([np.ones((4, 6), np.bool_)]).any()


def test_annotators_are_told_apart_where_their_regions_overlap() -> None:
    left = np.zeros((4, 6), np.bool_)
    left[:, :3] = True
    top = np.zeros((4, 6), np.bool_)
    top[:2] = True
    masks = [left, ~left, top, ~top & left, ~top & ~left]
    assert [len(regions) for regions in partitions(masks)] == [2, 3]

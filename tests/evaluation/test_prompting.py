"""Prompts that are known by hand, or by a slower way; and draws that are uniform, repeatable and inside."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pocketsam.evaluation.prompting import (
    corrective_click,
    deepest_pixel,
    sample_clicks,
    sample_pair,
    sample_pair_of_mask,
    sample_points,
)
from shards import blocks

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def test_clicks_change_with_seed_photo_and_mask_only():
    mask = np.ones((50, 70), bool)
    clicks = sample_clicks(mask, 3, seed=0, name="photo", number=0)
    assert (clicks == sample_clicks(mask, 3, seed=0, name="photo", number=0)).all()
    assert (clicks[:1] == sample_clicks(mask, 1, seed=0, name="photo", number=0)).all()
    others = [(1, "photo", 0), (0, "other", 0), (0, "photo", 1)]
    assert all((clicks != sample_clicks(mask, 3, *other)).any() for other in others)


def test_clicks_are_uniform_over_the_mask():
    mask = blocks((0, 0, 4, 2), size=(5, 6))[0]
    mask[4, 5] = True
    clicks = sample_clicks(mask, 9000, seed=0, name="photo", number=0)
    counts = np.zeros(mask.shape, int)
    np.add.at(counts, (clicks[:, 1], clicks[:, 0]), 1)
    assert (counts[~mask] == 0).all()
    assert counts[mask] == pytest.approx(1000, abs=120)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 20, 15, 25), (12, 22, 3.0)),
        ((10, 20, 11, 21), (10, 20, 1.0)),
        ((0, 0, 3, 40), (1, 1, 2.0)),  # along the photo's edge, which is an edge, too; the first of many
        ((5, 5, 5, 5), (0, 0, 0.0)),
    ],
)
def test_the_deepest_pixel_is_the_middle(box, expected):
    assert deepest_pixel(blocks(box)[0]) == expected


@given(MASKS)
def test_the_deepest_pixel_is_that_of_the_whole_photo_though_only_the_box_is_looked_at(mask):
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    x, y, deepest = deepest_pixel(mask)
    assert deepest == depth.max()
    assert not mask.any() or [y + 1, x + 1] == np.argwhere(depth == depth.max())[0].tolist()


def corrected(answer, truth):
    """The corrective click where two unions of boxes disagree."""
    return corrective_click(blocks(*answer).any(axis=0), blocks(*truth).any(axis=0))


def test_what_is_lacking_gets_a_positive_click_and_what_is_too_much_a_negative_one():
    both = [(0, 0, 9, 9), (20, 20, 25, 25)]
    assert corrected(both[:1], both) == (22, 22, 1)
    assert corrected(both, both[:1]) == (22, 22, 0)


def test_the_deeper_error_is_the_larger_even_with_fewer_pixels():
    thin, compact = (0, 0, 60, 4), (20, 20, 27, 27)
    assert corrected([thin], [compact]) == (23, 23, 1)
    assert corrected([compact], [thin]) == (23, 23, 0)


def test_of_equal_errors_the_lacking_one_is_clicked():
    assert corrected([(0, 0, 5, 5)], [(20, 20, 25, 25)]) == (22, 22, 1)


def test_the_true_mask_needs_no_click():
    assert corrected([(3, 3, 9, 9)], [(3, 3, 9, 9)]) is None


@given(MASKS, st.randoms(use_true_random=False))
def test_a_corrective_click_is_on_an_error_and_its_label_is_the_truth(truth, random):
    answer = np.array([[random.random() < 0.5 for _ in row] for row in truth])
    click = corrective_click(answer, truth)
    if click is None:
        assert (answer == truth).all()
        return
    x, y, label = click
    assert answer[y, x] != truth[y, x] == bool(label)


def test_points_are_uniform_over_the_photo():
    points = sample_points((31, 61), 8000, seed=0, name="photo")
    counts, _, _ = np.histogram2d(*points.T, bins=(4, 2), range=((0, 60), (0, 30)))
    assert counts.sum() == 8000
    assert counts == pytest.approx(np.full((4, 2), 1000), abs=120)


def test_points_change_with_seed_and_photo_only():
    points = sample_points((31, 61), 4, seed=0, name="photo")
    assert (points == sample_points((31, 61), 4, seed=0, name="photo")).all()
    assert (points[:2] == sample_points((31, 61), 2, seed=0, name="photo")).all()
    assert (points != sample_points((31, 61), 4, seed=1, name="photo")).all()
    assert (points != sample_points((31, 61), 4, seed=0, name="other")).all()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 500), st.integers(0, 99))
def test_a_pair_lies_in_the_photo_at_its_distance_wherever_the_photo_is_large_enough(
    height, width, distance, seed
):
    pair = sample_pair((height, width), distance, seed, "photo")
    assert (pair is not None) == (distance <= np.hypot(width - 1, height - 1))
    if pair is None:
        return
    assert np.hypot(*(pair[1] - pair[0])) == pytest.approx(distance, rel=1e-9)
    assert (pair >= 0).all()
    assert (pair <= (width - 1, height - 1)).all()


def test_a_pair_as_far_apart_as_the_corners_fits():
    pair = sample_pair((31, 41), 50, 0, "photo")
    assert sorted(pair[:, 0].round(6)) == [0, 40]
    assert sorted(pair[:, 1].round(6)) == [0, 30]


def test_pairs_point_in_all_directions_alike_and_lie_everywhere():
    pairs = np.stack([sample_pair((101, 101), 20, seed, "photo") for seed in range(4000)])
    steps = pairs[:, 1] - pairs[:, 0]
    angles, _ = np.histogram(np.arctan2(steps[:, 1], steps[:, 0]), bins=8, range=(-np.pi, np.pi))
    assert angles == pytest.approx(np.full(8, 500), abs=90)
    quarters, _, _ = np.histogram2d(*pairs[:, 0].T, bins=2, range=((0, 100), (0, 100)))
    assert quarters == pytest.approx(np.full((2, 2), 1000), abs=120)


def test_a_pair_changes_with_seed_photo_and_distance_only():
    pair = sample_pair((101, 101), 20, 0, "photo")
    assert (pair == sample_pair((101, 101), 20, 0, "photo")).all()
    others = [(20, 1, "photo"), (20, 0, "other"), (21, 0, "photo")]
    assert all((pair != sample_pair((101, 101), *other)).any() for other in others)


def test_a_pair_of_a_mask_has_one_point_on_it_and_one_beside_it():
    mask = np.zeros((50, 80), bool)
    mask[10:30, 20:50] = True
    for seed in range(20):
        first, second = sample_pair_of_mask(mask, 25, seed, "photo", 3).astype(int)
        assert mask[first[1], first[0]] and not mask[second[1], second[0]]
        assert abs(np.hypot(*(second - first)) - 25) < 1
    assert sample_pair_of_mask(mask, 200, 0, "photo", 3) is None
    assert sample_pair_of_mask(np.ones((50, 80), bool), 5, 0, "photo", 3) is None

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from naive import naive_nms
from pocketsam.utils.boxes import nms, outermost_pixels, pixels_near, tight_box
from shards import blocks


def test_the_right_and_bottom_edges_are_exclusive():
    mask = np.zeros((6, 8), bool)
    mask[2, 1:5] = mask[4, 3] = True
    box = tight_box(mask)
    assert (box.tolist(), box.dtype) == ([1, 2, 5, 5], np.int64)


def test_the_tightest_box_of_one_pixel_is_that_pixel():
    assert tight_box(blocks((7, 4, 8, 5))[0]).tolist() == [7, 4, 8, 5]


def test_the_tightest_box_spans_all_parts_of_a_mask():
    assert tight_box(blocks((7, 4, 9, 5), (30, 20, 33, 40)).any(axis=0)).tolist() == [7, 4, 33, 40]


def test_the_outermost_pixels_are_inclusive():
    mask = np.zeros((6, 8), bool)
    mask[2, 1:5] = mask[4, 3] = True
    assert outermost_pixels(mask).tolist() == [1, 2, 4, 4]


def test_the_whole_image_and_a_single_pixel():
    assert tight_box(np.ones((3, 5), bool)).tolist() == [0, 0, 5, 3]
    one = np.zeros((3, 5), bool)
    one[0, 0] = True
    assert tight_box(one).tolist() == [0, 0, 1, 1]
    assert outermost_pixels(one).tolist() == [0, 0, 0, 0]


def test_an_empty_mask_has_a_box_of_zeros():
    for empty in (np.zeros((4, 4), bool), np.zeros((0, 0), bool)):
        assert tight_box(empty).tolist() == outermost_pixels(empty).tolist() == [0, 0, 0, 0]


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


@given(st.floats(0, 30), st.floats(0.1, 30), st.floats(0, 0.5))
def test_pixels_near_a_box_are_those_whose_middles_lie_in_it(
    start: float, side: float, margin: float
) -> None:
    size = (20, 25)
    box = np.array([start, start / 2, start + side, start / 2 + side], np.float32).clip(0, (25, 20, 25, 20))
    assume((box[2:] > box[:2]).all())
    for found, first, last, count in zip(
        pixels_near(box, margin, size), box[1::-1], box[:1:-1], size, strict=True
    ):
        wide = margin * (float(last) - float(first))
        middles = np.arange(count) + 0.5
        inside = np.flatnonzero((middles >= float(first) - wide) & (middles <= float(last) + wide))
        assert 0 <= found.start < found.stop <= count
        if inside.size:
            assert np.arange(count)[found].tolist() == inside.tolist()
        else:
            assert found.stop - found.start == 1

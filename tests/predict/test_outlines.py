import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pocketsam.predict.filling import fill
from pocketsam.predict.formats.segmentation import to_rle
from pocketsam.predict.outlines import (
    find_contours,
    one_outline,
    parts_without_holes,
    polygons,
    polygons_with_holes,
)
from pocketsam.utils.rle import decode, encode


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


TWO_PARTS = mask_of(
    "#####...###",
    "#...#...###",
    "#...#...###",
    "#####......",
)


def test_each_part_comes_with_its_own_holes():
    found = polygons_with_holes(encode(TWO_PARTS))
    assert sorted(len(part) for part in found) == [1, 2]
    outer, hole = max(found, key=len)
    assert (outer.min(axis=0).tolist(), outer.max(axis=0).tolist()) == ([0, 0], [5, 4])
    assert (hole.min(axis=0).tolist(), hole.max(axis=0).tolist()) == ([1, 1], [4, 3])
    assert outer.dtype == np.float32


def test_polygons_are_the_outer_outlines():
    assert len(polygons(encode(TWO_PARTS))) == 2
    assert polygons(encode(np.zeros((4, 5), bool))) == []


@pytest.mark.parametrize("row", ["#....", "####."])
def test_what_is_thinner_than_two_pixels_has_an_outline_too(row):
    (polygon,) = polygons(encode(mask_of(".....", row, ".....")))
    assert polygon.tolist() == [[0, 1], [row.count("#"), 1], [row.count("#"), 2], [0, 2]]


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_outlines_are_the_mask(mask):
    """Parts, holes and single pixels: filled again they are the mask; all in one outline, and for COCO, too."""
    size, parts = mask.shape, polygons_with_holes(encode(mask))
    assert len(parts) == cv2.connectedComponents(mask.view(np.uint8), connectivity=4)[0] - 1
    filled = np.array([decode(fill(part, size)) for part in parts], bool).reshape(-1, *size)
    np.testing.assert_array_equal(filled.sum(axis=0), mask)
    rings = [ring for part in parts for ring in part]
    assert all(len({*map(tuple, ring.tolist())}) == len(ring) for ring in rings)  # none touches itself
    if rings:
        together = one_outline(rings)
        np.testing.assert_array_equal(decode(fill([together], size)), mask)
        coco = to_rle([ring.ravel().tolist() for ring in parts_without_holes(encode(mask))], *size)
        np.testing.assert_array_equal(decode(coco), mask)


def test_contours_are_moved_by_the_corner():
    here, there = find_contours(TWO_PARTS), find_contours(TWO_PARTS, (10, 20))
    assert len(here) == 3
    for one, moved in zip(here, there, strict=True):
        np.testing.assert_array_equal(one + np.array([10, 20]), moved)

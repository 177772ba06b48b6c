import numpy as np
import pytest

from pocketsam.predict.outlines import find_contours, polygons, polygons_with_holes
from pocketsam.utils.rle import encode


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
    assert (outer.min(axis=0).tolist(), outer.max(axis=0).tolist()) == ([0.5, 0.5], [4.5, 3.5])
    assert (hole.min(axis=0).tolist(), hole.max(axis=0).tolist()) == ([0.5, 0.5], [4.5, 3.5])
    assert outer.dtype == np.float32


def test_polygons_are_the_outer_outlines():
    assert len(polygons(encode(TWO_PARTS))) == 2
    assert polygons(encode(np.zeros((4, 5), bool))) == []


@pytest.mark.parametrize("row", ["#....", "####."])
def test_what_is_thinner_than_two_pixels_has_no_polygon(row):
    assert polygons(encode(mask_of(".....", row, "....."))) == []


def test_contours_are_moved_by_the_corner():
    here, there = find_contours(TWO_PARTS), find_contours(TWO_PARTS, (10, 20))
    assert len(here) == 3
    for one, moved in zip(here, there, strict=True):
        np.testing.assert_array_equal(one + np.array([10, 20]), moved)

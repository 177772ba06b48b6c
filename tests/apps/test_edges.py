"""The edges of everything mode's masks."""

import numpy as np

from pocketsam.apps.edges import edge_map, edges_of_mask, thin
from pocketsam.segmenter import Segmenter
from predictors import SIDE, PerfectEngine
from shards import blocks, paint


def test_edges_lie_on_the_outlines_of_the_objects() -> None:
    masks = blocks((8, 8, 24, 24), (32, 8, 56, 56), size=(SIDE, SIDE))
    edges = edge_map(Segmenter(engine=PerfectEngine()).open(paint(masks)), points_per_side=8)
    assert edges.shape == (SIDE, SIDE)
    assert edges.max() <= 1
    rows = np.flatnonzero(edges[16] > 0.3)  # a row through both objects
    for x in (8, 24, 32, 56):
        assert np.abs(rows + 0.5 - x).min() <= 1
    assert all(np.abs(np.array([8, 24, 32, 56]) - x - 0.5).min() <= 2 for x in rows)
    assert not edges[40, 5:20].any()  # nothing is there


def test_the_edge_of_a_mask_is_steeper_where_the_model_is_certain() -> None:
    ramp = np.tile(np.linspace(-10, 10, 40, dtype=np.float32), (8, 1))
    soft, hard = edges_of_mask(ramp / 5), edges_of_mask(ramp)
    assert hard.max() > soft.max() > 0
    assert set(np.flatnonzero(hard[4])) <= {19, 20}
    assert not edges_of_mask(np.full((8, 8), 5, np.float32)).any()


def test_thin_edges_are_the_middle_of_wide_ones() -> None:
    wide = np.zeros((30, 30), np.float32)
    wide[:, 12:17] = [0.2, 0.6, 1.0, 0.6, 0.2]
    for edges in (wide, wide.T):
        found = thin(edges)
        expected = np.where(edges == 1, edges, 0)
        assert np.array_equal(found[5:-5, 5:-5], expected[5:-5, 5:-5])

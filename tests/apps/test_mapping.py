"""Prompts mapped onto masks that were found without them."""

import numpy as np
import pytest

from pocketsam.apps.mapping import PromptMapping
from pocketsam.errors import InputError
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.utils.rle import decode, encode
from shards import blocks

SIZE = (40, 60)
LARGE, SMALL, OTHER = blocks((0, 0, 30, 40), (10, 10, 20, 20), (40, 0, 60, 20), size=SIZE)


@pytest.fixture
def mapping() -> PromptMapping:
    return PromptMapping([encode(mask) for mask in (SMALL, OTHER, LARGE)], SIZE)


def test_a_box_means_the_mask_whose_box_fits_it_best(mapping: PromptMapping) -> None:
    np.testing.assert_array_equal(decode(mapping.of_box((9, 9, 21, 22))), SMALL)
    np.testing.assert_array_equal(decode(mapping.of_box((1, 0, 30, 38))), LARGE)
    assert not decode(mapping.of_box((32, 30, 38, 36))).any()


@pytest.mark.parametrize(
    ("points", "labels", "expected"),
    [
        ([(5, 30)], [1], LARGE),
        ([(15, 15)], [1], LARGE | SMALL),
        ([(15, 15), (50, 10)], [1, 1], LARGE | OTHER),
        ([(5, 30), (15, 15)], [1, 0], LARGE & False),  # the large mask is under both clicks
        ([(50, 10), (15, 15)], [1, 0], OTHER),
        ([(15, 15), (5, 30)], [1, 0], SMALL),
        ([(35, 35)], [1], LARGE & False),
        ([(59, 39), (-1, -1)], [1, 1], LARGE & False),
    ],
)
def test_points_mean_the_union_without_the_background(
    mapping: PromptMapping, points, labels, expected
) -> None:
    np.testing.assert_array_equal(decode(mapping.of_points(points, labels)), expected)


def test_scores_mean_the_best_mask(mapping: PromptMapping) -> None:
    np.testing.assert_array_equal(decode(mapping.of_scores([0.1, 0.2, 0.7])), SMALL)  # the largest come first
    with pytest.raises(InputError, match="there are 3 masks, but scores of shape"):
        mapping.of_scores([0.1])


def test_objects_are_mapped_one_by_one(mapping: PromptMapping) -> None:
    found = mapping.of_objects([ObjectPrompt(box=(40, 0, 60, 20)), ObjectPrompt(((5, 30),), (1,))])
    np.testing.assert_array_equal([decode(one) for one in found], [OTHER, LARGE])


def test_without_masks_nothing_is_found() -> None:
    nothing = PromptMapping([], SIZE)
    for rle in (nothing.of_box((0, 0, 9, 9)), nothing.of_points([(1, 1)], [1]), nothing.of_scores([])):
        assert not decode(rle).any()

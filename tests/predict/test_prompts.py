import numpy as np
import pytest

from pocketsam.errors import InputError
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.prompts import Prompts

SIZE = (100, 200)  # height, width
GEOMETRY = Geometry(100, 200, 64, "squash")


def of(**prompts) -> Prompts:
    return Prompts.of(**prompts, photo_size=SIZE)


@pytest.mark.parametrize(
    ("points", "shape"),
    [((5, 6), (1, 1, 2)), ([(5, 6), (7, 8)], (1, 2, 2)), ([[(5, 6)], [(7, 8)], [(9, 1)]], (3, 1, 2))],
)
def test_clicks_on_one_or_many_objects(points, shape):
    prompts = of(points=points)
    assert prompts.points.shape == shape
    assert prompts.labels.tolist() == np.ones(shape[:2], int).tolist()
    assert len(prompts) == shape[0]


@pytest.mark.parametrize(
    ("points", "labels"), [((5, 6), 0), ((5, 6), [0]), ([(5, 6)], [0]), ([[(5, 6)]], [[0]])]
)
def test_labels_follow_the_points(points, labels):
    assert of(points=points, labels=labels, boxes=(0, 0, 9, 9)).labels.tolist() == [[0]]


@pytest.mark.parametrize(
    ("points", "labels", "count"),
    [((5, 6), 0, 1), ([(5, 6), (7, 8)], [0, -1], 1), ([[(5, 6)], [(7, 8)]], [[1], [0]], 2)],
)
def test_background_points_need_an_object(points, labels, count):
    with pytest.raises(InputError, match="only background points"):
        of(points=points, labels=labels)
    assert len(of(points=points, labels=labels, mask_input=np.zeros((count, 16, 16)))) == count


def test_a_click_gets_a_padding_point_where_a_box_would_be():
    coordinates, labels = of(points=[(100, 50), (20, 10)], labels=[1, 0]).tokens(GEOMETRY)
    np.testing.assert_allclose(coordinates, [[[32, 32], [6.4, 6.4], [0, 0]]])
    assert labels.tolist() == [[1, 0, -1]]
    assert (coordinates.dtype, labels.dtype) == (np.float32, np.int32)


def test_a_box_is_two_corners_after_the_points():
    coordinates, labels = of(
        points=[[(100, 50)], [(20, 10)]], boxes=[(0, 0, 100, 50), (20, 10, 200, 100)]
    ).tokens(GEOMETRY)
    np.testing.assert_allclose(coordinates[1], [[6.4, 6.4], [6.4, 6.4], [64, 64]])
    assert labels.tolist() == [[1, 2, 3]] * 2
    assert of(boxes=(0, 0, 100, 50)).tokens(GEOMETRY)[1].tolist() == [[2, 3]]


def test_only_a_lone_click_is_ambiguous():
    assert of(points=(5, 6)).ambiguous.all()
    assert of(points=[[(5, 6), (0, 0)], [(5, 6), (7, 8)]], labels=[[1, -1], [1, 0]]).ambiguous.tolist() == [
        True,
        False,
    ]
    assert not of(points=(5, 6), boxes=(0, 0, 9, 9)).ambiguous.any()
    assert not of(points=(5, 6), mask_input=np.zeros((16, 16))).ambiguous.any()


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16), (1, 1, 16, 16)])
def test_a_mask_input_reaches_the_decoder(shape):
    logits, has_mask = of(points=(5, 6), mask_input=np.full(shape, 2.5)).mask_tokens(GEOMETRY)
    assert logits.shape == (1, 1, 16, 16)
    assert (logits == 2.5).all()
    assert has_mask.tolist() == [1]


def test_without_a_mask_input_the_decoder_is_told_so():
    logits, has_mask = of(boxes=[(0, 0, 9, 9), (5, 5, 9, 9)]).mask_tokens(GEOMETRY)
    assert logits.shape == (2, 1, 16, 16)
    assert has_mask.tolist() == [0, 0]


def test_a_mask_alone_is_a_prompt():
    prompts = of(mask_input=np.zeros((3, 16, 16)))
    assert len(prompts) == 3
    assert prompts.tokens(GEOMETRY)[1].shape == (3, 0), "no padding point stands where SAM saw none"


def test_a_box_that_hangs_over_the_edge_is_clipped():
    assert of(boxes=(-10, -1, 50, 120)).boxes.tolist() == [[0, 0, 50, 100]]


def test_objects_can_be_picked():
    prompts = of(points=[[(1, 2)], [(3, 4)], [(5, 6)]], boxes=[(0, 0, 9, 9), (1, 1, 9, 9), (2, 2, 9, 9)])
    picked = prompts[np.array([2, 0])]
    assert picked.points[:, 0].tolist() == [[5, 6], [1, 2]]
    assert picked.boxes[:, 0].tolist() == [2, 0]


@pytest.mark.parametrize("point", [(-1, 5), (200, 5), (5, 100), (5, -0.1)])
def test_points_outside_the_photo_are_refused(point):
    with pytest.raises(InputError, match="lies outside the photo of 200 × 100 pixels: x goes from 0 to 199"):
        of(points=[(5, 5), point])


def test_padding_points_may_lie_anywhere():
    assert len(of(points=[(5, 5), (-1, -1)], labels=[1, -1])) == 1


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "there is no prompt"),
        ({"points": [(np.nan, 5)]}, "points must be finite"),
        ({"boxes": (0, 0, np.inf, 5)}, "boxes must be finite"),
        ({"mask_input": np.full((16, 16), np.nan)}, "mask_input must be finite"),
        ({"points": []}, "points are empty"),
        ({"points": [(1, 2, 3)]}, r"points must have shape .*, not \(1, 3\)"),
        ({"points": [(1, 2), (3,)]}, "points must be numbers"),
        ({"points": "here"}, "points must be numbers"),
        ({"points": (5, 5), "labels": 2}, "labels must be 1"),
        ({"points": [(5, 5), (6, 6)], "labels": [1]}, "one label each"),
        ({"points": (5, 5), "labels": -1}, "only padding points"),
        ({"labels": [1]}, "labels are given without points"),
        ({"boxes": (10, 10, 10, 40)}, r"the box \(10, 10, 10, 40\) has no area"),
        ({"boxes": (50, 10, 20, 40)}, "has no area"),
        ({"boxes": (300, 10, 400, 40)}, "lies outside the photo"),
        ({"boxes": (1, 2, 3)}, "boxes must have shape"),
        ({"mask_input": np.zeros((16, 16), bool)}, "mask_to_model"),
        ({"mask_input": np.zeros(16)}, "mask_input must have shape"),
        ({"points": (5, 5), "boxes": [(0, 0, 9, 9), (1, 1, 9, 9)]}, "points for 1, boxes for 2"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(prompts, message):
    with pytest.raises(InputError, match=message) as error:
        of(**prompts)
    assert "\n" not in str(error.value)


def test_a_mask_input_of_another_model_is_refused():
    with pytest.raises(InputError, match="mask_input is 64×64, but this model takes logits of 16×16"):
        of(mask_input=np.zeros((64, 64))).mask_tokens(GEOMETRY)

"""A second look at small objects: where, with which prompt, and what comes of it."""

import cv2
import numpy as np
import pytest

from pocketsam import Segmenter
from pocketsam.errors import InputError
from pocketsam.evaluation.metrics import iou
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.masks import Masks
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.predict.prompts import Prompts
from pocketsam.predict.zoom import FEWEST_PIXELS, averaged, in_photo, logits_in, prompt_in, windows
from pocketsam.utils.rle import decode
from predictors import BrightEngine
from shards import paint

SIZE = 200, 300
GEOMETRY = Geometry(*SIZE, 256)


def masks_of(drawn: np.ndarray, box_margin: float | None = None, **prompt) -> Masks:
    """The masks (N, H, W) that some prompts had."""
    logits = np.stack([GEOMETRY.mask_to_model(mask) for mask in drawn])
    prompts = Prompts.of(**prompt, photo_size=SIZE)
    predicted_iou = np.full(len(drawn), 0.8, np.float32)
    return Masks(logits, predicted_iou, GEOMETRY, prompts=prompts, box_margin=box_margin)


def block(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def star(size: tuple[int, int], x: int, y: int, radius: int) -> np.ndarray:
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, radius / 2, radius)
    points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
    return mask.astype(bool)


@pytest.fixture
def truth():
    """A star of a hundredth of a photo of 400 × 600 pixels."""
    return star((400, 600), 130, 220, 40)


@pytest.fixture
def photo(truth):
    return Segmenter(engine=BrightEngine()).open(paint(truth[None]))


def test_the_window_is_three_times_as_large_as_the_box():
    masks = masks_of(block(110, 90, 120, 100)[None], box_margin=0, boxes=(100, 80, 130, 100))
    assert windows(masks) == {0: (70, 60, 160, 120)}


def test_it_is_larger_where_the_box_is_too_small():
    box, mask = (100, 80, 130, 100), block(100, 80, 160, 100)[None]
    told = masks_of(mask, box_margin=0, boxes=box, points=(150, 90))
    free = masks_of(mask, box_margin=None, boxes=box)
    for masks in (told, free):
        (window,) = windows(masks).values()
        assert np.abs(np.array(window) - (40, 45, 220, 135)).max() <= 6


def test_without_a_box_the_window_is_around_the_mask_and_the_clicks_on_the_object():
    mask = block(100, 80, 120, 100)[None]
    (alone,) = windows(masks_of(mask, points=(110, 90))).values()
    assert np.abs(np.array(alone) - (80, 60, 140, 120)).max() <= 4  # a mask of cells is not exact
    clicks = {"points": [(110, 90), (139, 90), (290, 190)], "labels": [1, 1, 0]}
    (wide,) = windows(masks_of(mask, **clicks)).values()
    assert np.abs(np.array(wide) - (60, 60, 180, 120)).max() <= 4


def test_windows_end_at_the_photo_are_not_tiny_and_not_thin():
    boxes = [(0, 0, 30, 30), (150, 100, 152, 102), (100, 100, 160, 102)]
    drawn = np.stack([block(*box) for box in boxes])
    corner, tiny, thin = windows(masks_of(drawn, box_margin=0, boxes=boxes)).values()
    assert corner == (0, 0, 60, 60)
    assert (tiny[2] - tiny[0], tiny[3] - tiny[1]) == (FEWEST_PIXELS, FEWEST_PIXELS)
    assert (thin[2] - thin[0], thin[3] - thin[1]) == (180, 90)


def test_large_objects_and_those_that_were_not_found_have_no_window():
    assert not windows(masks_of(block(50, 30, 250, 170)[None], boxes=(50, 30, 250, 170)))
    nothing = block(0, 0, 0, 0)[None]
    assert not windows(masks_of(nothing, points=(50, 50)))
    assert windows(masks_of(nothing, boxes=(40, 40, 60, 60))), "a box says where to look"


def test_corrections_have_no_window_as_they_take_nothing_away_elsewhere():
    drawn = block(100, 80, 120, 100)
    given = {"points": [(110, 90), (130, 110)], "mask_input": GEOMETRY.mask_to_model(drawn)}
    assert not windows(masks_of(drawn[None], **given, labels=[1, 0]))
    assert windows(masks_of(drawn[None], **given, labels=[1, 1]))


def test_the_prompt_moves_with_the_window():
    clicks = {"points": [(110, 90), (290, 190)], "labels": [1, 0]}
    masks = masks_of(block(100, 80, 120, 100)[None], boxes=(100, 80, 130, 100), **clicks)
    given = prompt_in((70, 60, 160, 120), masks, 0, Geometry(60, 90, 256))
    assert given["labels"].tolist() == [1, 0]
    middle = 0.5 - 0.5 / (256 / 90)  # of the pixel that was clicked, less the half pixel that SAM adds
    np.testing.assert_allclose(given["points"][0], np.array([40, 30]) + middle, rtol=1e-4)
    np.testing.assert_allclose(given["points"][1], (89.5, 59.5)), "what is outside moves to the edge"
    np.testing.assert_array_equal(given["boxes"], (30, 20, 60, 40))


def test_so_does_a_mask():
    drawn = star(SIZE, 120, 90, 30)
    given = {"points": (120, 90), "labels": [1], "mask_input": GEOMETRY.mask_to_model(drawn)}
    inside = Geometry(60, 90, 256)
    moved = prompt_in((70, 60, 160, 120), masks_of(drawn[None], **given), 0, inside)["mask_input"]
    assert iou(inside.logits_to_photo(moved) > 0, drawn[60:120, 70:160]) > 0.93


@pytest.mark.parametrize("resize", ["pad", "squash"])
def test_logits_in_a_window_are_those_of_its_pixels(resize):
    geometry, inside = Geometry(*SIZE, 256, resize), Geometry(60, 90, 256, resize)
    logits = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 20, (64, 64)).astype(np.float32), (0, 0), 3)
    of_pixels = geometry.logits_to_photo(logits)[60:120, 70:160]
    found = inside.logits_to_photo(logits_in((70, 60, 160, 120), logits, geometry, inside))
    np.testing.assert_allclose(found[2:-2, 2:-2], of_pixels[2:-2, 2:-2], atol=0.02 * np.abs(of_pixels).max())


def test_both_looks_count_the_surer_one_more():
    masks = masks_of(block(100, 80, 120, 100)[None], boxes=(100, 80, 130, 100))
    inside = Geometry(60, 90, 256)
    logits = np.random.default_rng(0).normal(0, 5, (1, 64, 64)).astype(np.float32)
    both = averaged((70, 60, 160, 120), masks, 0, Masks(logits, np.array([0.4], np.float32), inside))
    first = logits_in((70, 60, 160, 120), masks.logits[0], GEOMETRY, inside)
    expected = (0.8**2 * first + 0.4**2 * logits[0]) / (0.8**2 + 0.4**2)
    np.testing.assert_allclose(both.logits[0], expected, atol=1e-5)
    assert both.predicted_iou.tolist() == pytest.approx([0.6])


def test_the_mask_of_a_window_lies_where_the_window_does():
    inside = Geometry(60, 90, 256)
    look = Masks(
        inside.mask_to_model(block(5, 6, 20, 30, size=(60, 90)))[None], np.ones(1, np.float32), inside
    )
    mask = decode(in_photo((70, 60, 160, 120), look, SIZE))
    np.testing.assert_array_equal(mask[60:120, 70:160], look.binary[0])
    assert mask.sum() == look.areas[0]


def test_a_small_object_has_a_finer_outline(photo, truth):
    plain, zoomed = (photo.segment(points=(130, 220), zoom=zoom) for zoom in (False, True))
    assert iou(zoomed.binary[0], truth) > iou(plain.binary[0], truth) + 0.05
    assert zoomed.boxes.shape == (1, 4) and zoomed.areas[0] == zoomed.binary[0].sum()
    assert photo._engine.encoded == 2, "the photo, and the window"


def test_objects_of_all_kinds_keep_their_order(photo):
    box, click = ObjectPrompt(box=(90, 180, 170, 260), name="star"), ObjectPrompt(((130, 220),), (1,))
    whole = ObjectPrompt(box=(0, 0, 600, 400), name="all")
    masks = photo.segment_objects([whole, click, box], zoom=True)
    assert masks.names == ("all", "object", "star")
    one_by_one = [
        photo.segment(boxes=(0, 0, 600, 400)),
        photo.segment(points=(130, 220), zoom=True),
        photo.segment(boxes=(90, 180, 170, 260), zoom=True),
    ]
    for mask, alone in zip(masks, one_by_one, strict=True):
        np.testing.assert_array_equal(mask.binary, alone.binary)


def test_outlines_are_refined_in_the_window(photo, truth):
    zoomed, refined = (photo.segment(points=(130, 220), zoom=True, refine=refine) for refine in (False, True))
    assert iou(refined.binary[0], truth) > iou(zoomed.binary[0], truth)


def test_refining_again_changes_nothing(photo):
    zoomed = photo.segment(points=(130, 220), zoom=True)
    assert zoomed.refined().rle == zoomed.rle
    plain = photo.segment(points=(130, 220))
    np.testing.assert_array_equal(zoomed.logits, plain.logits)


def test_the_second_look_has_the_same_prompt(photo):
    engine = photo._engine
    masks = photo.segment(points=[(130, 220), (120, 210)], mask_input=np.ones((32, 32)), zoom=True)
    (first, _, given), (second, labels, moved) = engine.prompts
    assert len(masks) == 1 and (given == 1).all() and moved.min() == 1, (
        "the mask that was given, in the window"
    )
    (window,) = windows(photo.segment(points=[(130, 220), (120, 210)])).values()
    corner, scale = np.array(window[:2]), 128 / (np.array(window[2:]) - window[:2])
    np.testing.assert_allclose(
        second[0, :2], (np.array([(130.5, 220.5), (120.5, 210.5)]) - corner) * scale - 0.5
    )
    np.testing.assert_allclose(first[0, :2], np.array([(130, 220), (120, 210)]) * (128 / 600, 128 / 400))
    assert labels[0].tolist() == [1, 1, -1]


def test_what_cannot_be_zoomed_is_refused(photo, tmp_path):
    with pytest.raises(InputError, match="zoom gives one mask for each object, multimask three"):
        photo.segment(points=(130, 220), multimask=True, zoom=True)
    with pytest.raises(InputError, match="zoom takes the masks of prompts, one for each object"):
        photo.zoomed(photo.segment(points=(130, 220), multimask=True))
    other = Segmenter(engine=photo._engine).open(np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(InputError, match="these masks are of another photo"):
        photo.zoomed(other.segment(points=(10, 20)))
    path = photo.save_embedding(tmp_path / "star.npz")
    alone = Segmenter(engine=photo._engine).open(embedding=path)
    with pytest.raises(InputError, match="carry no photo"):
        alone.segment(points=(130, 220), zoom=True)


def test_a_mask_stays_where_both_looks_find_nothing_together(photo, truth):
    plain = photo.segment(points=(130, 220))
    weak = plain.with_logits(plain.logits - 100, plain.predicted_iou).replaced({0: (plain.rle[0], 0.9)})
    assert photo.zoomed(weak).rle == plain.rle


def test_pocket_sees_a_small_shoe_better(samples):
    """The photo of a shoe, as a twentieth of a larger photo."""
    segmenter = Segmenter(threads=1)
    shoe = cv2.imread(str(samples / "sneakers.jpg"))[..., ::-1]
    box = np.array([20, 130, 342, 371])
    truth = segmenter.open(shoe).segment(boxes=box).binary[0]
    wall = np.full((1600, 1716, 3), shoe[5, 5], np.uint8)
    wall[700:1100, 800:1229] = shoe
    around = np.zeros(wall.shape[:2], bool)
    around[700:1100, 800:1229] = truth
    photo = segmenter.open(wall)
    plain, zoomed = (
        photo.segment(boxes=box + np.array([800, 700, 800, 700]), zoom=zoom) for zoom in (False, True)
    )
    assert iou(zoomed.binary[0], around) > max(0.9, iou(plain.binary[0], around))

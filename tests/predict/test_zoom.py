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
from pocketsam.predict.zoom import FEWEST_PIXELS, logits_in, placed, prompt_in, windows
from predictors import BrightEngine
from shards import paint

SIZE = 200, 300
GEOMETRY = Geometry(*SIZE, 256)


def masks_of(drawn: np.ndarray, **prompt) -> Masks:
    """The masks (N, H, W) that some prompts had."""
    logits = np.stack([GEOMETRY.mask_to_model(mask) for mask in drawn])
    prompts = Prompts.of(**prompt, photo_size=SIZE)
    return Masks(logits, np.full(len(drawn), 0.8, np.float32), GEOMETRY, prompts=prompts)


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
    masks = masks_of(block(110, 90, 120, 100)[None], boxes=(100, 80, 130, 100))
    assert windows(masks) == {0: (70, 60, 160, 120)}


def test_without_a_box_the_window_is_around_the_mask_and_the_clicks_on_the_object():
    mask = block(100, 80, 120, 100)[None]
    (alone,) = windows(masks_of(mask, points=(110, 90))).values()
    assert np.abs(np.array(alone) - (80, 60, 140, 120)).max() <= 4  # a mask of cells is not exact
    clicks = {"points": [(110, 90), (139, 90), (290, 190)], "labels": [1, 1, 0]}
    (wide,) = windows(masks_of(mask, **clicks)).values()
    assert np.abs(np.array(wide) - (60, 60, 180, 120)).max() <= 4


def test_windows_end_at_the_photo_are_not_tiny_and_not_thin():
    boxes = [(0, 0, 30, 30), (150, 100, 152, 102), (100, 100, 160, 102)]
    corner, tiny, thin = windows(masks_of(np.stack([block(*box) for box in boxes]), boxes=boxes)).values()
    assert corner == (0, 0, 60, 60)
    assert (tiny[2] - tiny[0], tiny[3] - tiny[1]) == (FEWEST_PIXELS, FEWEST_PIXELS)
    assert (thin[2] - thin[0], thin[3] - thin[1]) == (180, 90)


def test_large_objects_and_those_that_were_not_found_have_no_window():
    assert not windows(masks_of(block(50, 30, 250, 170)[None], boxes=(50, 30, 250, 170)))
    nothing = block(0, 0, 0, 0)[None]
    assert not windows(masks_of(nothing, points=(50, 50)))
    assert windows(masks_of(nothing, boxes=(40, 40, 60, 60))), "a box says where to look"


def test_the_prompt_moves_with_the_window():
    clicks = {"points": [(110, 90), (290, 190)], "labels": [1, 0]}
    masks = masks_of(block(100, 80, 120, 100)[None], boxes=(100, 80, 130, 100), **clicks)
    given = prompt_in((70, 60, 160, 120), masks, 0, Geometry(60, 90, 256))
    np.testing.assert_array_equal(given["points"], [(40, 30), (220, 130)])
    assert given["labels"].tolist() == [1, -1], "a background click outside the window is left out"
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


def test_only_masks_of_windows_are_replaced():
    boxes = [(100, 80, 130, 100), (50, 30, 250, 170)]
    masks = masks_of(np.stack([block(*box) for box in boxes]), boxes=boxes)
    small = block(5, 6, 20, 30, size=(60, 90))
    inside = Geometry(60, 90, 256)
    look = Masks(inside.mask_to_model(small)[None], np.array([0.4], np.float32), inside)
    both = placed(masks, {0: ((70, 60, 160, 120), look)})
    np.testing.assert_array_equal(both.binary[0, 60:120, 70:160], look.binary[0])
    assert both.areas[0] == look.areas[0]
    np.testing.assert_array_equal(both.binary[1], masks.binary[1])
    assert both.predicted_iou.tolist() == pytest.approx([0.4, 0.8])
    assert iou(both.geometry.logits_to_photo(both.logits[0]) > 0, both.binary[0]) > 0.85
    assert placed(masks, {}) is masks


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


def test_its_logits_can_be_passed_back(photo, truth):
    zoomed = photo.segment(points=(130, 220), zoom=True)
    again = photo.segment(points=[(130, 220), (10, 10)], labels=[1, 0], mask_input=zoomed.logits, zoom=True)
    assert iou(again.binary[0], truth) > 0.8


def test_what_cannot_be_zoomed_is_refused(photo, tmp_path):
    with pytest.raises(InputError, match="zoom gives one mask for each object, multimask three"):
        photo.segment(points=(130, 220), multimask=True, zoom=True)
    path = photo.save_embedding(tmp_path / "star.npz")
    alone = Segmenter(engine=photo._engine).open(embedding=path)
    with pytest.raises(InputError, match="carry no photo"):
        alone.segment(points=(130, 220), zoom=True)


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

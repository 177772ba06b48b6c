import numpy as np
import pytest

from pocketsam.predict.drawing import CLICK_COLOURS, PALETTE, draw_masks, draw_prompts
from pocketsam.predict.prompts import Prompts
from pocketsam.utils.rle import encode

SIZE = (60, 80)
GREY = np.full((*SIZE, 3), 120, np.uint8)


def box_mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def nearest_colour(pixel: np.ndarray) -> int:
    """The colour of the palette whose direction from grey the pixel has."""
    hues = np.array(PALETTE, float) - np.mean(PALETTE, axis=1, keepdims=True)
    hue = pixel - pixel.mean()
    return int(np.argmax(hues @ hue / np.linalg.norm(hues, axis=1)))


def test_masks_take_the_colours_of_the_palette_in_turn():
    boxes = [(10 * i, 5, 10 * i + 8, 50) for i in range(8)]
    drawn = draw_masks(GREY, [encode(box_mask(*box)) for box in boxes])
    assert [nearest_colour(drawn[28, 10 * i + 4].astype(float)) for i in range(8)] == list(range(8))
    assert (GREY == 120).all()


def test_nothing_is_drawn_of_an_empty_mask():
    np.testing.assert_array_equal(draw_masks(GREY, [encode(np.zeros(SIZE, bool))]), GREY)
    np.testing.assert_array_equal(draw_masks(GREY, []), GREY)


def test_an_outline_runs_along_holes_too():
    mask = box_mask(10, 10, 70, 50) & ~box_mask(30, 25, 50, 35)
    drawn = draw_masks(GREY, [encode(mask)])
    assert (drawn[30, 40] == 120).all()
    assert (drawn[24, 40] != drawn[17, 40]).any()  # the line is brighter than the tint


def test_dark_pixels_stay_darker_than_bright_ones():
    photo = GREY.copy()
    photo[:, 40:] = 220
    drawn = draw_masks(photo, [encode(box_mask(10, 10, 70, 50))]).astype(int)
    assert drawn[30, 25].sum() < drawn[30, 55].sum()


@pytest.mark.parametrize("label", [0, 1])
def test_a_click_is_a_disc_in_the_colour_of_its_label(label):
    canvas = GREY.copy()
    prompts = Prompts.of(points=[(40, 30), (10, 50)], labels=[label, 1], photo_size=SIZE)
    draw_prompts(canvas, prompts, np.array([0]))
    disc = canvas[27, 38]
    assert abs(disc.astype(int) - CLICK_COLOURS[label]).max() < 40
    assert canvas[30, 40].min() > 230  # the sign in its middle


def test_padding_points_are_not_drawn():
    canvas = GREY.copy()
    prompts = Prompts.of(points=[(40, 30), (0, 0)], labels=[1, -1], photo_size=SIZE)
    draw_prompts(canvas, prompts, np.array([0]))
    assert (canvas[:10, :10] == 120).all()


def test_a_box_runs_through_its_outermost_pixels_in_the_colour_of_its_mask():
    canvas = GREY.copy()
    draw_prompts(canvas, Prompts.of(boxes=(10, 12, 60, 50), photo_size=SIZE), np.array([3]))
    assert tuple(canvas[12, 30]) == tuple(canvas[49, 30]) == tuple(canvas[30, 10]) == PALETTE[3]
    assert (canvas[30, 30] == 120).all()


def test_joined_prompts_are_all_drawn_each_with_what_it_has():
    clicks = Prompts.of(points=[[(20, 30), (24, 30)]], photo_size=SIZE)
    box = Prompts.of(boxes=(40, 12, 70, 50), photo_size=SIZE)
    joined = Prompts.join([clicks, box])
    assert (len(joined), joined.labels.tolist()) == (2, [[1, 1], [-1, -1]])
    canvas = GREY.copy()
    draw_prompts(canvas, joined, np.array([0, 1]))
    assert (canvas[30, 20] != 120).any()
    assert tuple(canvas[12, 55]) == PALETTE[1]
    assert (canvas[:10, :10] == 120).all()

"""What a background click on an earlier mask means, and what it changes."""

import numpy as np
import pytest

from pocketsam.predict.corrections import CLEARLY, NEAR, choose_correction, keep_elsewhere

SIDE = 32
OUTSIDE, INSIDE = -5.0, 5.0


def logits(*boxes: tuple[int, int, int, int], value: float = INSIDE) -> np.ndarray:
    """Above 0 in boxes of cells."""
    found = np.full((SIDE, SIDE), OUTSIDE, np.float32)
    for x0, y0, x1, y1 in boxes:
        found[y0:y1, x0:x1] = value
    return found


LEFT, RIGHT, MIDDLE = (0, 0, 10, 32), (20, 0, 32, 32), (10, 0, 20, 32)
BACKGROUND, FOREGROUND, PADDING = 0, 1, -1


def corrected(new: np.ndarray, former: np.ndarray, *clicks: tuple[float, float, int]) -> np.ndarray:
    points, labels = np.array([click[:2] for click in clicks], np.float32), [click[2] for click in clicks]
    return keep_elsewhere(new, points, np.array(labels, np.int32), former)


def test_padding_is_no_click() -> None:
    masks = np.stack([logits(LEFT, RIGHT), logits(LEFT)])
    points, former = np.array([[24, 8], [2, 2]], np.float32), logits(LEFT, RIGHT)
    assert choose_correction(masks, np.zeros(2, np.float32), points, np.array([0, -1], np.int32), former) == 1
    assert choose_correction(masks, np.zeros(2, np.float32), points, np.array([-1, 1], np.int32), former) == 0


def test_only_the_region_of_the_click_goes() -> None:
    new = logits(MIDDLE)  # neither side is left
    found = corrected(new, logits(LEFT, RIGHT), (25, 16, BACKGROUND))
    assert ((found > 0) == (logits(LEFT, MIDDLE) > 0)).all()
    both = corrected(new, logits(LEFT, RIGHT), (25, 16, BACKGROUND), (5, 16, BACKGROUND))
    assert (both == new).all()


@pytest.mark.parametrize("label", [FOREGROUND, PADDING])
def test_other_clicks_take_nothing(label: int) -> None:
    found = corrected(logits(), logits(LEFT, RIGHT), (25, 16, label), (5, 16, BACKGROUND))
    assert ((found > 0) == (logits(RIGHT) > 0)).all()


def test_cells_that_are_hardly_outside_stay_but_for_those_near_the_click() -> None:
    new = np.full((SIDE, SIDE), -0.5 * CLEARLY, np.float32)
    found = corrected(new, logits(LEFT), (5, 16, BACKGROUND))
    y, x = np.mgrid[:SIDE, :SIDE]
    near = np.hypot(x - 5, y - 16) <= NEAR
    assert ((found > 0) == ((logits(LEFT) > 0) & ~near)).all()


def test_what_the_new_mask_adds_is_added() -> None:
    new = logits(MIDDLE, LEFT, value=0.5)
    found = corrected(new, logits(LEFT, RIGHT), (25, 16, BACKGROUND))
    assert (found == new).all()


def test_a_click_beside_the_earlier_mask_takes_nothing_away() -> None:
    found = corrected(logits(), logits(LEFT), (25, 16, BACKGROUND))
    assert (found == logits(LEFT)).all()

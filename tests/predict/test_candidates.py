"""Which of the four masks a user gets."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketsam.config import ModelConfig
from pocketsam.predict.candidates import Candidates
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.prompts import Prompts

CONFIG = ModelConfig("m", image_size=64, correction_masks=(0, 1, 2, 3))
SIDE = 16


def disc(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Logits that are above 0 in boxes of cells."""
    logits = np.full((SIDE, SIDE), -5, np.float32)
    for x0, y0, x1, y1 in boxes:
        logits[y0:y1, x0:x1] = 5
    return logits


LEFT, RIGHT, LOWER_LEFT, FAR_LEFT = (0, 0, 8, 16), (8, 0, 16, 16), (0, 8, 8, 16), (0, 0, 4, 16)


def candidates(masks: list[np.ndarray], config: ModelConfig = CONFIG, label: int = 0) -> Candidates:
    """Of a click on the right half, which corrects a mask of the whole photo; a photo of 64 × 64 pixels."""
    prompts = Prompts.of((48, 32), label, mask_input=disc(LEFT, RIGHT), photo_size=(64, 64))
    iou = np.array([[0.9, 0.5, 0.4, 0.3]], np.float32)
    return Candidates(np.stack(masks)[None], iou, prompts, Geometry.of(config, 64, 64), config)


def test_a_correction_takes_the_mask_that_obeys_the_click_and_keeps_most() -> None:
    masks = [disc(LEFT, RIGHT), disc(LOWER_LEFT), disc(LEFT), disc(RIGHT)]
    assert (candidates(masks).best().logits[0] == masks[2]).all()


def test_where_no_mask_obeys_the_one_that_keeps_most_is_taken() -> None:
    masks = [disc(RIGHT), disc(LEFT, RIGHT), disc(RIGHT), disc(RIGHT)]
    assert (candidates(masks).best().logits[0] == masks[1]).all()


@pytest.mark.parametrize(
    "changed", [{"label": 1}, {"config": replace(CONFIG, correction_masks=())}], ids=["foreground", "SAM"]
)
def test_other_prompts_and_other_models_keep_sams_rule(changed) -> None:
    masks = [disc(LEFT, RIGHT), disc(LOWER_LEFT), disc(LEFT), disc(RIGHT)]
    assert (candidates(masks, **changed).best().logits[0] == masks[0]).all()


def test_only_the_masks_of_the_config_are_taken() -> None:
    masks = [disc(LEFT, RIGHT), disc(LOWER_LEFT), disc(LEFT), disc(RIGHT)]
    config = replace(CONFIG, correction_masks=(0, 1))
    assert (candidates(masks, config).best().logits[0] == masks[1]).all()


def test_of_masks_that_obey_a_much_more_confident_one_is_taken() -> None:
    masks = [disc(LEFT, RIGHT), disc(LOWER_LEFT), disc(LEFT), disc(RIGHT)]
    found = candidates(masks)
    sure = replace(found, predicted_iou=np.array([[0.1, 0.9, 0.2, 0.1]], np.float32))
    assert (sure.best().logits[0] == masks[1]).all()


def test_a_correction_takes_nothing_away_elsewhere() -> None:
    earlier = disc(FAR_LEFT, RIGHT)
    prompts = Prompts.of((48, 32), 0, mask_input=earlier, photo_size=(64, 64))
    found = replace(candidates([disc(LOWER_LEFT)] * 4), prompts=prompts)
    kept = found.best().logits[0] > 0
    assert (kept == (disc(FAR_LEFT, LOWER_LEFT) > 0)).all()


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_a_click_is_looked_up_where_the_mask_of_the_photo_has_it(height: int, width: int, data) -> None:
    geometry = Geometry.of(CONFIG, height, width)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    ramp = np.add.outer(np.arange(SIDE), 3 * np.arange(SIDE)).astype(np.float32)
    column, row = geometry.to_cells((x, y)).clip(0, SIDE - 1)
    # A click is half a pixel of the model away from the middle of its pixel of the photo, scaled. A cell is 4 pixels,
    # and the ramp rises by 4 for a cell along both axes.
    scale = 64 / max(height, width)
    assert abs(geometry.logits_to_photo(ramp)[y, x] - (row + 3 * column)) < 4 * (abs(scale - 1) / 8 + 0.3)

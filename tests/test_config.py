"""What a model's config says of everything mode, and of the sizes of its grids."""

import json

import pytest

from pocketsam.config import SETTABLE, ModelConfig


def test_the_grids_go_with_the_image_size():
    config = ModelConfig("m", image_size=512)
    assert (config.mask_size, config.embedding_size) == (128, 32)


def test_what_can_be_set_is_as_in_sam_by_default_and_survives_json():
    values = {name: getattr(ModelConfig("m"), name) for name in SETTABLE}
    assert list(values.values()) == [32, 0.88, 0.95, 8.5, 0.0, None]
    config = ModelConfig("m", points_per_side=16, min_mask_region_cells=4.0, box_margin=0.02)
    assert ModelConfig.from_json(config.to_json()) == config


def test_the_limit_of_boxes_can_be_taken_away_again():
    config = ModelConfig("m", box_margin=0.02).with_defaults(["box_margin=null"])
    assert config.box_margin is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points_per_side": 0}, "points_per_side is 0, not from 1 to 1024"),
        ({"points_per_side": 3.5}, r"points_per_side is 3\.5, not from 1 to 1024"),
        ({"pred_iou_thresh": 5}, "pred_iou_thresh is 5, not from 0 to 1"),
        ({"stability_score_thresh": -0.1}, r"stability_score_thresh is -0\.1, not from 0 to 1"),
        ({"min_mask_region_cells": -1}, "min_mask_region_cells is -1, not from 0 to inf"),
        ({"box_margin": -0.1}, r"box_margin is -0\.1, not from 0 to inf"),
        ({"min_mask_region_cells": None}, "min_mask_region_cells is None, no number"),
        ({"min_mask_region_cells": "4"}, "min_mask_region_cells is '4', no number"),
    ],
)
def test_a_default_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_json(json.dumps(json.loads(ModelConfig("m").to_json()) | change))

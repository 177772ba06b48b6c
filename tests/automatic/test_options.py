import numpy as np
import pytest

from pocketsam.automatic.options import Options
from pocketsam.config import ModelConfig
from pocketsam.errors import InputError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points_per_side": 4, "point_grids": [np.zeros((1, 2))]}, "either points_per_side or point_grids"),
        ({"points_per_side": 0}, "points_per_side is 0; give a whole number from 1 to 1024"),
        ({"points_per_side": 2000}, "points_per_side is 2000"),
        ({"points_per_side": 2.5}, "points_per_side is 2.5; give a whole number"),
        ({"points_per_side": "8"}, "points_per_side is 8; give a whole number"),
        ({"points_per_batch": 0}, "points_per_batch is 0"),
        ({"crop_n_layers": -1}, "crop_n_layers is -1; give a whole number, 0 or more"),
        ({"pred_iou_thresh": 5}, "pred_iou_thresh is 5; give a number from 0 to 1"),
        ({"pred_iou_thresh": float("nan")}, "pred_iou_thresh is nan; give a number from 0 to 1"),
        ({"stability_score_thresh": 1.01}, "stability_score_thresh is 1.01; give a number from 0 to 1"),
        ({"stability_score_offset": -1.0}, "stability_score_offset is -1.0; give a number, 0 or more"),
        ({"box_nms_thresh": -0.1}, "box_nms_thresh is -0.1; give a number from 0 to 1"),
        ({"crop_nms_thresh": 70}, "crop_nms_thresh is 70"),
        ({"min_mask_region_area": -3}, "min_mask_region_area is -3"),
        ({"confident_logit": float("inf")}, "confident_logit is inf; give a number"),
        ({"crop_overlap_ratio": 1.0}, "crop_overlap_ratio is 1.0"),
        ({"points_per_side": None, "point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1}, "need 2"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as error:
        Options(**options)
    assert "\n" not in str(error.value)


def test_what_is_not_given_is_the_models_own():
    config = ModelConfig(
        "m", pred_iou_thresh=0.3, stability_score_thresh=0.5, confident_logit=2.0, points_per_side=20
    )
    assert Options().resolve(config) == (20, 0.3, 0.5, 2.0)
    assert Options(8, pred_iou_thresh=0.0, confident_logit=0.0).resolve(config) == (8, 0.0, 0.5, 0.0)


def test_sams_own_are_the_published_ones():
    assert Options().resolve(ModelConfig("sam")) == (32, 0.88, 0.95, 8.5)


def test_an_option_that_there_is_not_is_named():
    assert Options.of(points_per_side=4).points_per_side == 4
    with pytest.raises(InputError, match="everything mode has no option 'points'"):
        Options.of(points=4)

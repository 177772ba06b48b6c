"""The predictor gives what the published one gives, on MobileSAM's network and weights that anyone can regenerate."""

import numpy as np
import pytest
import torch

from parity import synthetic_weights
from parity.synthetic_weights import FOLDER
from pocketsam.compat import SamPredictor, sam_model_registry

POINT, BACKGROUND, BOX = (135.3, 120.9), (320.0, 181.5), (70.5, 60.2, 210.0, 190.7)
CASES = {
    "point": {"point_coords": [POINT], "point_labels": [1]},
    "points_fg_bg": {"point_coords": [POINT, BACKGROUND], "point_labels": [1, 0]},
    "box": {"box": BOX},
    "box_point": {"point_coords": [POINT], "point_labels": [1], "box": BOX},
    "point_single": {"point_coords": [POINT], "point_labels": [1], "multimask_output": False},
}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    drawn = synthetic_weights.state_dict(str(FOLDER / "mobile_sam.json"))
    path = tmp_path_factory.mktemp("published") / "mobile_sam.pt"
    torch.save({name: torch.from_numpy(np.asarray(tensor)) for name, tensor in drawn.items()}, path)
    predictor = SamPredictor(sam_model_registry["vit_t"](checkpoint=path))
    predictor.set_image(synthetic_weights.image(300, 451))
    path.unlink()
    return predictor


def assert_close(ours, theirs):
    scale = theirs.std() if theirs.size > 8 else np.abs(theirs).max()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-4 * scale


def test_the_published_answers(predictor):
    golden = dict(np.load(FOLDER / "mobile_sam.npz"))
    _, _, logits = predictor.predict(**CASES["point"])
    cases = CASES | {"point_mask": CASES["point_single"] | {"mask_input": logits[:1]}}
    for name, prompt in cases.items():
        masks, iou, low_res = predictor.predict(**prompt, return_logits=True)
        assert_close(iou, golden[f"{name}_iou"].reshape(-1))
        assert_close(low_res[:, ::4, ::4], golden[f"{name}_lowres_sub"])
        assert_close(masks[:, ::5, ::5], golden[f"{name}_logits_sub"])

"""What a student starts as."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from pocketsam.config import SAM, ModelConfig
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import save_model
from pocketsam.models.sam import Sam
from pocketsam.training.losses.adversarial import Adversarial
from pocketsam.training.losses.supervised import Supervised
from pocketsam.training.student import make_student
from runs import refusal
from transfer import recipe


def saved(folder: Path, architecture: str, config: ModelConfig) -> str:
    path = folder / f"{architecture}.safetensors"
    save_model(path, build(architecture, 64).state_dict(), replace(config, image_size=64))
    return str(path)


def student(folder: Path, init: str) -> tuple[Sam, ModelConfig]:
    return make_student(recipe(folder, "supervised", train="drawn shapes", model="tiny_vit_1m", init=[init]))


def learning_statistics(sam: Sam) -> set[bool]:
    return {one.training for one in sam.image_encoder.modules() if isinstance(one, nn.BatchNorm2d)}


def test_an_encoder_that_goes_on_keeps_its_statistics_and_a_fresh_one_does_not(tmp_path: Path) -> None:
    sam, _ = student(tmp_path, saved(tmp_path, "tiny_vit_1m", SAM))
    assert learning_statistics(sam.train()) == {False}
    sam, _ = student(tmp_path, saved(tmp_path, "patches", SAM))  # its decoder alone
    assert learning_statistics(sam.train()) == {True}


def test_attacks_do_not_change_which_statistics_are_kept(tmp_path: Path) -> None:
    sam, _ = student(tmp_path, saved(tmp_path, "tiny_vit_1m", SAM))
    loss = Adversarial(Supervised(sam, nn.Identity(), 1, [1], "focal"), 4, 1, 0, share=1).train()  # type: ignore[arg-type]
    loss.eval()
    loss.loss.train(True)
    assert learning_statistics(sam) == {False} and sam.mask_decoder.training


def test_a_model_that_goes_on_keeps_its_settings(tmp_path: Path) -> None:
    tuned = replace(SAM, pred_iou_thresh=0.35, points_per_side=24, box_margin=0.02, min_mask_region_cells=16)
    _, config = student(tmp_path, saved(tmp_path, "tiny_vit_1m", tuned))
    for name in ("pred_iou_thresh", "points_per_side", "box_margin", "min_mask_region_cells"):
        assert getattr(config, name) == getattr(tuned, name)
    assert (config.name, config.licence, config.weights) == ("tiny_vit_1m", "CC0-1.0", "")
    _, config = student(tmp_path, saved(tmp_path, "patches", tuned))
    assert config.pred_iou_thresh == SAM.pred_iou_thresh


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"method": "saliency", "model": "patches", "image_size": None, "val": ["a.tar"]},
            "has no val; leave it out",
        ),
        ({"method": "saliency", "model": "patches"}, "saliency training has no image_size"),
        (
            {"method": "classification", "model": "patches", "augmentation": {"zoom_out": 0.1}},
            "takes crops only",
        ),
        ({"model": "efficient_sam_ti", "lone_corrections": 0.5}, "efficient_sam_ti takes no mask input"),
        ({"model": "patches", "seed": -1}, "seed: "),
    ],
)
def test_what_a_method_does_not_use_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    assert message in refusal(tmp_path, changes)

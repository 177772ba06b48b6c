"""The builders and the handle they give."""

import inspect
from pathlib import Path

import pytest
import torch

from pocketsam.compat import SamAutomaticMaskGenerator, build_sam, build_sam_vit_b, sam_model_registry
from pocketsam.config import ModelConfig
from pocketsam.errors import InputError, ModelError
from pocketsam.zoo import MODELS


@pytest.fixture
def opened(engine, monkeypatch) -> list[tuple]:
    """What the engine is asked to open, which is the fake one."""
    calls: list[tuple] = []

    def open_engine(source, *, device, precision, config):
        assert precision == "float32"  # as the published package computes
        calls.append((source, device, config))
        return engine

    monkeypatch.setattr("pocketsam.compat.engine_model.open_engine", open_engine)
    return calls


def test_the_published_names_are_there():
    assert set(sam_model_registry) == {"default", "vit_h", "vit_l", "vit_b", "vit_t"}
    assert sam_model_registry["vit_b"] is build_sam_vit_b
    assert sam_model_registry["default"] is build_sam


def test_the_generators_arguments_are_the_published_ones():
    parameters = list(inspect.signature(SamAutomaticMaskGenerator).parameters.values())
    assert [(p.name, p.default) for p in parameters[1:]] == [
        ("points_per_side", 32),
        ("points_per_batch", 64),
        ("pred_iou_thresh", 0.88),
        ("stability_score_thresh", 0.95),
        ("stability_score_offset", 1.0),
        ("box_nms_thresh", 0.7),
        ("crop_n_layers", 0),
        ("crop_nms_thresh", 0.7),
        ("crop_overlap_ratio", 512 / 1500),
        ("crop_n_points_downscale_factor", 1),
        ("point_grids", None),
        ("min_mask_region_area", 0),
        ("output_mode", "binary_mask"),
    ]


def test_every_argument_of_the_generator_reaches_its_option(sam):
    values = [5, 6, 0.1, 0.2, 0.3, 0.4, 1, 0.5, 0.6, 2, None, 7]
    generator = SamAutomaticMaskGenerator(sam, *values)
    options = vars(generator.options)
    names = list(inspect.signature(SamAutomaticMaskGenerator).parameters)[1:-1]
    expected = dict(zip(names, values, strict=True))
    assert options.pop("points_per_side") is None, "it is SAM's own grid"
    assert [len(grid) for grid in options.pop("point_grids")] == [25, 4]
    assert {name: options.pop(name) for name in names[1:] if name != "point_grids"} == {
        name: value for name, value in expected.items() if name not in ("points_per_side", "point_grids")
    }
    assert options == {"hierarchical": False, "confident_logit": None, "mask_threshold": 0.0}


def test_a_model_is_opened_when_first_needed_on_the_device_it_was_sent_to(opened, tmp_path):
    sam = build_sam(tmp_path)
    assert opened == []
    assert sam.to("cuda:0") is sam
    assert sam.eval() is sam
    assert sam.image_encoder.img_size == 64
    assert sam.image_encoder.img_size == 64
    assert opened == [(tmp_path, "cuda:0", None)]
    assert sam.device == torch.device("cuda:0")
    sam.to(device=torch.device("cpu"))
    assert sam.engine is sam.to("cpu").engine
    assert [device for _, device, _ in opened] == ["cuda:0", "cpu"]
    assert sam.image_format == "RGB"
    assert sam.mask_threshold == 0.0


def test_without_a_checkpoint_a_model_has_random_weights_and_nothing_is_fetched(monkeypatch):
    monkeypatch.setattr("pocketsam.zoo._fetch", lambda model: pytest.fail("something was fetched"))
    for name, known in {"vit_b": "sam_vit_b", "vit_t": "mobile_sam"}.items():
        with torch.device("meta"):  # no time for numbers
            model = sam_model_registry[name](checkpoint=None)
        published = MODELS[known]
        idle = ("image_encoder.head.", "image_encoder.norm_head.")
        count = sum(p.numel() for key, p in model.named_parameters() if not key.startswith(idle))
        assert count == published.parameters, name
        assert model.image_encoder.img_size == 1024
        assert not model.training


def test_a_model_of_another_architecture_is_refused_and_both_are_named():
    sam = sam_model_registry["vit_b"](checkpoint="pocket")
    with pytest.raises(ModelError, match=r'is pocket, not sam_vit_b; .*"default"'):
        _ = sam.engine


def test_a_device_that_no_engine_knows_is_refused():
    with pytest.raises(ModelError, match="there is no device 'toaster'"):
        _ = build_sam("pocket").to("toaster").engine


def test_a_published_file_under_another_architectures_name_is_refused_at_once(tmp_path):
    file = tmp_path / "mobile_sam.pt"
    file.touch()
    with pytest.raises(ModelError, match=r"mobile_sam\.pt: is mobile_sam, not sam_vit_b"):
        sam_model_registry["vit_b"](checkpoint=str(file))


def test_an_architecture_of_ones_own_goes_by_default(engine, opened, tmp_path):
    engine.config = ModelConfig("mine", 64)
    with pytest.raises(ModelError, match="a network of a shape of its own, not mobile_sam or pocket"):
        _ = sam_model_registry["vit_t"](tmp_path).engine
    assert build_sam(tmp_path).engine is engine


def test_a_checkpoint_that_is_not_there_is_named():
    with pytest.raises(ModelError, match=r"nowhere\.pth"):
        sam_model_registry["vit_b"](checkpoint=Path("nowhere.pth"))


def test_a_generator_refuses_what_the_published_one_refuses(sam):
    with pytest.raises(AssertionError, match="either points_per_side or point_grids"):
        SamAutomaticMaskGenerator(sam, points_per_side=None)
    with pytest.raises(AssertionError, match="output_mode is 'png'"):
        SamAutomaticMaskGenerator(sam, output_mode="png")
    with pytest.raises(InputError, match="points_per_batch is 0"):
        SamAutomaticMaskGenerator(sam, points_per_batch=0)

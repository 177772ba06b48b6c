import json
import math
from pathlib import Path

import pytest
import torch

from pocketsam import zoo
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.errors import ModelError
from pocketsam.graphs import ONNX_FILES
from pocketsam.models.architectures import build
from pocketsam.zoo import MODELS, locate

MANIFESTS = sorted((Path(__file__).parent / "parity").glob("*.json"))
NOT_COUNTED = ("num_batches_tracked", "running_mean", "running_var", "positional_encoding_gaussian_matrix")
CLASSIFIER = ("image_encoder.head.", "image_encoder.norm_head.")


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("POCKETSAM_HOME", str(folder))
    return folder


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("nothing should be fetched")

    monkeypatch.setattr("pocketsam.utils.fetch.fetch", refuse)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_the_model_inside_the_package_is_found_by_name():
    folder, config = locate("pocket")
    assert {file.name for file in folder.iterdir()} >= set(ONNX_FILES)
    assert config is None


def test_pocket_is_described_as_its_files_are():
    listed, found = MODELS["pocket"].config, OnnxEngine(locate("pocket")[0]).config
    fields = (
        "name",
        "image_size",
        "resize",
        "resampling",
        "mean",
        "std",
        "licence",
        "architecture",
        "click_masks",
    )
    fields += ("prompt_masks", "pad_points_to", "embedding_channels")
    assert [getattr(listed, field) for field in fields] == [getattr(found, field) for field in fields]


def test_a_folder_is_its_own_model(tmp_path):
    assert locate(tmp_path) == locate(str(tmp_path)) == (tmp_path, None)


def test_a_published_file_is_known_by_its_name_wherever_it_lies(tmp_path):
    file = touch(tmp_path / "tinysam_42.3.pth")
    assert locate(file) == locate(str(file)) == (file, MODELS["tinysam"].config)


def test_a_file_of_another_name_speaks_for_itself(tmp_path):
    file = touch(tmp_path / "my-finetuned.pth")
    assert locate(file) == (file, None)


@pytest.mark.parametrize("place", ["sam_vit_b_01ec64.pth", "sam_vit_b/sam_vit_b_01ec64.pth"])
def test_a_file_that_is_there_already_is_used(home, no_network, place):
    file = touch(home / place)
    assert locate("sam_vit_b") == (file, MODELS["sam_vit_b"].config)


@pytest.mark.parametrize("files", [ONNX_FILES, ("model.safetensors",)])
def test_a_converted_model_comes_before_its_published_file(home, no_network, files):
    for name in (*files, "mobile_sam.pt"):
        touch(home / "mobile_sam" / name)
    assert locate("mobile_sam") == (home / "mobile_sam", None)


@pytest.mark.parametrize("files", [ONNX_FILES[:1], ONNX_FILES[:2], ONNX_FILES[:-1], ONNX_FILES[1:]])
def test_half_a_converted_model_is_none(home, no_network, files):
    for name in files:
        touch(home / "mobile_sam" / name)
    file = touch(home / "mobile_sam" / "mobile_sam.pt")
    assert locate("mobile_sam") == (file, MODELS["mobile_sam"].config)


def test_what_is_not_there_is_fetched_into_a_folder_of_its_own(home, monkeypatch):
    def record(*arguments):
        asked.append(arguments)
        return touch(arguments[1])

    asked: list[tuple] = []
    monkeypatch.setattr("pocketsam.utils.fetch.fetch", record)
    for name in ("efficient_sam_ti", "efficient_sam_s"):
        model, file = MODELS[name], home / name / MODELS[name].file
        assert locate(name) == (file, model.config)
        member = "efficient_sam_vits.pt" if name == "efficient_sam_s" else None
        assert asked.pop() == (model.url, file, model.sha256, model.bytes, member)


def test_a_slip_of_the_pen_gets_a_suggestion():
    with pytest.raises(ModelError, match="there is no model 'Poket'; did you mean 'pocket'"):
        locate("Poket")


def test_a_published_file_that_is_missing_can_be_had_by_name():
    with pytest.raises(ModelError, match=r"no model 'weights/tinysam.pth'; did you mean 'tinysam_1.0'"):
        locate("weights/tinysam.pth")


def test_unknown_models_are_answered_with_the_known_ones():
    with pytest.raises(ModelError, match=r"one of: pocket, sam_vit_b, .*slimsam_77"):
        locate(Path("no/such/folder"))


def test_every_published_file_can_be_told_from_the_others():
    files = [model.file for model in MODELS.values()]
    assert len(set(files)) == len(files)
    assert "model.safetensors" not in files  # that is what converted models are called
    for model in MODELS.values():
        assert model.config.licence == "Apache-2.0"
        assert model.url.startswith("https://") or model.name == "pocket"
        assert model.sha256 is None or len(bytes.fromhex(model.sha256)) == 32


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_the_parameters_are_those_of_the_published_tensors(manifest):
    shapes = {name: shape for name, (shape, _) in json.loads(manifest.read_text()).items()}
    counted = (n for n in shapes if not n.endswith(NOT_COUNTED) and not n.startswith(CLASSIFIER))
    assert zoo.MODELS[manifest.stem].parameters == sum(math.prod(shapes[name]) for name in counted)


def test_the_parameters_of_pocket_are_those_of_its_network():
    with torch.device("meta"):
        parameters = dict(build("pocket", 512).named_parameters())
    counted = (tensor.numel() for name, tensor in parameters.items() if not name.startswith(CLASSIFIER))
    assert MODELS["pocket"].parameters == sum(counted)

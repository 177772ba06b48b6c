"""The two programs that other runtimes get, and the formats they are written in."""

import json
import runpy
import sys
from importlib.util import find_spec
from unittest.mock import MagicMock

import numpy as np
import onnxruntime as ort
import pytest
import torch

from commands import run
from pocketsam.config import ModelConfig
from pocketsam.data.calibration import calibration_images
from pocketsam.export.programs import export_programs, programs
from pocketsam.export.targets import TARGETS
from pocketsam.export.targets.base import CALIBRATION_PHOTOS, ProgramTarget, QuantizableTarget
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import save_model
from pocketsam.models.encoders.efficientnet_lite import ConvNorm

SIZE = 64
NAMES = {
    "openvino": "openvino",
    "litert": "litert_torch",
    "executorch": "executorch",
    "coreml": "coremltools",
    "tensorrt": "onnx",
}
"""What each target imports."""


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    sam = build("efficientnet_lite0", SIZE).eval().requires_grad_(False)
    for module in sam.modules():
        if isinstance(module, ConvNorm):  # statistics that do something
            module.norm.running_mean.uniform_(-0.1, 0.1)
            module.norm.running_var.uniform_(0.5, 2)
    return sam


@pytest.fixture(scope="module")
def config():
    return ModelConfig("small", SIZE, "squash")


def inputs(program):
    """Numbers that are not the example's."""
    torch.manual_seed(1)
    given = {
        name: torch.rand_like(tensor) * SIZE
        for name, tensor in program.inputs.items()
        if tensor.is_floating_point()
    }
    return {
        **program.inputs,
        **given,
        **({"has_mask_input": torch.ones(1)} if "has_mask_input" in given else {}),
    }


def test_the_programs_compute_what_the_model_does(sam) -> None:
    encoder, decoder = programs(sam, points=3)
    image, given = inputs(encoder)["image"], inputs(decoder)
    torch.testing.assert_close(encoder.module(image), sam.encode(image), rtol=1e-4, atol=1e-5)
    points, labels = given["point_coords"], given["point_labels"]
    masks, ious = sam.decode(
        given["image_embeddings"], points[None], labels[None], given["mask_input"], given["has_mask_input"]
    )
    found = decoder.module(*given.values())
    torch.testing.assert_close(found[0], masks[0], rtol=1e-3, atol=1e-3 * float(masks.std()))
    torch.testing.assert_close(found[1], ious[0], rtol=1e-3, atol=1e-4)


def test_no_weight_is_computed_in_the_encoder(sam) -> None:
    encoder, _ = programs(sam)
    assert not any(isinstance(module, ConvNorm) for module in encoder.module.modules())
    assert any(isinstance(module, ConvNorm) for module in sam.modules())  # the model itself is left alone


def test_the_config_names_every_tensor(sam, config, tmp_path) -> None:
    export_programs(
        sam, config, tmp_path, ".txt", lambda program, path: path.write_text(program.name), points=5
    )
    note = json.loads((tmp_path / "model.json").read_text())
    assert note["programs"]["encoder.txt"]["inputs"] == {
        "image": {"shape": [1, 3, SIZE, SIZE], "dtype": "float32"}
    }
    decoder = note["programs"]["decoder.txt"]
    assert decoder["inputs"]["point_labels"] == {"shape": [1, 5], "dtype": "int32"}
    assert decoder["outputs"] == ["low_res_masks", "iou_predictions"]
    assert note["config"]["image_size"] == SIZE and note["config"]["weights"]


def test_openvino_computes_the_same_with_any_number_of_points(
    sam, config, tmp_path, monkeypatch, capsys
) -> None:
    openvino = pytest.importorskip("openvino")
    save_model(tmp_path / "model.safetensors", sam.state_dict(), config)
    words = ["--model", tmp_path / "model.safetensors", "-o", tmp_path]
    assert run(monkeypatch, capsys, "export", "openvino", *words)[0] == 0
    assert {"encoder.xml", "decoder.xml", "model.json"} <= {file.name for file in tmp_path.iterdir()}
    _, decoder = programs(sam)
    compiled = openvino.Core().compile_model(
        tmp_path / "decoder.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for count in (1, 4):
        given = inputs(decoder)
        given["point_coords"] = torch.rand(1, count, 2) * SIZE
        given["point_labels"] = torch.ones(1, count, dtype=torch.int32)
        exact = decoder.module(*given.values())[0]
        found = compiled({name: tensor.numpy() for name, tensor in given.items()})["low_res_masks"]
        # Weights are stored in float16.
        assert (torch.from_numpy(np.asarray(found)) - exact).abs().max() < 0.02 * exact.std()


def test_tensorrt_gets_files_that_take_as_many_points_as_its_scripts_say(
    sam, config, tmp_path, monkeypatch
) -> None:
    target = TARGETS["tensorrt"]
    paths = export_programs(sam, config, tmp_path, target.suffix, target.write)
    assert [path.name for path in paths[2:4]] == ["decoder.onnx", "decoder.build.py"]
    _, decoder = programs(sam)
    session = ort.InferenceSession(tmp_path / "decoder.onnx", providers=["CPUExecutionProvider"])
    given = inputs(decoder)
    trt = MagicMock()  # TensorRT itself needs a GPU
    trt.Builder().build_serialized_network.return_value = b"engine"
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    runpy.run_path(str(tmp_path / "decoder.build.py"))
    shapes = {
        call.args[0]: call.args[1:]
        for call in trt.Builder().create_optimization_profile().set_shape.mock_calls
    }
    assert set(shapes) == {"point_coords", "point_labels"}
    for coords, labels in zip(shapes["point_coords"], shapes["point_labels"], strict=True):
        given |= {
            "point_coords": torch.rand(coords) * SIZE,
            "point_labels": torch.ones(labels, dtype=torch.int32),
        }
        exact = decoder.module(*given.values())[0]
        found = session.run(["low_res_masks"], {name: tensor.numpy() for name, tensor in given.items()})[0]
        assert (torch.from_numpy(found) - exact).abs().max() < 1e-3 * exact.std()
    trt.OnnxParser().parse_from_file.assert_called_with(str(tmp_path / "decoder.onnx"))
    assert (tmp_path / "decoder.engine").read_bytes() == b"engine"


OTHERS = [name for name in TARGETS if issubclass(TARGETS[name], ProgramTarget) and name != "openvino"]
"""Those beside OpenVINO, which has its own test."""


@pytest.mark.parametrize("name", OTHERS)
def test_the_command_writes_both_programs_or_says_what_to_install(
    sam, config, tmp_path, name, monkeypatch, capsys
) -> None:
    save_model(tmp_path / "model.safetensors", sam.state_dict(), config)
    words = ["--model", tmp_path / "model.safetensors", "-o", tmp_path / "out"]
    code, _, error = run(monkeypatch, capsys, "export", name, *words)
    if find_spec(NAMES[name]) is None:
        assert code == 2
        assert f"install it with: pip install {' '.join(TARGETS[name].packages)}" in error
        return
    assert code == 0
    suffix = TARGETS[name].suffix
    assert {f"encoder{suffix}", f"decoder{suffix}", "model.json"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }


class Names(QuantizableTarget):
    """A target whose files say what would be written."""

    name, summary, description, suffix, packages = "names", "", "", ".txt", ()

    @staticmethod
    def write(program, path):
        path.write_text(f"{program.name} in float32")

    @staticmethod
    def write_int8(program, path, images):
        path.write_text(f"{program.name} in INT8, {len(images)} of {tuple(images[0].shape)}")


@pytest.mark.parametrize("calibrated", [False, True])
def test_only_the_encoder_becomes_int8_and_only_with_photos(sam, config, tmp_path, calibrated) -> None:
    target = Names(output=tmp_path, calibration=["samples"] * calibrated)
    export_programs(sam, config, tmp_path, ".txt", target.writer(config, calibration_images))
    assert (tmp_path / "decoder.txt").read_text() == "decoder in float32"
    images = f"INT8, {min(6, CALIBRATION_PHOTOS)} of (1, 3, {SIZE}, {SIZE})"  # of the six samples
    assert (tmp_path / "encoder.txt").read_text() == f"encoder in {images if calibrated else 'float32'}"


def _litert(path):
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(str(path)).get_signature_runner()
    return lambda image: signature(image=image.numpy())["output_0"]


def _executorch(path):
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    return lambda image: method.execute([image])[0].numpy()


@pytest.mark.parametrize(("name", "open_program"), [("litert", _litert), ("executorch", _executorch)])
def test_int8_encoders_are_small_and_compute_nearly_the_same(
    sam, config, tmp_path, name, open_program
) -> None:
    pytest.importorskip(NAMES[name])
    target = TARGETS[name](output=tmp_path, calibration=["samples"])
    (encoder, _), image = programs(sam), calibration_images(["samples"], 1, config)[0]
    float32, int8 = (tmp_path / f"{kind}{target.suffix}" for kind in ("float32", "int8"))
    target.write(encoder, float32)
    target.writer(config, calibration_images)(encoder, int8)
    assert int8.stat().st_size < 0.5 * float32.stat().st_size
    wanted = encoder.module(torch.from_numpy(image)).numpy()
    error = open_program(int8)(torch.from_numpy(image)) - wanted
    assert 0 < error.std() < 0.3 * wanted.std()

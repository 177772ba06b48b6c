"""`pocketsam quantize`: from a checkpoint and photos to files that run, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from pocketsam import Segmenter
from pocketsam.cli.app import app
from pocketsam.errors import ModelError
from pocketsam.graphs import CONFIG_FILE, ONNX_FILES
from pocketsam.models.architectures import ARCHITECTURES, build
from pocketsam.models.checkpoints import save_model

FAST = ("--method", "minmax", "--photos", "2", "--threads", "1")


def pocketsam(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("float") / "mine.safetensors"
    save_model(
        path,
        build("patches", 64).state_dict(),
        replace(ARCHITECTURES["patches"].config, name="mine", image_size=64),
    )
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(3):
        pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((80, 60)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def integers(checkpoint, photos, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("quantised") / "int8"
    done = pocketsam("quantize", checkpoint, "--calibrate", photos, "-o", folder, *FAST)
    assert done.exit_code == 0, done.output
    assert "mine in 7-bit weights, 8-bit activations" in done.output
    return folder


@pytest.fixture(scope="module")
def both(checkpoint, photos, tmp_path_factory) -> Path:
    """A folder with the float files, stored compactly, and the encoder in INT8 beside them."""
    folder = tmp_path_factory.mktemp("quantised") / "both"
    for words in (
        ("convert", checkpoint, "-o", folder, "--to", "onnx", "--compact"),
        ("quantize", checkpoint, "--calibrate", photos, "-o", folder, "--to", "encoder", *FAST),
    ):
        done = pocketsam(*words)
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def scales(checkpoint, photos, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("quantised") / "w6a6"
    done = pocketsam("quantize", checkpoint, "--calibrate", photos, "-o", folder, "--bits", 6, *FAST)
    assert done.exit_code == 0, done.output
    return folder


def test_eight_bits_are_onnx_files(integers):
    assert {file.name for file in integers.iterdir()} == {*ONNX_FILES, CONFIG_FILE}
    model = onnx.load(integers / "decoder_predict_iou.onnx")
    sizes = {onnx.TensorProto.INT8: 0, onnx.TensorProto.FLOAT: 0}
    for tensor in model.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims))
    assert sizes[onnx.TensorProto.INT8] > 20 * sizes[onnx.TensorProto.FLOAT]


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_engines_run_them_and_know_their_numerics(engine, integers, checkpoint, photos):
    segmenter = Segmenter(integers, engine, threads=1)
    config = segmenter.engine.config
    assert config.numerics.startswith("w7a8-")
    exact = Segmenter(checkpoint, "torch", threads=1)
    assert config.weights == exact.engine.config.weights
    assert config.identity != exact.engine.config.identity
    masks, floats = (one.open(photos / "0.png").segment(boxes=(10, 10, 60, 50)) for one in (segmenter, exact))
    agreement = np.corrcoef(masks.logits.ravel(), floats.logits.ravel())[0, 1]
    assert agreement > 0.98


def test_fewer_bits_are_computed_in_float(scales, checkpoint, photos):
    assert [file.name for file in scales.iterdir()] == ["quantized.safetensors"]
    segmenter = Segmenter(scales, threads=1)  # which finds the only engine that can
    assert segmenter.engine.info.name == "fake-quant"
    assert segmenter.engine.config.numerics.startswith("w6a6-")
    assert segmenter.engine.info.numerics == segmenter.engine.config.numerics
    opened = segmenter.open(photos / "0.png")
    masks = opened.segment(points=[(20, 20), (40, 30)])
    floats = (
        Segmenter(checkpoint, "torch", threads=1).open(photos / "0.png").segment(points=[(20, 20), (40, 30)])
    )
    assert np.corrcoef(masks.logits.ravel(), floats.logits.ravel())[0, 1] > 0.9
    assert not np.allclose(masks.logits, floats.logits, rtol=1e-3)
    again = opened.segment(points=[(20, 20), (40, 30)], mask_input=masks.logits)
    assert again.logits.shape == masks.logits.shape


def test_an_embedding_of_a_quantised_model_is_not_taken_for_the_float_models(
    scales, checkpoint, photos, tmp_path
):
    Segmenter(scales, threads=1).open(photos / "0.png").save_embedding(tmp_path / "0.npz")
    with pytest.raises(Exception, match=r"0\.npz"):
        Segmenter(checkpoint, "torch", threads=1).open(embedding=tmp_path / "0.npz")


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_float_engines_refuse_scales(engine, scales):
    for source in (scales, scales / "quantized.safetensors"):
        with pytest.raises(Exception, match=r"quantized|model\.safetensors|missing"):
            Segmenter(source, engine, threads=1)


def test_damaged_scales_are_refused(scales, tmp_path):
    (tmp_path / "quantized.safetensors").write_bytes((scales / "quantized.safetensors").read_bytes()[:-5])
    with pytest.raises(Exception, match="damaged"):
        Segmenter(tmp_path, "fake-quant", threads=1)


def refusal(*arguments) -> str:
    done = pocketsam("quantize", *arguments)
    assert done.exit_code == 2, done.output
    (line,) = [line for line in done.output.splitlines() if line.startswith("pocketsam: ")]
    return line


def test_what_cannot_serve_is_refused_in_one_line(checkpoint, photos, integers, tmp_path):
    out = ("-o", tmp_path / "out", *FAST)
    (tmp_path / "empty").mkdir()
    assert "empty" in refusal(checkpoint, "--calibrate", tmp_path / "empty", *out)
    assert "nowhere" in refusal(checkpoint, "--calibrate", tmp_path / "nowhere", *out)
    (tmp_path / "grey").mkdir()
    Image.new("RGB", (40, 30), "grey").save(tmp_path / "grey" / "wall.png")
    assert "wall.png: is of one colour" in refusal(checkpoint, "--calibrate", tmp_path / "grey", *out)
    assert "weights" in refusal(integers, "--calibrate", photos, *out)  # already quantised
    assert "no model" in refusal("pokcet", "--calibrate", photos, *out)
    assert "2 to 16" in refusal(checkpoint, "--calibrate", photos, *out, "--bits", 1)
    assert "minmax" in refusal(checkpoint, "--calibrate", photos, "-o", tmp_path / "out", "--method", "best")
    assert "--to scales" in refusal(checkpoint, "--calibrate", photos, *out, "--bits", 6, "--to", "onnx")
    assert not (tmp_path / "out" / "encoder.onnx").exists()


def test_files_of_another_model_are_not_mixed_in(checkpoint, photos, scales):
    assert "another -o" in refusal(checkpoint, "--calibrate", photos, "-o", scales, *FAST)


def test_a_full_disk_is_one_line(checkpoint, photos):
    assert "/dev/full" in refusal(checkpoint, "--calibrate", photos, "-o", "/dev/full", *FAST)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_folder_may_hold_both_encoders_and_the_processor_decides(
    engine, both, integers, photos, monkeypatch
):
    numerics = {}
    for fast in (True, False):
        monkeypatch.setattr("pocketsam.engines.registry.multiplies_int8", lambda fast=fast: fast)
        numerics[fast] = Segmenter(both, engine, threads=1).engine.info.numerics
    assert numerics[True].startswith("w7a8-") and numerics[False] == "float32"
    chosen = {name: Segmenter(both, engine, precision=name, threads=1) for name in ("int8", "float32")}
    assert chosen["int8"].engine.config.identity.endswith(numerics[True])
    assert chosen["float32"].engine.config.numerics == "compact"
    alone = Segmenter(integers, engine, threads=1)
    box = {"boxes": (10, 10, 60, 50)}
    masks, same = (one.open(photos / "0.png").segment(**box) for one in (chosen["int8"], alone))
    np.testing.assert_array_equal(masks.logits, same.logits)
    floats = chosen["float32"].open(photos / "0.png").segment(**box)
    assert np.corrcoef(masks.logits.ravel(), floats.logits.ravel())[0, 1] > 0.98
    assert (masks.logits != floats.logits).any()


def test_what_does_not_belong_together_is_refused(both, integers, checkpoint, photos, tmp_path):
    with pytest.raises(ModelError, match=r"int8: holds no encoder_int8.onnx; leave the precision out"):
        Segmenter(integers, "onnx", precision="int8")
    done = pocketsam(
        "quantize", checkpoint, "--calibrate", photos, "-o", tmp_path / "new", "--to", "encoder", *FAST
    )
    assert (done.exit_code, "holds no float ONNX files" in done.output) == (2, True)
    other = tmp_path / "other.safetensors"
    config = replace(ARCHITECTURES["patches"].config, name="other", image_size=64)
    save_model(other, build("patches", 64).state_dict(), config)
    done = pocketsam("quantize", other, "--calibrate", photos, "-o", both, "--to", "encoder", *FAST)
    assert (done.exit_code, "both: holds ONNX files of another model" in done.output) == (2, True)
    done = pocketsam("convert", checkpoint, "-o", both, "--to", "onnx")
    assert (done.exit_code, "encoder_int8.onnx: may be of another model; delete it, or" in done.output) == (
        2,
        True,
    )
    done = pocketsam("convert", checkpoint, "-o", tmp_path / "new", "--compact")
    assert (done.exit_code, "--compact: is for ONNX files" in done.output) == (2, True)

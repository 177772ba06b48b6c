"""ONNX files that cannot be used, in every engine that runs them. Each gets one line that names the file."""

import re
import shutil
from dataclasses import replace

import onnx
import pytest

from pocketsam.engines.onnx import OnnxEngine
from pocketsam.engines.openvino import OpenVinoEngine
from pocketsam.errors import ModelError


@pytest.fixture(params=[OnnxEngine, OpenVinoEngine])
def engine(request):
    return request.param


@pytest.fixture
def folder(pair, tmp_path):
    """A copy of the model, to be spoilt."""
    return shutil.copytree(pair, tmp_path / "model")


def refusal(engine, folder) -> str:
    with pytest.raises(ModelError) as error:
        engine(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("file", ["encoder.onnx", "decoder.onnx"])
def test_missing_files_are_named(engine, folder, file):
    (folder / file).unlink()
    assert refusal(engine, folder).startswith(f"{folder / file}: is missing")


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
def test_truncated_files_are_named(engine, folder, kept):
    content = (folder / "decoder.onnx").read_bytes()
    (folder / "decoder.onnx").write_bytes(content[: int(kept * len(content))])
    assert refusal(engine, folder).startswith(f"{folder}/decoder.onnx: is damaged or not an ONNX model")


def test_foreign_files_are_named(engine, folder):
    shutil.copy(folder / "decoder.onnx", folder / "encoder.onnx")
    assert "encoder.onnx: is not the encoder of a PocketSAM model" in refusal(engine, folder)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, r"encoder.onnx: is not the encoder of a PocketSAM model"),
        ({"pocketsam": "{}"}, r"encoder.onnx: has an invalid description \(.*needed\)"),
        ({"pocketsam": "no JSON"}, r"encoder.onnx: has an invalid description"),
    ],
)
def test_files_without_a_description_are_named(engine, folder, metadata, message):
    describe(folder / "encoder.onnx", metadata)
    assert re.search(message, refusal(engine, folder))


def test_an_encoder_and_a_decoder_of_different_weights_are_refused(engine, folder):
    other = replace(engine(folder).description, weights="0" * 64)
    describe(folder / "decoder.onnx", {"pocketsam": other.to_json()})
    assert refusal(engine, folder) == (
        f"{folder}: the encoder and the decoder are of different models; take both from one"
    )


def describe(path, metadata: dict[str, str]) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)

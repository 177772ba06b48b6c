"""ONNX files that cannot be used, in every engine that runs them. Each gets one line that names the file."""

import re
import shutil
from dataclasses import replace

import onnx
import pytest

from pocketsam.engines.onnx import OnnxEngine
from pocketsam.engines.openvino import OpenVinoEngine
from pocketsam.errors import ModelError
from pocketsam.graphs import ONNX_FILES, VERSION


@pytest.fixture(params=[OnnxEngine, OpenVinoEngine])
def engine(request):
    return request.param


@pytest.fixture
def spoilt(folder, tmp_path):
    """A copy of the model, to be spoilt."""
    return shutil.copytree(folder, tmp_path / "model")


def refusal(engine, folder) -> str:
    with pytest.raises(ModelError) as error:
        engine(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("file", ONNX_FILES)
def test_missing_files_are_named(engine, spoilt, file):
    (spoilt / file).unlink()
    assert refusal(engine, spoilt) == (
        f"{spoilt / file}: is missing; a model folder holds encoder.onnx, decoder_prepare.onnx, "
        "decoder_predict_iou.onnx, decoder_masks.onnx"
    )


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("file", ["decoder_predict_iou.onnx", "decoder_masks.onnx"])
def test_truncated_files_are_named(engine, spoilt, file, kept):
    content = (spoilt / file).read_bytes()
    (spoilt / file).write_bytes(content[: int(kept * len(content))])
    assert refusal(engine, spoilt).startswith(f"{spoilt / file}: is damaged or not an ONNX model")


@pytest.mark.parametrize(
    ("foreign", "place"), [("decoder_masks", "encoder"), ("decoder_predict_iou", "decoder_prepare")]
)
def test_foreign_files_are_named(engine, spoilt, foreign, place):
    shutil.copy(spoilt / f"{foreign}.onnx", spoilt / f"{place}.onnx")
    assert refusal(engine, spoilt) == (
        f"{spoilt / place}.onnx: is not the {place} of a PocketSAM model; export it with PocketSAM"
    )


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, r"encoder.onnx: is not the encoder of a PocketSAM model"),
        (
            {"pocketsam": "{}"},
            r"encoder.onnx: was exported for version none of the graphs, and this .* again",
        ),
        (
            {"pocketsam": "{}", "pocketsam_graphs": "0"},
            r"encoder.onnx: was exported for version 0 of the graphs",
        ),
        ({"pocketsam": "{}", "pocketsam_graphs": "1"}, r"encoder.onnx: has an invalid config \(.*needed\)"),
        ({"pocketsam": "no JSON", "pocketsam_graphs": "1"}, r"encoder.onnx: has an invalid config"),
    ],
)
def test_files_without_a_description_are_named(engine, spoilt, metadata, message):
    describe(spoilt / "encoder.onnx", metadata)
    assert re.search(message, refusal(engine, spoilt))


@pytest.mark.parametrize("change", [{"weights": "0" * 64}, {"numerics": "float16"}])
@pytest.mark.parametrize("file", ONNX_FILES)
def test_files_of_different_weights_or_numerics_are_refused(engine, engines, spoilt, file, change):
    other = replace(engines["onnx"].config, **change)
    describe(spoilt / file, {"pocketsam": other.to_json(), "pocketsam_graphs": str(VERSION)})
    assert refusal(engine, spoilt) == (
        f"{spoilt}: its ONNX files are of different models; take all of them from one"
    )


def describe(path, metadata: dict[str, str]) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)

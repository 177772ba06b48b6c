"""The exported graphs answer as PyTorch does, for any number of objects and points."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pocketsam.config import ModelConfig
from pocketsam.engines import decode
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import ModelError
from pocketsam.export.onnx import export_onnx
from pocketsam.graphs import CONFIG_FILE, GRAPHS, ONNX_FILES, VERSION, GraphSpec, sizes
from pocketsam.models.architectures import build
from pocketsam.models.sam import Sam

SIZE = 128
DESCRIPTION = ModelConfig("pocket", SIZE, "squash")


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    sam = build("pocket", SIZE)
    for module in sam.modules():
        if isinstance(
            module, torch.nn.BatchNorm2d
        ):  # as after training: the exporter folds them into weights
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return sam


@pytest.fixture(scope="module", autouse=True)
def weights(sam: Sam) -> dict[str, torch.Tensor]:
    """The model's, before it is exported."""
    return {name: tensor.clone() for name, tensor in sam.state_dict().items()}


@pytest.fixture(scope="module")
def exported(sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    export_onnx(sam, DESCRIPTION, folder)
    return folder


@pytest.fixture(scope="module")
def halved(sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half")
    export_onnx(sam, DESCRIPTION, folder, "float16")
    return folder


@pytest.mark.usefixtures("exported", "halved")
def test_exporting_leaves_the_model_as_it_was(sam: Sam, weights: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(tensor, weights[name]) for name, tensor in sam.state_dict().items())


@pytest.mark.parametrize(("objects", "points"), [(1, 1), (1, 5), (3, 2)])
def test_float32_agrees_to_a_thousandth(sam: Sam, exported: Path, objects: int, points: int) -> None:
    rng = np.random.default_rng(objects * 10 + points)
    ours, reference = OnnxEngine(exported), TorchEngine(sam, DESCRIPTION)
    image = rng.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    embedding = reference.encode(image)
    assert np.abs(ours.encode(image) - embedding).max() <= 1e-3 * embedding.std()
    prompts = (
        (rng.random((objects, points, 2)) * SIZE).astype(np.float32),
        rng.integers(-1, 4, (objects, points)).astype(np.int32),
        rng.standard_normal((objects, 1, SIZE // 4, SIZE // 4)).astype(np.float32),
        rng.integers(0, 2, objects).astype(np.float32),
    )
    logits, iou = decode(ours, embedding, *prompts)
    expected, expected_iou = decode(reference, embedding, *prompts)
    assert logits.shape == (objects, 4, SIZE // 4, SIZE // 4)
    assert np.abs(logits - expected).max() <= 1e-3 * expected.std()
    np.testing.assert_allclose(iou, expected_iou, atol=1e-4)


def count_weights(path: Path) -> int:
    """How many float32 numbers a graph holds."""
    tensors = onnx.load(path).graph.initializer
    return sum(math.prod(t.dims) for t in tensors if t.data_type == onnx.TensorProto.FLOAT)


def test_half_precision_halves_the_files_and_keeps_the_masks(exported: Path, halved: Path) -> None:
    for path in (halved / file for file in ONNX_FILES):
        full_size, weights = (exported / path.name).stat().st_size, count_weights(exported / path.name)
        assert (
            0.98 * 2 * weights <= full_size - path.stat().st_size <= 2 * weights
        )  # two bytes of four for each
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    full, half = OnnxEngine(exported), OnnxEngine(halved)
    assert half.config == replace(full.config, numerics="float16")
    assert half.config.identity != full.config.identity
    difference = np.abs(full.encode(image) - half.encode(image))
    assert 0 < difference.max() < 0.05
    embedding = full.encode(image)
    clicks = (rng.random((8, 1, 2)) * SIZE).astype(np.float32), np.ones((8, 1), np.int32)
    no_mask = np.zeros((8, 1, SIZE // 4, SIZE // 4), np.float32), np.zeros(8, np.float32)
    ours, theirs = (decode(e, embedding, *clicks, *no_mask)[0] > 0 for e in (half, full))
    assert np.count_nonzero(ours & theirs) >= 0.99 * np.count_nonzero(ours | theirs)


def test_graphs_of_different_weights_are_refused(exported: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    export_onnx(build("patches", SIZE), DESCRIPTION, tmp_path)
    shutil.copy(exported / "encoder.onnx", tmp_path)
    with pytest.raises(ModelError, match="different models"):
        OnnxEngine(tmp_path)


def test_what_one_file_cannot_hold_goes_beside_it(
    sam: Sam, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAM ViT-H has 2.5 GB of weights, and a protobuf file ends at 2."""
    monkeypatch.setattr("pocketsam.export.onnx.LARGEST_FILE", 1_000_000)
    export_onnx(sam, DESCRIPTION, tmp_path)
    mark = OnnxEngine(tmp_path).config.weights[:12]
    large = {
        f"{part}-{mark}-float32.onnx.data" for part in ("encoder", "decoder_prepare", "decoder_predict_iou")
    }
    assert {path.name for path in tmp_path.iterdir()} == {*ONNX_FILES, CONFIG_FILE, *large}
    assert (tmp_path / "encoder.onnx").stat().st_size < 0.3 * (exported / "encoder.onnx").stat().st_size
    image = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    ours, theirs = OnnxEngine(tmp_path), OnnxEngine(exported)
    embedding = theirs.encode(image)
    np.testing.assert_array_equal(ours.encode(image), embedding)
    clicks = np.full((2, 1, 2), SIZE / 2, np.float32), np.ones((2, 1), np.int32)
    no_mask = np.zeros((2, 1, SIZE // 4, SIZE // 4), np.float32), np.zeros(2, np.float32)
    np.testing.assert_array_equal(
        *(decode(engine, embedding, *clicks, *no_mask)[0] for engine in (ours, theirs))
    )

    monkeypatch.undo()
    export_onnx(sam, DESCRIPTION, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*ONNX_FILES, CONFIG_FILE}, "nothing is left over"


def test_the_config_lies_beside_the_graphs_for_other_runtimes(exported: Path) -> None:
    sidecar = json.loads((exported / CONFIG_FILE).read_text())
    assert sidecar["graphs"] == {"version": VERSION, "files": list(ONNX_FILES)}
    assert ModelConfig.from_json(json.dumps(sidecar["config"])) == OnnxEngine(exported).config


def test_no_padding_is_left_for_a_runtime_to_do(exported: Path) -> None:
    """It is part of the convolutions, and batch normalisation part of their weights."""
    operators = {node.op_type for node in onnx.load(exported / "encoder.onnx").graph.node}
    assert "Conv" in operators
    assert not operators & {"Pad", "BatchNormalization"}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("form", ["exported", "halved"])
def test_the_files_keep_the_contract(request: pytest.FixtureRequest, graph: GraphSpec, form: str) -> None:
    folder = request.getfixturevalue(form)
    expected = sizes(OnnxEngine(folder).config)
    written = onnx.load(folder / graph.file).graph
    for values, tensors in ((written.input, graph.inputs), (written.output, graph.outputs)):
        for value, tensor in zip(values, tensors, strict=True):
            kind = value.type.tensor_type
            shape = tuple(axis.dim_param or axis.dim_value for axis in kind.shape.dim)
            assert (value.name, shape) == (tensor.name, tensor.shape(expected))
            assert onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type) == np.dtype(tensor.dtype)

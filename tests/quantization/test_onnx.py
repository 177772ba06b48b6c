"""INT8 files of a whole model: what computes with integers, and that every processor computes the same."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pocketsam.config import ModelConfig
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.export.storage import narrow
from pocketsam.models.architectures import ARCHITECTURES, build
from pocketsam.quantization.calibrate import calibrate
from pocketsam.quantization.model import fold_batch_norm
from pocketsam.quantization.onnx import export_int8, in_integers
from pocketsam.quantization.settings import QuantizationSettings

SETTINGS = QuantizationSettings(weight_bits=7, method="minmax", two_groups=False)
PIXELS = np.random.default_rng(0).uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    sam = fold_batch_norm(build("efficientnet_lite0", 64))
    config: ModelConfig = replace(
        ARCHITECTURES["efficientnet_lite0"].config, name="mine", image_size=64, numerics="w7a8-0"
    )
    images = [torch.from_numpy(PIXELS)]
    scales = calibrate(sam, images, SETTINGS, chosen=in_integers(sam))
    path = tmp_path_factory.mktemp("int8")
    export_int8(sam, config, scales, images, SETTINGS, path)
    return path


def kinds_by_module(path: Path, optimised: Path) -> dict[str, str]:
    """What ONNX Runtime computes each convolution of the encoder by."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(path / "encoder.onnx", options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(optimised).graph.node
    return {node.name: node.op_type for node in nodes if "Conv" in node.op_type}


def test_the_encoder_computes_with_integers_but_for_its_first_layers(folder: Path, tmp_path: Path) -> None:
    kinds = kinds_by_module(folder, tmp_path / "optimised.onnx")
    first = {name for name in kinds if "/stem/" in name or "/blocks.0/" in name}
    assert len(first) == 3
    assert all("QLinear" not in kinds[name] for name in first)
    assert len(kinds) > 50
    assert {kinds[name] for name in set(kinds) - first} == {"QLinearConv"}


def test_the_decoder_stores_bytes_and_computes_in_float(folder: Path) -> None:
    for name in ("decoder_prepare", "decoder_predict_iou"):
        model = onnx.load(folder / f"{name}.onnx")
        assert not [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
        sizes = {kind: 0 for kind in (TensorProto.INT8, TensorProto.FLOAT)}
        for tensor in model.graph.initializer:
            if tensor.data_type in sizes:
                sizes[tensor.data_type] += int(np.prod(tensor.dims))
        assert sizes[TensorProto.INT8] > 10 * sizes[TensorProto.FLOAT]


def test_engines_say_that_they_compute_as_quantised(folder: Path) -> None:
    assert OnnxEngine(folder, threads=1).info.numerics == "w7a8-0"


def test_narrowed_weights_are_off_by_half_a_step_at_most() -> None:
    weights = np.random.default_rng(1).normal(size=(3, 20, 30)).astype(np.float32)
    weights[0, 0] = 0
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["out"])],
        "graph",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, weights.shape)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    narrow(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    error = np.abs(session.run(None, {})[0] - weights)
    steps = np.abs(weights).max(-1, keepdims=True) / 127
    assert (error <= steps / 2 + 1e-6).all()
    assert error.max() > 0
    assert len(model.SerializeToString()) < weights.nbytes / 2


ENCODE = """
import sys
import numpy as np
import openvino
encoder = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
np.save(sys.argv[3], encoder(np.load(sys.argv[2]))[0])
"""


def test_a_processor_without_vnni_computes_the_same(folder: Path, tmp_path: Path) -> None:
    """OpenVINO's kernels for AVX2 alone, where products of 8 bits would overflow 16 if weights had all 8."""
    np.save(tmp_path / "pixels.npy", PIXELS)
    embeddings = []
    for limit in ("DEFAULT", "AVX2"):
        files = folder / "encoder.onnx", tmp_path / "pixels.npy", tmp_path / f"{limit}.npy"
        command = [sys.executable, "-c", ENCODE, *files]
        environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit}
        subprocess.run([str(part) for part in command], env=environment, check=True)
        embeddings.append(np.load(tmp_path / f"{limit}.npy"))
    assert embeddings[0].std() > 0
    assert np.abs(embeddings[0] - embeddings[1]).max() < 0.01 * embeddings[0].std()

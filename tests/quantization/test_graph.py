"""Graphs in integers: which products are, and what they compute."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from pocketsam.errors import ModelError
from pocketsam.models.encoders.efficientnet_lite import InvertedResidual
from pocketsam.quantization.graph import quantize_graph
from pocketsam.quantization.settings import QuantizationSettings

SETTINGS = QuantizationSettings(weight_bits=7, method="mse", candidates=30)


class Small(nn.Module):
    """What an encoder is made of: convolutions with ReLU6, a residual, a depthwise one, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(InvertedResidual(3, 8, 6, 3, 2), InvertedResidual(8, 8, 6, 5, 1))
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.blocks(x).flatten(2).transpose(1, 2))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    model = Small().eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias)
    nn.init.constant_(model.blocks[0].project.norm.weight[:1], 1e-9)  # type: ignore[union-attr,index]
    with torch.no_grad():
        torch.onnx.export(
            model, (torch.zeros(1, 3, 16, 16),), path, dynamo=False, opset_version=17, input_names=["image"]
        )
    return onnx.load(path)


@pytest.fixture(scope="module")
def feeds() -> list[dict[str, np.ndarray]]:  # type: ignore[type-arg]
    generator = np.random.default_rng(0)
    return [{"image": generator.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(3)]


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:  # type: ignore[type-arg]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]  # type: ignore[no-any-return]


def test_every_product_runs_in_integers(exported, feeds, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = quantize_graph(exported, feeds, SETTINGS)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["QLinearConv"] == 6
    assert kinds["MatMulIntegerToFloat"] == 1
    assert kinds["QLinearAdd"] == 1
    assert not {"Conv", "MatMul", "Gemm", "Clip"} & set(kinds)


def test_the_result_is_near_to_float(exported, feeds) -> None:  # type: ignore[no-untyped-def]
    """Even of a channel whose weights are next to nothing, while its bias is not: it must fit into 32 bits."""
    model = quantize_graph(exported, feeds, SETTINGS)
    exact = run(exported, feeds[0])
    assert np.linalg.norm(run(model, feeds[0]) - exact) < 0.05 * np.linalg.norm(exact)


def test_weights_are_int8_by_channel_in_seven_bits(exported, feeds) -> None:  # type: ignore[no-untyped-def]
    """So that two products of UINT8 and INT8 never overflow 16 bits, which processors without VNNI add them in."""
    model = quantize_graph(exported, feeds, SETTINGS)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = [values for values in tensors.values() if values.dtype == np.int8 and values.ndim > 1]
    assert len(weights) == 7
    for values in weights:
        assert values.min() >= -64 and values.max() <= 63
        assert 2 * 255 * np.abs(values.astype(int)).max() < 2**15
    scales = [node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert max(tensors[name].size for name in scales) == 48
    assert not [v for v in tensors.values() if v.dtype == np.float32 and v.ndim == 4]


def test_zero_points_stand_for_zero(exported, feeds) -> None:  # type: ignore[no-untyped-def]
    model = quantize_graph(exported, feeds, SETTINGS)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantized = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    zeros = Counter(int(tensors[node.input[2]]) for node in quantized)
    assert zeros[0] >= 3  # behind ReLU6
    assert set(zeros) == {0, 128}


def test_weights_in_fewer_bits_have_fewer_values(exported, feeds) -> None:  # type: ignore[no-untyped-def]
    model = quantize_graph(exported, feeds, QuantizationSettings(weight_bits=4, method="minmax"))
    weights = [
        numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8
    ]
    assert max(np.abs(values.astype(int)).max() for values in weights) <= 8


def test_an_old_opset_is_refused(exported, feeds) -> None:  # type: ignore[no-untyped-def]
    old = onnx.ModelProto.FromString(exported.SerializeToString())
    old.opset_import[0].version = 11
    with pytest.raises(ModelError, match=r"opset 11.*13 or newer"):
        quantize_graph(old, feeds, SETTINGS)

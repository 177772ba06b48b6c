"""An ONNX graph whose products of weights compute with 8-bit integers: QDQ, which ONNX Runtime and OpenVINO run.

A product runs in integers where its operands come out of `DequantizeLinear` and, for convolutions, its result goes
into `QuantizeLinear`. ONNX Runtime's own library writes the pairs; which tensors get them, and their scales, is said
here: those that are given, and for all other tensors those with the least squared error.

Weights are INT8 by output channel. Activations are UINT8 with the zero point 0 where they are never negative, and 128
where they are: the very numbers of a signed quantiser, for ONNX Runtime's convolutions want one type in and out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, TensorData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from torch import Tensor

from pocketsam.errors import ModelError
from pocketsam.quantization.quantizers import Quantizer
from pocketsam.quantization.search import scale_of_numbers
from pocketsam.quantization.settings import QuantizationSettings

OLDEST_OPSET = 13
"""The first in which `DequantizeLinear` knows scales by channel."""
_KEPT = 4096
"""Numbers of each tensor and call that the scales with the least squared error are found by."""

Feeds = dict[str, NDArray[Any]]
Overrides = dict[str, list[dict[str, Any]]]
"""Of each tensor, its scales as ONNX Runtime's library takes them."""


@dataclass(frozen=True)
class _Numbers:
    """What is known of a tensor: its range, and some of its numbers."""

    lowest: float
    highest: float
    some: Tensor


@dataclass(frozen=True)
class Found:
    """Scales of a graph that are known: of activations by their names, of weights by theirs."""

    activations: Mapping[str, Quantizer]
    weights: Mapping[str, Quantizer]
    products: frozenset[str]
    """The names of nodes that multiply two activations."""
    floats: frozenset[str] = frozenset()
    """The names of nodes that stay in float, although they multiply by weights."""


def quantize_graph(
    model: onnx.ModelProto, feeds: Sequence[Feeds], settings: QuantizationSettings, found: Found | None = None
) -> onnx.ModelProto:
    """A graph whose products of weights compute with integers. feeds: inputs, by which other scales are found.

    Raises ModelError when the graph's opset has no scales by channel.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain == ""), 0)
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"the graph is of opset {opset}; INT8 files need {OLDEST_OPSET} or newer: export it again"
        )
    found = found or Found({}, {}, frozenset())
    model = onnx.shape_inference.infer_shapes(model)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    nodes = _nodes(model, found)
    _keep_biases_apart(model, nodes)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    names = sorted({name for node in nodes for name in _activations(node, weights)})
    numbers = _record(model, names, feeds)
    overrides = {
        name: [_of_activation(found.activations.get(name) or _least_squares(numbers[name], settings))]
        for name in names
    }
    for node in nodes:
        if len(node.input) > 1 and node.input[1] in weights and node.op_type in ("Conv", "MatMul", "Gemm"):
            _round_weight(model, node, found, settings, overrides)
    _within_clips(model, nodes, weights, overrides)
    return _with_quantizers(model, nodes, names, overrides)


def _with_quantizers(
    model: onnx.ModelProto, nodes: Sequence[NodeProto], activations: Sequence[str], overrides: Overrides
) -> onnx.ModelProto:
    """The graph with QuantizeLinear and DequantizeLinear around the nodes. overrides: the scales of every tensor."""
    ranges = {name: TensorData(lowest=np.float32(-1), highest=np.float32(1)) for name in activations}
    writer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,  # the scales say it all
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[node.name for node in nodes],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({node.op_type for node in nodes}),
        extra_options={
            "TensorQuantOverrides": overrides,
            "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
        },
    )
    writer.quantize_model()
    writer.model.clean_initializers()
    writer.model.topological_sort()
    quantized: onnx.ModelProto = writer.model.model
    return quantized


def _keep_biases_apart(model: onnx.ModelProto, nodes: Sequence[NodeProto]) -> None:
    """Give biases behind quantised products an axis of size 1 in front.

    ONNX Runtime would make a `Gemm` of a `MatMul` and a bias of one axis, which it then computes in float.
    """
    products = {node.output[0] for node in nodes if node.op_type == "MatMul"}
    known = (*model.graph.value_info, *model.graph.output)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in known}
    biases = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 1}
    for node in model.graph.node:
        if node.op_type != "Add" or not products.intersection(node.input) or ranks.get(node.output[0], 0) < 3:
            continue
        for i, name in enumerate(node.input):
            if name in biases:
                values = numpy_helper.to_array(biases[name])
                node.input[i] = f"{name}/{node.name}"
                model.graph.initializer.append(numpy_helper.from_array(values[None, None], node.input[i]))


def _nodes(model: onnx.ModelProto, found: Found) -> list[NodeProto]:
    """The nodes to quantise: products of weights, the activations right behind convolutions, and sums of those."""
    weights = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    from_integers: set[str] = set()
    chosen = []
    for node in model.graph.node:
        ranks = [weights.get(name, 0) for name in node.input]
        weighted = {"Conv": 4, "MatMul": 2, "Gemm": 2}.get(node.op_type)
        product = weighted is not None and ranks[:2] == [0, weighted]
        behind = node.op_type in ("Clip", "Relu") and node.input[0] in from_integers
        total = node.op_type == "Add" and all(name in from_integers for name in node.input)
        if node.name in found.floats or not (product or behind or total or node.name in found.products):
            continue
        chosen.append(node)
        if node.op_type not in ("MatMul", "Gemm"):
            from_integers.update(node.output)
    return chosen


def _activations(node: NodeProto, weights: Mapping[str, Any]) -> list[str]:
    """The tensors that are quantised for a node, but for its weights."""
    inputs = [node.input[0]] if node.op_type in ("Conv", "Clip", "Relu", "Gemm") else list(node.input)
    outputs = [] if node.op_type in ("MatMul", "Gemm") else list(node.output)
    return [name for name in inputs + outputs if name not in weights]


def _of_activation(quantizer: Quantizer) -> dict[str, Any]:
    """UINT8 for all, as an integer convolution wants one type for what goes in and out; 128 stands for 0."""
    zero = np.array(0 if quantizer.unsigned else 128, np.uint8)
    return {"scale": _number(float(quantizer.scale)), "zero_point": zero, "quant_type": QuantType.QUInt8}


def _of_channel(scale: float, axis: int) -> dict[str, Any]:
    zero = np.array(0, np.int8)
    return {"scale": _number(scale), "zero_point": zero, "quant_type": QuantType.QInt8, "axis": axis}


def _number(scale: float) -> NDArray[np.float32]:
    return np.array(scale, np.float32)


def _round_weight(
    model: onnx.ModelProto,
    node: NodeProto,
    found: Found,
    settings: QuantizationSettings,
    overrides: Overrides,
) -> None:
    """Round a weight to its levels, which may be fewer than INT8 has, and note its scales."""
    name = node.input[1]
    if name in overrides:  # of several nodes
        return
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
    axis = 0 if node.op_type == "Conv" or is_transposed(node) else 1
    channels = values.movedim(axis, 0).flatten(1)
    quantizer = found.weights.get(name)
    if quantizer is None:
        start = Quantizer(settings.weight_bits, torch.ones(len(channels)))
        quantizer = scale_of_numbers(start, [channels], channels.abs().amax(1), by_numbers(settings))
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    rounded = replace(quantizer, scale=quantizer.scale.view(shape))(values)
    tensor.CopyFrom(numpy_helper.from_array(rounded.numpy(), name))
    overrides[name] = [_of_channel(float(scale), axis) for scale in quantizer.scale]


def _within_clips(
    model: onnx.ModelProto,
    nodes: Sequence[NodeProto],
    weights: Mapping[str, NDArray[Any]],
    overrides: Overrides,
) -> None:
    """Where a ReLU6 ends in 8 bits, these must not reach beyond 6: then rounding does what the ReLU6 did."""
    for node in nodes:
        if node.op_type != "Clip" or len(node.input) < 3 or node.input[2] not in weights:
            continue
        (override,) = overrides[node.output[0]]
        most = float(weights[node.input[2]]) / (255 - int(override["zero_point"]))
        override["scale"] = _number(min(float(override["scale"]), most))


def _least_squares(numbers: _Numbers, settings: QuantizationSettings) -> Quantizer:
    largest = max(abs(numbers.lowest), abs(numbers.highest))
    start = Quantizer(8, torch.ones(()), unsigned=numbers.lowest >= 0)
    return scale_of_numbers(start, [numbers.some], largest, by_numbers(settings))


def by_numbers(settings: QuantizationSettings) -> QuantizationSettings:
    """The method for what no calibrated product reads: the least squared error, where a search was wanted."""
    return replace(settings, method="mse") if settings.searches else settings


def _record(model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feeds]) -> dict[str, _Numbers]:
    """What the tensors are when the float graph computes."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    inputs = {value.name for value in model.graph.input}
    had = {value.name for value in model.graph.output}
    inner = [name for name in names if name not in inputs]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner if name not in had)
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors; what it warns of is mended when the pairs are written
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    known = {value.name for value in session.get_inputs()}
    found: dict[str, _Numbers] = {}
    for feed in feeds:
        given = {name: value for name, value in feed.items() if name in known}
        values = dict(zip(inner, session.run(inner, given), strict=True)) if inner else {}
        for name in names:
            value = torch.from_numpy(
                np.ascontiguousarray(values[name] if name in values else feed[name])
            ).flatten()
            some = value[:: max(1, len(value) // _KEPT)].clone()
            lowest, highest = float(value.min()), float(value.max())
            if name in found:
                former = found[name]
                lowest, highest = min(lowest, former.lowest), max(highest, former.highest)
                some = torch.cat([former.some, some])
            found[name] = _Numbers(lowest, highest, some)
    return found


def is_transposed(node: NodeProto) -> bool:
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)

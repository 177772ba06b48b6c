"""Traced graphs, made faster without changing a result: padding joins convolutions, and resized weights are stored.

TensorFlow's "same" padding is uneven where a stride is 2, which PyTorch cannot say in a convolution, and ONNX can.
A runtime that leaves such padding alone copies whole feature maps.

A ViT's positions are resized to the image. OpenVINO would do that whenever it loads the model, for half a minute.
"""

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper
from onnxruntime import InferenceSession


def fold_padding(model: onnx.ModelProto) -> None:
    """Turn each `Pad` with zeros whose result only a `Conv` reads into that convolution's own padding."""
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    readers = Counter(value for node in graph.node for value in node.input)
    for convolution in graph.node:
        pad = makers.get(convolution.input[0]) if convolution.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad" or readers[pad.output[0]] != 1:
            continue
        before_after = _padding(model, makers, pad)
        if before_after is None:
            continue
        own = next((a for a in convolution.attribute if a.name == "pads"), None)
        added = np.array(own.ints) if own else np.zeros(len(before_after), np.int64)
        if own:
            convolution.attribute.remove(own)
        convolution.attribute.append(helper.make_attribute("pads", (added + before_after).tolist()))
        convolution.input[0] = pad.input[0]
    _remove_unread(graph)


def fold_resizing(model: onnx.ModelProto) -> None:
    """Store the result of each `Resize` that no input of the graph changes."""
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    for resize in [node for node in graph.node if node.op_type == "Resize"]:
        resized = _constant(model, makers, resize.output[0])
        if resized is None:
            continue
        graph.initializer.append(numpy_helper.from_array(resized, resize.output[0]))
        graph.node.remove(resize)
    _remove_unread(graph)


def _padding(
    model: onnx.ModelProto, makers: dict[str, NodeProto], pad: NodeProto
) -> NDArray[np.int64] | None:
    """How many zeros a `Pad` adds before and after each spatial axis, as `Conv` says it; None if it does more."""
    mode = next((a.s for a in pad.attribute if a.name == "mode"), b"constant")
    inputs = [*pad.input, "", ""]
    amounts = _constant(model, makers, inputs[1])
    fill = _constant(model, makers, inputs[2]) if inputs[2] else np.zeros(())
    if mode != b"constant" or inputs[3] or amounts is None or fill is None or fill.any():
        return None
    before, after = np.split(amounts.astype(np.int64), 2)
    if before[:2].any() or after[:2].any() or min(before.min(), after.min()) < 0:
        return None
    return np.concatenate([before[2:], after[2:]])


def _constant(model: onnx.ModelProto, makers: dict[str, NodeProto], name: str) -> NDArray[np.generic] | None:
    """The value of `name`, if no input of the graph changes it."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    if name in initializers:
        return numpy_helper.to_array(initializers[name])
    needed, waiting = set[str](), [name]
    while waiting:
        value = waiting.pop()
        if not value or value in needed or value in initializers:
            continue
        if value not in makers:
            return None
        needed.add(value)
        waiting += makers[value].input
    nodes = [node for node in model.graph.node if needed.intersection(node.output)]
    read = {value for node in nodes for value in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in read]
    output = helper.make_empty_tensor_value_info(name)
    graph = helper.make_graph(nodes, "constant", [], [output], constants)
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    session = InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {})[0])


def _remove_unread(graph: onnx.GraphProto) -> None:
    """Remove the nodes and initializers that no output depends on."""
    needed = {output.name for output in graph.output}
    nodes, initializers = [], list(graph.initializer)
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(tensor for tensor in initializers if tensor.name in needed)

"""How ONNX files store large weights. All arithmetic stays float32: they are widened once, when a file is opened.

float32   as they are
float16   half the size
compact   the encoder's as float16, the decoder's as INT8 with a scale for each row: 0.4 of the size
"""

from collections.abc import Collection
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pocketsam.graphs import ENCODER

Storage = Literal["float32", "float16", "compact"]

SMALLEST_ROUNDED = 1024
"""Tensors with fewer elements stay float32: normalisations and biases weigh nothing, and rounding them costs most."""


def stored(model: onnx.ModelProto, graph: str, storage: Storage) -> onnx.ModelProto:
    """A graph of a model, by its name in `GRAPHS`, with its weights stored so."""
    if storage == "float16" or (storage == "compact" and graph == ENCODER):
        halve(model)
    elif storage == "compact":
        model = with_initializers(model)
        narrow(model)
    return model


def halve(model: onnx.ModelProto) -> None:
    """Store large float32 weights as float16, each behind a Cast that the runtime folds away at load."""
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_ROUNDED:
            continue
        name = tensor.name
        narrow = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}.half"))
        model.graph.node.insert(0, helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))


def narrow(model: onnx.ModelProto, keep: Collection[str] = ()) -> None:
    """Store large float32 weights as INT8, each behind a Cast and a product that the runtime folds away at load.

    They have a scale for each row along their last axis. keep: the names of those that stay as they are.
    """
    large = [
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) > 1
        and np.prod(tensor.dims) >= SMALLEST_ROUNDED
        and tensor.name not in keep
    ]
    for tensor in large:
        name, values = tensor.name, numpy_helper.to_array(tensor)
        scale = np.abs(values).max(-1, keepdims=True) / np.float32(127)
        integers = np.rint(values / np.where(scale > 0, scale, 1)).astype(np.int8)
        tensor.CopyFrom(numpy_helper.from_array(integers, f"{name}.int8"))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        widened = helper.make_node("Cast", [f"{name}.int8"], [f"{name}.wide"], to=TensorProto.FLOAT)
        scaled = helper.make_node("Mul", [f"{name}.wide", f"{name}.scale"], [name])
        model.graph.node.insert(0, scaled)
        model.graph.node.insert(0, widened)


def with_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, where every constant is an initializer of its own, as ONNX Runtime's library wants it."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        constant = None
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constant = node.attribute[0].t
        elif node.op_type == "Identity":
            constant = known.get(node.input[0])
        if constant is None:
            nodes.append(node)
            continue
        copied = TensorProto.FromString(constant.SerializeToString())
        copied.name = node.output[0]
        known[copied.name] = copied
        model.graph.initializer.append(copied)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model

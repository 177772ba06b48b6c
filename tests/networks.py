"""Small networks in ONNX that give the same for every photo."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_network(
    path: Path, *outputs: np.ndarray, metadata: dict[str, str] | None = None, side: object = 64
) -> Path:
    """A network that gives the same for every photo."""
    names = [f"output{i}" for i in range(len(outputs))]
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in zip(names, outputs, strict=True)
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
        for name, value in zip(names, outputs, strict=True)
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])
    graph = helper.make_graph(nodes, "network", [images], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path

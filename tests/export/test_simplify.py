"""Padding becomes part of a convolution, and resized weights are stored, where that is exact."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pocketsam.export.simplify import fold_padding, fold_resizing


def model(pads, fill=0.0, own=(1, 1, 1, 1), read_twice=False):
    """An image, padded and then convolved; the amounts of padding come through a Cast, as the tracer leaves them."""
    weights = np.random.default_rng(0).normal(size=(4, 2, 3, 3)).astype(np.float32)
    constants = {"weights": weights, "amounts": np.array(pads, np.int32), "fill": np.float32(fill)}
    nodes = [
        helper.make_node("Cast", ["amounts"], ["pads"], to=TensorProto.INT64),
        helper.make_node("Pad", ["image", "pads", "fill"], ["padded"], mode="constant"),
        helper.make_node("Conv", ["padded", "weights"], ["convolved"], pads=own, strides=[2, 2]),
    ]
    outputs = ["convolved"]
    if read_twice:
        nodes.append(helper.make_node("Relu", ["padded"], ["rectified"]))
        outputs.append("rectified")
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model):
    image = np.random.default_rng(1).normal(size=(1, 2, 8, 8)).astype(np.float32)
    return ReferenceEvaluator(model).run(None, {"image": image})


def operators(model) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_uneven_padding_becomes_the_convolutions_own():
    folded = model([0, 0, 0, 1, 0, 0, 1, 2])
    before = run(folded)
    fold_padding(folded)
    assert operators(folded) == ["Conv"]
    assert [tensor.name for tensor in folded.graph.initializer] == ["weights"]
    np.testing.assert_allclose(run(folded)[0], before[0], atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        {"pads": [0, 0, 0, 0, 0, 0, 1, 1], "fill": 1.0},
        {"pads": [0, 0, 0, 0, 0, 0, -1, 1]},
        {"pads": [0, 0, 0, 0, 0, 0, 1, 1], "read_twice": True},
    ],
)
def test_padding_that_a_convolution_cannot_do_stays(other):
    kept = model(**other)
    before = kept.SerializeToString()
    fold_padding(kept)
    assert "Pad" in operators(kept)
    assert kept.SerializeToString() == before


def resized(value):
    """An image plus resized weights, or its own resized self."""
    learned = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)
    constants = {"learned": learned, "sizes": np.array([1, 2, 8, 8])}
    nodes = [
        helper.make_node("Resize", [value, "", "", "sizes"], ["resized"], mode="cubic", cubic_coeff_a=-0.75),
        helper.make_node("Add", ["image", "resized"], ["sum"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2, 8, 8])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_resized_weights_are_stored_as_they_are_added():
    folded = resized("learned")
    before = run(folded)
    fold_resizing(folded)
    assert operators(folded) == ["Add"]
    assert [tensor.name for tensor in folded.graph.initializer] == ["resized"]
    np.testing.assert_allclose(run(folded)[0], before[0], atol=1e-5)


def test_a_resized_image_is_resized_by_the_graph():
    kept = resized("image")
    fold_resizing(kept)
    assert operators(kept) == ["Resize", "Add"]

"""The ONNX contract is whole: what one graph gives, another takes, and the decoder in PyTorch has the same names."""

from pocketsam.graphs import DYNAMIC_AXES, GRAPHS, MASK_FEATURES, MASK_INPUTS, PROJECTIONS
from pocketsam.models import factored


def test_the_decoder_has_the_names_of_the_contract():
    for fields, tensors in (
        (factored.Projections, PROJECTIONS),
        (factored.MaskFeatures, MASK_FEATURES),
        (factored.MaskInputs, MASK_INPUTS),
    ):
        assert fields._fields == tuple(tensor.name for tensor in tensors)


def test_a_name_is_one_tensor_in_all_graphs():
    known = {}
    for graph in GRAPHS.values():
        for tensor in graph.inputs + graph.outputs:
            assert known.setdefault(tensor.name, tensor) == tensor


def test_every_dynamic_axis_is_explained_and_used():
    tensors = [tensor for graph in GRAPHS.values() for tensor in graph.inputs + graph.outputs]
    assert {axis for tensor in tensors for axis in tensor.dynamic_axes.values()} == set(DYNAMIC_AXES)

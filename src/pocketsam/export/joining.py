"""Several graphs that run one after the other, as one graph."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import GraphProto, NodeProto, TensorProto, compose, helper
from torch import nn

from pocketsam.config import METADATA_KEY, ModelConfig
from pocketsam.export.onnx import trace, value_info
from pocketsam.graphs import EMBEDDING_CHANNELS, ENCODER, GRAPHS, PROMPTS, GraphSpec, sizes

_NEW = ".new"
_EXAMPLES = {"objects": 2, "points": 3, "tokens": 2, "height": 37, "width": 53, "coefficients": 5}
"""Dynamic axes have examples of different sizes, none of them 1, which broadcasts."""


def read_graphs(model: Path) -> tuple[dict[str, onnx.ModelProto], ModelConfig]:
    """A model's graphs by their names, and its config. model: a folder of ONNX files. Raises OSError."""
    graphs = {name: onnx.load(model / graph.file) for name, graph in GRAPHS.items()}
    metadata = {entry.key: entry.value for entry in graphs[ENCODER].metadata_props}
    return graphs, ModelConfig.from_json(metadata[METADATA_KEY])


def no_embeddings(objects: int) -> TensorProto:
    """For decoders whose prompts are points alone."""
    return helper.make_tensor(PROMPTS[2].name, TensorProto.FLOAT, (objects, 0, EMBEDDING_CHANNELS), [])


def part(spec: GraphSpec, module: nn.Module, config: ModelConfig, **lengths: int) -> onnx.ModelProto:
    """A module as a graph to be joined. lengths: of dynamic axes in the example by which it is traced."""
    known = {**sizes(config), **_EXAMPLES, **lengths}
    examples = [torch.from_numpy(np.full(tensor.shape(known), 64, tensor.dtype)) for tensor in spec.inputs]
    # No value can go in and come out under one name.
    outputs = tuple(replace(tensor, name=f"{tensor.name}{_NEW}") for tensor in spec.outputs)
    return trace(module, tuple(examples), replace(spec, outputs=outputs), sizes(config))


def joined(
    spec: GraphSpec,
    parts: Sequence[onnx.ModelProto],
    config: ModelConfig,
    constants: Sequence[TensorProto] = (),
) -> onnx.ModelProto:
    """One graph of several: each reads its inputs by their names, the latest first.

    constants: values by name, which parts may read; one whose name is an input's is that input's default.
    """
    nodes: list[NodeProto] = []
    tensors = list(constants)
    latest = {name: name for name in (*spec.input_names, *(tensor.name for tensor in constants))}
    for number, one in enumerate(parts):
        graph: GraphProto = compose.add_prefix_graph(one.graph, f"{number}/")
        given = [value.name for value in one.graph.input]
        nodes += [helper.make_node("Identity", [latest[name]], [f"{number}/{name}"]) for name in given]
        nodes += graph.node
        tensors += graph.initializer
        latest |= {value.name.removesuffix(_NEW): f"{number}/{value.name}" for value in one.graph.output}
    nodes += [helper.make_node("Identity", [latest[name]], [name]) for name in spec.output_names]
    inputs, outputs = (
        [value_info(tensor, sizes(config)) for tensor in side] for side in (spec.inputs, spec.outputs)
    )
    opsets = {opset.domain: opset for one in parts for opset in one.opset_import}
    model = helper.make_model(
        helper.make_graph(nodes, spec.name, inputs, outputs, tensors),
        opset_imports=list(opsets.values()),
        ir_version=max(one.ir_version for one in parts),
    )
    helper.set_model_props(model, {METADATA_KEY: config.to_json()})
    return model

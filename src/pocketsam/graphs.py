"""The ONNX contract: the graphs of a model folder, one file each, and every tensor that goes in or out.

    encoder               an image to its embedding, once an image
    decoder_prepare       what no prompt changes about the embedding, once an image
    decoder_predict_iou   prompts to the predicted IoU of their masks
    decoder_masks         the masks of those prompts that are worth it

A folder may also hold `saliency`: the salient object of an embedded image, which no prompt is needed for.

The exporter writes files by this contract, the engines read them by it, and other runtimes may. What the decoder's
three graphs compute is explained in `models/factored.py`. Beside the files lies `model.json`, the model's config and
this contract's version, for runtimes that read no ONNX metadata.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pocketsam.config import ModelConfig

VERSION = 1
"""Of this contract. It grows with every change of a name, a type, an axis or a meaning."""
VERSION_KEY = "pocketsam_graphs"
"""Under this name each ONNX file carries the version; its config is under `config.METADATA_KEY`."""
CONFIG_FILE = "model.json"

DYNAMIC_AXES = {
    "objects": "N, the prompted objects",
    "points": "P, the points and box corners of each object; 0 is allowed",
    "embeddings": "K, the ready-made prompt embeddings of each object; 0 is allowed",
    "coefficients": "R = 2 layers x 8 heads x (5 output tokens + P + K)",
}
"""The axes that may have any size in every call. All other axes are fixed when a model is exported."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a graph.

    axes: the size of each axis: a number, the name of a dynamic axis, or the name of a size that depends on the model
    (see `sizes`).
    """

    name: str
    axes: tuple[int | str, ...]
    dtype: Literal["float32", "int32"] = "float32"

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """The names of those axes that may have any size, by their numbers."""
        return {i: axis for i, axis in enumerate(self.axes) if isinstance(axis, str) and axis in DYNAMIC_AXES}

    def shape(self, sizes: Mapping[str, int]) -> tuple[int | str, ...]:
        """The shape in a model with these sizes: dynamic axes by name, all others as numbers."""
        return tuple(sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in self.axes)


@dataclass(frozen=True)
class GraphSpec:
    """A graph: its file is NAME.onnx. inputs and outputs are in the file's order."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}.onnx"

    @property
    def input_names(self) -> list[str]:
        """In order."""
        return [tensor.name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """In order."""
        return [tensor.name for tensor in self.outputs]


def sizes(config: ModelConfig) -> dict[str, int]:
    """The sizes in `TensorSpec.axes` that depend on the model."""
    grid = config.embedding_size
    return {
        "image_size": config.image_size,
        "mask_size": config.mask_size,
        "grid": grid,
        "cells": grid**2,
        "embedding_channels": config.embedding_channels,
        "high_res_cells": grid**2 if config.embedding_channels > EMBEDDING_CHANNELS else 1,
    }


EMBEDDING_CHANNELS = 256
"""Of the embedding that prompts attend to, and of every prompt token; C below."""
HEADS, HEAD_CHANNELS = 8, 16
"""Of the cross-attention layers."""


def _projection(name: str) -> TensorSpec:
    return TensorSpec(name, (1, HEADS, HEAD_CHANNELS, "cells"))


IMAGE_EMBEDDINGS = TensorSpec("image_embeddings", (1, "embedding_channels", "grid", "grid"))

PROJECTIONS = (
    _projection("layer1_keys"),
    _projection("layer1_values"),
    _projection("layer1_queries"),
    _projection("layer1_output_products"),
    TensorSpec("layer1_squared_norms", (1, 1, "cells")),
    _projection("layer2_keys"),
    _projection("layer2_key_positions"),
    _projection("layer2_values"),
    _projection("layer2_queries"),
    _projection("layer2_query_positions"),
    _projection("layer2_output1_products"),
    _projection("layer2_output2_products"),
    TensorSpec("layer2_constant_products", (1, 1, "cells")),
    TensorSpec("layer2_squared_norms", (1, 1, "cells")),
    _projection("final_keys"),
    _projection("final_key_positions"),
    _projection("final_values"),
)
"""What `decoder_predict_iou` needs of an image: its cells, projected by the weights of each attention layer.

Keys and values are those of attention from tokens to the image, queries those of attention from the image to tokens.
"""

MASK_FEATURES = (
    TensorSpec("upscaled_embeddings", (1, "cells", EMBEDDING_CHANNELS)),
    TensorSpec("high_res_stride8", (1, "high_res_cells", EMBEDDING_CHANNELS)),
    TensorSpec("high_res_stride4", (1, "high_res_cells", 4, EMBEDDING_CHANNELS // 2)),
)
"""What `decoder_masks` needs of an image."""

MASK_INPUTS = (
    TensorSpec("hypernetwork_weights", ("objects", 4, EMBEDDING_CHANNELS // 8)),
    TensorSpec("cell_scale", ("objects", 1, "cells")),
    TensorSpec("cell_coefficients", ("objects", "coefficients", "cells")),
    TensorSpec("cell_basis", ("objects", "coefficients", EMBEDDING_CHANNELS)),
)
"""What `decoder_masks` needs of the prompts."""

PROMPTS = (
    TensorSpec("point_coords", ("objects", "points", 2)),
    TensorSpec("point_labels", ("objects", "points"), "int32"),
    TensorSpec("sparse_embeddings", ("objects", "embeddings", EMBEDDING_CHANNELS)),
)
"""Points in model pixels with their labels (1 foreground, 0 background, -1 padding, 2 and 3 the corners of a box),
and prompts that another encoder, of text for instance, has turned into embeddings."""

_GRAPHS = (
    GraphSpec("encoder", (TensorSpec("image", (1, 3, "image_size", "image_size")),), (IMAGE_EMBEDDINGS,)),
    GraphSpec(
        "decoder_prepare",
        (
            IMAGE_EMBEDDINGS,
            TensorSpec("mask_input", (1, 1, "mask_size", "mask_size")),
            TensorSpec("has_mask_input", (1,)),
        ),
        PROJECTIONS + MASK_FEATURES,
    ),
    GraphSpec(
        "decoder_predict_iou",
        PROMPTS + PROJECTIONS,
        (TensorSpec("iou_predictions", ("objects", 4)), *MASK_INPUTS),
    ),
    GraphSpec(
        "decoder_masks",
        MASK_FEATURES + MASK_INPUTS,
        (TensorSpec("low_res_masks", ("objects", 4, "mask_size", "mask_size")),),
    ),
)

GRAPHS = {graph.name: graph for graph in _GRAPHS}
"""All graphs that a model folder has to hold, by name."""

ENCODER = "encoder"
INT8_ENCODER = "encoder_int8.onnx"
"""The same encoder, computing with 8-bit integers. A folder may hold it beside the float one; engines choose."""

SALIENCY = GraphSpec(
    "saliency", (IMAGE_EMBEDDINGS,), (TensorSpec("saliency", (1, 1, "mask_size", "mask_size")),)
)
"""Logits of the salient object: above 0 inside. Models have it whose encoder a head was trained on."""

ALL_GRAPHS = {**GRAPHS, SALIENCY.name: SALIENCY}
"""And those that a folder need not hold."""

ONNX_FILES = tuple(graph.file for graph in _GRAPHS)

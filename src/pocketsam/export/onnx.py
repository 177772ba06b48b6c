"""A model as ONNX files: the encoder, and the decoder in three parts (`graphs.py` says which).

Any number of objects, points and prompt embeddings: those axes are dynamic.
"""

import copy
import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from pocketsam.config import METADATA_KEY, ModelConfig
from pocketsam.export.programs import Encoder
from pocketsam.export.simplify import fold_padding, fold_resizing
from pocketsam.export.storage import Storage, stored
from pocketsam.graphs import (
    CONFIG_FILE,
    EMBEDDING_CHANNELS,
    GRAPHS,
    ONNX_FILES,
    VERSION,
    VERSION_KEY,
    GraphSpec,
    TensorSpec,
    sizes,
)
from pocketsam.models.checkpoints import digest
from pocketsam.models.factored import FactoredDecoder, MaskFeatures, MaskInputs, Projections
from pocketsam.models.sam import Sam
from pocketsam.utils.files import write, write_stream

OPSET = 17
LARGEST_FILE = 1_900_000_000
"""Bytes of weights; a protobuf file ends at 2 GB."""


class _Prepare(nn.Module):
    def __init__(self, decoder: FactoredDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, embedding: Tensor, mask_input: Tensor, has_mask: Tensor) -> tuple[Tensor, ...]:
        prepared = self.decoder.prepare(embedding, mask_input, has_mask)
        return (*prepared.projections, *prepared.mask_features)


class _PredictIoU(nn.Module):
    def __init__(self, decoder: FactoredDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, points: Tensor, labels: Tensor, sparse_embeddings: Tensor, *projections: Tensor
    ) -> tuple[Tensor, ...]:
        image = Projections(*projections)
        prediction = self.decoder.predict_iou(image, points, labels, sparse_embeddings)
        return (prediction.iou_predictions, *prediction.mask_inputs)


class _DecodeMasks(nn.Module):
    def __init__(self, decoder: FactoredDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *inputs: Tensor) -> Tensor:
        features = len(MaskFeatures._fields)
        return self.decoder.decode_masks(MaskFeatures(*inputs[:features]), MaskInputs(*inputs[features:]))


def export_onnx(
    sam: Sam, config: ModelConfig, folder: Path, storage: Storage = "float32"
) -> tuple[Path, ...]:
    """Write a model's graphs into `folder`, whole or not at all, and its config; returns the paths of the graphs.

    storage: of the large weights.
    """
    # A copy: the exporter folds batch normalisation into the very tensors it is given.
    sam = copy.deepcopy(sam).eval()
    config = replace(
        config,
        weights=digest(sam.state_dict()),
        numerics=config.numerics if storage == "float32" else storage,
        embedding_channels=sam.embedding_channels,
    )
    metadata = {METADATA_KEY: config.to_json(), VERSION_KEY: str(VERSION)}
    paths = []
    for name, (module, example) in _graphs(sam).items():
        model = trace(module, example, GRAPHS[name], sizes(config))
        fold_padding(model)
        fold_resizing(model)
        model = stored(model, name, storage)
        helper.set_model_props(model, metadata)
        paths.append(folder / GRAPHS[name].file)
        write_model(paths[-1], model, config)
    write(folder / CONFIG_FILE, config_file(config).encode())
    return tuple(paths)


def config_file(config: ModelConfig) -> str:
    """What `model.json` says: the config, and the version and the files of the contract."""
    return json.dumps(
        {"graphs": {"version": VERSION, "files": ONNX_FILES}, "config": asdict(config)}, indent=1
    )


def _graphs(sam: Sam) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Each graph as a module, and an example of its inputs."""
    size, side = sam.image_size, sam.embedding_side
    decoder = FactoredDecoder(sam)
    image, embedding = torch.zeros(1, 3, size, size), torch.zeros(1, sam.embedding_channels, side, side)
    no_mask = torch.zeros(1, 1, 4 * side, 4 * side), torch.zeros(1)
    # Dynamic axes have examples of different sizes, none of them 1, which broadcasts.
    prompts = torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.int32), torch.zeros(2, 4, EMBEDDING_CHANNELS)
    with torch.no_grad():
        prepared = decoder.prepare(embedding, *no_mask)
        prediction = decoder.predict_iou(prepared.projections, *prompts)
    return {
        "encoder": (Encoder(sam), (image,)),
        "decoder_prepare": (_Prepare(decoder), (embedding, *no_mask)),
        "decoder_predict_iou": (_PredictIoU(decoder), (*prompts, *prepared.projections)),
        "decoder_masks": (_DecodeMasks(decoder), (*prepared.mask_features, *prediction.mask_inputs)),
    }


def write_model(path: Path, model: onnx.ModelProto, config: ModelConfig) -> None:
    """Write a graph of a model; what one file of this format cannot hold goes into a file beside it.

    That is named by the model's weights and numerics, so that an export that breaks off leaves the former model
    whole, and its former data beside it.
    """
    data = path.with_name(f"{path.stem}-{config.weights[:12]}-{config.numerics}.onnx.data")
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LARGEST_FILE:
        outside = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= 1024]
        write_stream(data, (tensor.raw_data for tensor in outside))
        offset = 0
        for tensor in outside:
            size = len(tensor.raw_data)
            onnx.external_data_helper.set_external_data(tensor, data.name, offset, size)
            tensor.ClearField("raw_data")
            offset += size
    else:
        onnx.checker.check_model(model)
    write(path, model.SerializeToString())
    for former in path.parent.glob(f"{path.stem}-*.onnx.data"):
        if former != data or not any(t.external_data for t in model.graph.initializer):
            former.unlink()


def trace(
    module: nn.Module, inputs: tuple[Tensor, ...], graph: GraphSpec, known: Mapping[str, int]
) -> onnx.ModelProto:
    """A module as the graph that `graph` describes. inputs: an example. known: the sizes of axes that are fixed."""
    dynamic = {
        tensor.name: {i: axis for i, axis in enumerate(tensor.shape(known)) if isinstance(axis, str)}
        for tensor in graph.inputs + graph.outputs
    }
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        # The tracer warns of every shape that becomes a constant; they are meant to.
        warnings.simplefilter("ignore")
        path = f"{folder}/model.onnx"
        torch.onnx.export(
            module,
            inputs,
            path,
            input_names=graph.input_names,
            output_names=graph.output_names,
            dynamic_axes={name: axes for name, axes in dynamic.items() if axes},
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(path)
    # As the contract has them. The tracer drops inputs that a model does not use, such as EfficientSAM masks, and
    # leaves the shapes of outputs open.
    for values, tensors in ((model.graph.input, graph.inputs), (model.graph.output, graph.outputs)):
        del values[:]
        values.extend(value_info(tensor, known) for tensor in tensors)
    return model


def value_info(tensor: TensorSpec, known: Mapping[str, int]) -> onnx.ValueInfoProto:
    """A tensor as ONNX files declare it."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(tensor.name, kind, tensor.shape(known))

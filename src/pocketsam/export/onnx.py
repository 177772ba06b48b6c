"""A model as ONNX files: the encoder, and the decoder in three parts (`graphs.py` says which).

Any number of objects and points: those axes are dynamic. Weights may be stored in half precision, which halves the
file; they are widened once, when the file is opened, and all arithmetic stays float32.
"""

import copy
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from pocketsam.config import METADATA_KEY, ModelConfig
from pocketsam.graphs import GRAPHS, IMAGE_INPUTS, IMAGE_MASK_INPUTS
from pocketsam.models.checkpoints import digest
from pocketsam.models.factored import FactoredDecoder, PreparedImage
from pocketsam.models.sam import Sam
from pocketsam.utils.files import write, write_stream

OPSET = 17
LARGEST_FILE = 1_900_000_000
"""Bytes of weights; a protobuf file ends at 2 GB."""
OBJECTS = {0: "objects"}
CHANNELS = {0: "objects", 1: "channels"}
"""As many as heads times tokens, in both layers: they depend on the number of points."""
DYNAMIC: dict[str, dict[str, dict[int, str]]] = {
    "decoder_predict_iou": {
        "points": {0: "objects", 1: "points"},
        "labels": {0: "objects", 1: "points"},
        "predicted_iou": OBJECTS,
        "kernels": OBJECTS,
        "scale": OBJECTS,
        "channels": CHANNELS,
        "basis": CHANNELS,
    },
    "decoder_masks": {
        "kernels": OBJECTS,
        "scale": OBJECTS,
        "channels": CHANNELS,
        "basis": CHANNELS,
        "logits": OBJECTS,
    },
}
"""The axes of which each graph takes any size."""
SMALLEST_HALVED = 1024
"""Tensors with fewer elements stay float32: normalisations and biases weigh nothing, and rounding them costs most."""


class _Encoder(nn.Module):
    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: Tensor) -> Tensor:
        return self.sam.encode(image)


class _Prepare(nn.Module):
    def __init__(self, decoder: FactoredDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, embedding: Tensor, mask_input: Tensor, has_mask: Tensor) -> tuple[Tensor, ...]:
        return self.decoder.prepare(embedding, mask_input, has_mask)


class _PredictIoU(nn.Module):
    def __init__(self, decoder: FactoredDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, points: Tensor, labels: Tensor, *side: Tensor) -> tuple[Tensor, ...]:
        to_draw = side[: len(IMAGE_MASK_INPUTS)]  # of which it makes nothing
        return self.decoder.predict_iou(PreparedImage._make([*side, *to_draw]), points, labels)


class _DecodeMasks(nn.Module):
    def __init__(self, decoder: FactoredDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *given: Tensor) -> Tensor:
        return self.decoder.decode_masks(*given)


def export_onnx(sam: Sam, config: ModelConfig, folder: Path, half: bool = False) -> tuple[Path, ...]:
    """Write the graphs of a model into `folder`, each all or nothing; returns their paths.

    half: store the large weights as float16.
    """
    # A copy: the exporter folds batch normalisation into the very tensors it is given.
    sam = copy.deepcopy(sam).eval()
    config = replace(config, weights=digest(sam.state_dict()), embedding_channels=sam.embedding_channels)
    paths = []
    for name, (module, example) in _graphs(sam).items():
        model = _trace(module, example, *GRAPHS[name], DYNAMIC.get(name, {}))
        if half:
            _halve(model)
        helper.set_model_props(model, {METADATA_KEY: config.to_json()})
        paths.append(folder / f"{name}.onnx")
        _write(paths[-1], model, config.weights)
    (folder / "decoder.onnx").unlink(missing_ok=True)  # of a version that had the decoder in one file
    return tuple(paths)


def _graphs(sam: Sam) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Each graph as a module, and an example of what goes in."""
    size, side = sam.image_size, sam.embedding_side
    decoder = FactoredDecoder(sam)
    image, embedding = torch.zeros(1, 3, size, size), torch.zeros(1, sam.embedding_channels, side, side)
    no_mask = torch.zeros(1, 1, 4 * side, 4 * side), torch.zeros(1)
    clicks = torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.int32)
    with torch.no_grad():
        image_side = decoder.prepare(embedding, *no_mask)
        _, *to_draw = decoder.predict_iou(image_side, *clicks)
    asked, drawn = image_side[: len(IMAGE_INPUTS)], image_side[len(IMAGE_INPUTS) :]
    return {
        "encoder": (_Encoder(sam), (image,)),
        "decoder_prepare": (_Prepare(decoder), (embedding, *no_mask)),
        "decoder_predict_iou": (_PredictIoU(decoder), (*clicks, *asked)),
        "decoder_masks": (_DecodeMasks(decoder), (*drawn, *to_draw)),
    }


def _write(path: Path, model: onnx.ModelProto, mark: str) -> None:
    """Write a model; what one file of this format cannot hold goes into a file beside it, named after the weights.

    So an export that breaks off leaves the former model whole, and its former data beside it.
    """
    data = path.with_name(f"{path.stem}-{mark[:12]}.onnx.data")
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


def _trace(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    names: list[str],
    outputs: list[str],
    dynamic: dict[str, dict[int, str]],
) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # the tracer remarks on every constant shape: they are meant to be constant
        path = f"{folder}/model.onnx"
        torch.onnx.export(
            module,
            inputs,
            path,
            input_names=names,
            output_names=outputs,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(path)
    # The tracer drops what a model makes nothing of, such as EfficientSAM of masks; all decoders take the same.
    kept = {value.name for value in model.graph.input}
    for name, tensor in zip(names, inputs, strict=True):
        if name not in kept:
            shape = [dynamic.get(name, {}).get(axis, size) for axis, size in enumerate(tensor.shape)]
            kind = helper.np_dtype_to_tensor_dtype(tensor.numpy().dtype)
            model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    return model


def _halve(model: onnx.ModelProto) -> None:
    """Store large float32 weights as float16, each behind a Cast that the runtime folds away at load."""
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_HALVED:
            continue
        name = tensor.name
        narrow = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}.half"))
        model.graph.node.insert(0, helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))

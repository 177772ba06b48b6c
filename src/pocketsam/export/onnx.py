"""A model as two ONNX files: the encoder runs once a photo, the decoder once a prompt.

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

from pocketsam.description import METADATA_KEY, Description
from pocketsam.files import write, write_stream
from pocketsam.models.checkpoints import digest
from pocketsam.models.sam import Sam

OPSET = 17
LARGEST_FILE = 1_900_000_000
"""Bytes of weights; a protobuf file ends at 2 GB."""
SMALLEST_HALVED = 1024
"""Tensors with fewer elements stay float32: normalisations and biases weigh nothing, and rounding them costs most."""


class _Encoder(nn.Module):
    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: Tensor) -> Tensor:
        return self.sam.encode(image)


class _Decoder(nn.Module):
    """`Sam.decode` for one image: the batch axis of images is gone."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(
        self, image_embedding: Tensor, points: Tensor, labels: Tensor, mask_input: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits, iou = self.sam.decode(
            image_embedding, points[None], labels[None], mask_input[None, :, 0], has_mask[None]
        )
        return logits[0], iou[0]


def export_onnx(sam: Sam, description: Description, folder: Path, half: bool = False) -> tuple[Path, Path]:
    """Write `encoder.onnx` and `decoder.onnx` into `folder`, each all or nothing; returns their paths.

    half: store the large weights as float16.
    """
    # A copy: the exporter folds batch normalisation into the very tensors it is given.
    sam = copy.deepcopy(sam).eval()
    description = replace(description, weights=digest(sam.state_dict()))
    size, side = sam.image_size, sam.embedding_side
    image = torch.zeros(1, 3, size, size)
    embedding = torch.zeros(1, 256, side, side)
    prompts = (
        torch.zeros(2, 3, 2),
        torch.ones(2, 3, dtype=torch.int32),
        torch.zeros(2, 1, 4 * side, 4 * side),
        torch.zeros(2),
    )
    dynamic = {
        "points": {0: "objects", 1: "points"},
        "labels": {0: "objects", 1: "points"},
        "mask_input": {0: "objects"},
        "has_mask": {0: "objects"},
        "logits": {0: "objects"},
        "predicted_iou": {0: "objects"},
    }
    inputs = ["image_embedding", "points", "labels", "mask_input", "has_mask"]
    encoder = _trace(_Encoder(sam), (image,), ["image"], ["image_embedding"], {})
    decoder = _trace(_Decoder(sam), (embedding, *prompts), inputs, ["logits", "predicted_iou"], dynamic)
    paths = folder / "encoder.onnx", folder / "decoder.onnx"
    for path, model in zip(paths, (encoder, decoder), strict=True):
        if half:
            _halve(model)
        helper.set_model_props(model, {METADATA_KEY: description.to_json()})
        _write(path, model, description.weights)
    return paths


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
            shape = [dynamic[name].get(axis, size) for axis, size in enumerate(tensor.shape)]
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

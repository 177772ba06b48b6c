"""A model as two programs, for runtimes on phones and other devices: what they compute, and between which tensors.

    encoder   image (1, 3, S, S), preprocessed as `model.json` says, to image_embeddings
    decoder   image_embeddings and one object's points, box or former mask to four masks and their predicted IoU

Unlike the ONNX files (`graphs.py`), which serve many objects at a time, these are one object's, and as few as can be:
an app has two calls to make. Names and meanings of the tensors are those of `graphs.py`.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocketsam.config import ModelConfig
from pocketsam.models.checkpoints import digest
from pocketsam.models.encoders import efficientnet_lite
from pocketsam.models.factored import FactoredDecoder
from pocketsam.models.sam import Sam
from pocketsam.utils.files import write

CONFIG_FILE = "model.json"
BESIDE = (".bin", ".build.py")
"""The ends of files that targets write beside a program's own."""
POINTS = 2
"""The points that a decoder of fixed shapes takes: a click and a padding point, or the corners of a box."""


@dataclass(frozen=True)
class Program:
    """A network, and its inputs and outputs by name.

    inputs: an example of each, whose shapes are the program's. outputs: names, in order.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]

    @property
    def example(self) -> tuple[Tensor, ...]:
        """The inputs in order."""
        return tuple(self.inputs.values())

    def contract(self) -> dict[str, Any]:
        """What `model.json` says of it."""
        inputs = {
            name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
            for name, tensor in self.inputs.items()
        }
        return {"inputs": inputs, "outputs": list(self.outputs)}


class Encoder(nn.Module):
    """An image (1, 3, S, S) to its embedding."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: Tensor) -> Tensor:
        return self.sam.encode(image)


class _Decoder(nn.Module):
    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.decoder = FactoredDecoder(sam)

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        prepared = self.decoder.prepare(image_embeddings, mask_input, has_mask_input)
        prediction = self.decoder.predict_iou(prepared.projections, point_coords, point_labels)
        masks = self.decoder.decode_masks(prepared.mask_features, prediction.mask_inputs)
        return masks, prediction.iou_predictions


def programs(sam: Sam, points: int = POINTS) -> tuple[Program, Program]:
    """The encoder and the decoder of a model. points: how many the decoder takes; unused ones get the label -1."""
    sam = _with_constant_weights(sam)
    size, side = sam.image_size, sam.embedding_side
    embedding = torch.zeros(1, sam.embedding_channels, side, side)
    labels = torch.ones(1, points, dtype=torch.int32)
    inputs = {
        "image_embeddings": embedding,
        "point_coords": torch.full((1, points, 2), size / 2),
        "point_labels": labels,
        "mask_input": torch.zeros(1, 1, 4 * side, 4 * side),
        "has_mask_input": torch.zeros(1),
    }
    return (
        Program("encoder", Encoder(sam), {"image": torch.zeros(1, 3, size, size)}, ("image_embeddings",)),
        Program("decoder", _Decoder(sam), inputs, ("low_res_masks", "iou_predictions")),
    )


Writer = Callable[[Program, Path], None]
"""Writes a program as a file of some format."""


def export_programs(
    sam: Sam, config: ModelConfig, folder: Path, suffix: str, write_program: Writer, points: int = POINTS
) -> tuple[Path, ...]:
    """Write a model's programs into `folder`, and its config; returns all paths.

    Raises OSError when a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, contracts = [], {}
    for program in programs(sam, points):
        path = folder / f"{program.name}{suffix}"
        write_program(program, path)
        paths += [one for one in (path, *map(path.with_suffix, BESIDE)) if one.exists()]
        contracts[path.name] = program.contract()
    config = replace(config, weights=digest(sam.state_dict()), embedding_channels=sam.embedding_channels)
    note = folder / CONFIG_FILE
    write(note, json.dumps({"programs": contracts, "config": asdict(config)}, indent=1).encode())
    return (*paths, note)


def _with_constant_weights(sam: Sam) -> Sam:
    """A copy for inference whose convolutions have weights, not products of them with a batch normalisation.

    Runtimes that do not compute constants ahead could not run such a convolution by their fast kernels.
    """
    sam = copy.deepcopy(sam).eval().requires_grad_(False)
    for parent in list(sam.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, efficientnet_lite.ConvNorm):
                setattr(parent, name, child.folded())
    return sam

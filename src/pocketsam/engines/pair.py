"""What every engine that runs ONNX files shares: a model folder's pair, opened and checked.

A model folder holds `encoder.onnx` and `decoder.onnx`; both carry the model's Description in their metadata.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from pocketsam.description import Description
from pocketsam.errors import ModelError

ENCODER_NAMES = ["image"], ["image_embedding"]
DECODER_NAMES = ["image_embedding", "points", "labels", "mask_input", "has_mask"], ["logits", "predicted_iou"]

T = TypeVar("T")


class Contents(NamedTuple):
    """What an ONNX file says of itself: the names of its inputs and outputs, and its description as JSON."""

    inputs: list[str]
    outputs: list[str]
    description: str | None


def open_pair(folder: Path, open_file: Callable[[Path], tuple[T, Contents]]) -> tuple[T, T, Description]:
    """The encoder and the decoder in `folder`, as `open_file` gives them, and the model's description.

    open_file: may raise anything for a file that it cannot read.
    Raises ModelError when a file is missing, damaged or foreign, and when the two are of different models.
    """
    encoder, description = _open(folder / "encoder.onnx", ENCODER_NAMES, open_file)
    decoder, decoder_description = _open(folder / "decoder.onnx", DECODER_NAMES, open_file)
    if decoder_description != description:
        raise ModelError(f"{folder}: the encoder and the decoder are of different models; take both from one")
    return encoder, decoder, description


def _open(
    path: Path, names: tuple[list[str], list[str]], open_file: Callable[[Path], tuple[T, Contents]]
) -> tuple[T, Description]:
    if not path.is_file():
        raise ModelError(f"{path}: is missing; a model folder holds encoder.onnx and decoder.onnx")
    try:
        opened, (inputs, outputs, text) = open_file(path)
    except Exception as error:  # the runtimes' exceptions have no common base
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path}: is damaged or not an ONNX model ({reason}); get the file again, or convert the model again"
        ) from error
    if text is None or (inputs, outputs) != names:
        raise ModelError(f"{path}: is not the {path.stem} of a PocketSAM model; export it with PocketSAM")
    try:
        return opened, Description.from_json(text)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: has an invalid description ({error}); export the model again") from error

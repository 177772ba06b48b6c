"""Quantising a model from its weights to its files; a run that was killed resumes when the same is done again.

weights, images → calibrated, with each product's scales kept in a journal → ONNX files, or scales
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.errors import InputError
from pocketsam.graphs import CONFIG_FILE, INT8_ENCODER, ONNX_FILES
from pocketsam.models.checkpoints import FILE_NAME as WEIGHTS_FILE
from pocketsam.models.sam import Sam
from pocketsam.quantization.calibrate import anything, calibrate
from pocketsam.quantization.model import FILE_NAME, fold_batch_norm, numerics, save_quantized
from pocketsam.quantization.onnx import export_int8, in_integers
from pocketsam.quantization.settings import Form, QuantizationSettings
from pocketsam.utils.files import check_writable
from pocketsam.utils.journal import Journal

JOURNAL = "scales.jsonl"


@dataclass(frozen=True)
class Quantized:
    """What was written: the folder, its files, of which model, and how many of its matrix products have scales."""

    output: Path
    files: Sequence[Path]
    model: str
    settings: QuantizationSettings
    products: int

    def __str__(self) -> str:
        how = self.settings
        kind = f"{how.weight_bits}-bit weights, {how.activation_bits}-bit activations"
        return f"{self.output}: {self.model} in {kind}; {self.products} products, by {how.method}"


def check_folder(output: Path, to: Form) -> None:
    """Raises InputError where the folder cannot be written, or files of another model lie in it: it is of one."""
    check_writable(output, missing=True)
    others: dict[Form, tuple[str, ...]] = {
        "onnx": (WEIGHTS_FILE, FILE_NAME, INT8_ENCODER),
        "encoder": (FILE_NAME,),
        "scales": (WEIGHTS_FILE, *ONNX_FILES),
    }
    for file in (output / name for name in others[to]):
        if file.exists():
            raise InputError(f"{file}: is of another model; give another -o, or delete it")
    if to == "encoder" and not all((output / name).exists() for name in ONNX_FILES):
        raise InputError(
            f"{output}: holds no float ONNX files of the model; write them there first, with convert"
        )


def _check_same_model(config: ModelConfig, output: Path) -> None:
    """Raises InputError unless the float ONNX files in a folder are of this model."""
    file = output / CONFIG_FILE
    try:
        found = ModelConfig.from_json(json.dumps(json.loads(file.read_bytes())["config"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); convert the model again") from error
    if replace(found, numerics="", embedding_channels=0) != replace(
        config, numerics="", embedding_channels=0
    ):
        raise InputError(f"{output}: holds ONNX files of another model; convert this one there first")


def quantize(
    sam: Sam,
    config: ModelConfig,
    images: Sequence[NDArray[np.float32]],
    settings: QuantizationSettings,
    output: Path,
    to: Form,
    *,
    threads: int,
    after_product: Callable[[int, int], None] = lambda done, total: None,
) -> Quantized:
    """Find the scales of `sam` with a few images, (1, 3, S, S) each, and write the model into the folder `output`.

    to: "onnx" writes files whose encoder computes with 8-bit integers; only its products are calibrated; "encoder"
    that encoder alone. "scales" writes the weights and the scales of all products, for the engine fake-quant.
    threads: of PyTorch. after_product: is called with the number of products that are done, and of all.
    Raises InputError when the folder cannot be written, or holds float files of another model than the encoder's.
    """
    if to == "encoder":
        _check_same_model(config, output)
    torch.set_num_threads(threads)
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    determining = {"weights": config.weights, "settings": vars(settings), "images": digests, "to": to}
    journal = Journal(output / JOURNAL, determining)
    tensors = [torch.from_numpy(image) for image in images]
    scales = calibrate(
        fold_batch_norm(sam),
        tensors,
        settings,
        pad_points_to=config.pad_points_to,
        chosen=anything if to == "scales" else in_integers(sam),
        journal=journal,
        after_product=after_product,
    )
    files: Sequence[Path]
    if to == "scales":
        save_quantized(output, sam, config, scales, settings)
        files = [output / FILE_NAME]
    else:
        config = replace(config, numerics=numerics(settings, scales))
        files = export_int8(fold_batch_norm(sam), config, scales, tensors, settings, output, to == "encoder")
    journal.remove()
    return Quantized(output, files, config.name, settings, len(scales))

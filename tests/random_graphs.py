"""Small models of random weights as ONNX files."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnx import helper

from pocketsam.config import METADATA_KEY, SAM, ModelConfig
from pocketsam.export.onnx import export_onnx
from pocketsam.graphs import VERSION, VERSION_KEY
from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.models.sam import Sam


def write_random_graphs(folder: Path, config: ModelConfig) -> None:
    """Files that say they have this config."""
    for file, content in _graphs(config.image_size, "efficient_sam" if config.pad_points_to else "sam"):
        model = onnx.load_from_string(content)
        helper.set_model_props(model, {METADATA_KEY: config.to_json(), VERSION_KEY: str(VERSION)})
        onnx.save(model, folder / file)


@cache
def _graphs(image_size: int, variant: str) -> list[tuple[str, bytes]]:
    torch.manual_seed(1)
    patches = ARCHITECTURES["patches"].build(image_size)
    sam = Sam(patches.image_encoder, image_size, variant)
    with TemporaryDirectory() as folder:
        files = export_onnx(sam, replace(SAM, image_size=image_size), Path(folder))
        return [(file.name, file.read_bytes()) for file in files]

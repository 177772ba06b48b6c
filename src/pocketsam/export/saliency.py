"""A trained saliency head as the ONNX file that lies beside the graphs of its model."""

from pathlib import Path

import torch
from onnx import helper

from pocketsam.config import ENCODER_KEY, HEAD_KEY, METADATA_KEY, HeadConfig, ModelConfig
from pocketsam.errors import ModelError
from pocketsam.export.onnx import trace, write_model
from pocketsam.export.storage import halve
from pocketsam.graphs import SALIENCY, VERSION, VERSION_KEY, sizes
from pocketsam.models.checkpoints import load_strictly, load_tensors
from pocketsam.models.saliency import SaliencyHead


def export_saliency(weights: Path, folder: Path) -> Path:
    """Write `saliency.onnx`, with weights in half precision, into the folder of the model that the head is for.

    weights: the file that training by a recipe of the method saliency wrote. Returns the path of the new file.
    Raises ModelError when that is none, InputError when the new file cannot be written.
    """
    tensors, metadata = load_tensors(weights)
    try:
        arguments = HeadConfig.from_json(metadata[HEAD_KEY]).arguments
        config = ModelConfig.from_json(metadata[ENCODER_KEY])
        head = SaliencyHead(**arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{weights}: holds no saliency head ({error}); train one by recipes/saliency/pocket.yaml"
        ) from error
    load_strictly(head, tensors, weights)
    side = config.embedding_size
    example = torch.zeros(1, config.embedding_channels, side, side)
    model = trace(head.eval(), (example,), SALIENCY, sizes(config))
    halve(model)
    helper.set_model_props(model, {METADATA_KEY: config.to_json(), VERSION_KEY: str(VERSION)})
    path = folder / SALIENCY.file
    write_model(path, model, config)
    return path

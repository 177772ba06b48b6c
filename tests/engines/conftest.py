"""A small model with random weights in both its forms, and every engine on it."""

from pathlib import Path

import pytest
import torch

from pocketsam.config import ModelConfig
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.engines.openvino import OpenVinoEngine
from pocketsam.engines.torch import TorchEngine
from pocketsam.export.onnx import export_onnx
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import FILE_NAME, save_model

SIZE = 64


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.safetensors alone; its model sees SIZE × SIZE pixels."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    thresholds = {"pred_iou_thresh": 0.75, "stability_score_thresh": 0.5, "confident_logit": -1.25}
    config = ModelConfig("small", SIZE, "squash", licence="CC0-1.0", **thresholds)
    save_model(folder / FILE_NAME, weights=build("patches", SIZE).state_dict(), config=config)
    return folder


@pytest.fixture(scope="session")
def folder(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ONNX files of the same weights."""
    folder = tmp_path_factory.mktemp("onnx")
    loaded = TorchEngine.load(weights)
    export_onnx(loaded.sam, loaded.config, folder)
    return folder


@pytest.fixture(scope="session")
def engines(weights: Path, folder: Path) -> dict:
    """Every engine, in float32, by its name."""
    return {
        "onnx": OnnxEngine(folder, threads=2),
        "openvino": OpenVinoEngine(folder, threads=2),
        "torch": TorchEngine.load(weights, threads=2),
    }

"""On which engine the models run that a study compares with."""

import pytest
import torch

from pocketsam.config import ModelConfig
from pocketsam.evaluation.job import _engine_for
from pocketsam.export.onnx import export_onnx
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import save_model


@pytest.mark.parametrize(
    ("engine", "files", "weights"), [("torch", "auto", "torch"), ("onnx", "onnx", "onnx")]
)
def test_another_model_runs_on_the_engine_chosen_if_its_files_can(tmp_path, engine, files, weights) -> None:
    torch.manual_seed(0)
    sam, config = build("patches", 64).eval(), ModelConfig("small", 64, "squash")
    save_model(tmp_path / "model.safetensors", sam.state_dict(), config)
    export_onnx(sam, config, tmp_path / "onnx")
    assert _engine_for(str(tmp_path / "onnx"), engine) == files
    assert _engine_for(str(tmp_path / "model.safetensors"), engine) == weights

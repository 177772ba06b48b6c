"""What the tests of the published API share: how a script moves over, and models small enough to run it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pocketsam import compat
from pocketsam.compat.engine_model import EngineModel
from pocketsam.config import ModelConfig
from pocketsam.export.onnx import export_onnx
from pocketsam.models.architectures import build


@pytest.fixture
def run() -> Callable[..., dict[str, Any]]:
    """Runs a script that was written for segment_anything with only its imports changed; gives its variables."""

    def run(script: str, **given: Any) -> dict[str, Any]:
        variables = dict(given)
        moved, changes = re.subn(r"from segment_anything", "from pocketsam.compat", script)
        assert changes
        exec(moved, variables)
        return variables

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model of random weights that sees a photo as SAM does, in 128 × 128 pixels."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("compat") / "tiny"
    export_onnx(build("patches", 128), ModelConfig("tiny", image_size=128), folder)
    return folder


@pytest.fixture
def sam(engine, monkeypatch) -> EngineModel:
    """A handle on the fake engine."""
    monkeypatch.setattr("pocketsam.compat.engine_model.open_engine", lambda *_, **__: engine)
    return compat.build_sam("pocket")


@pytest.fixture
def image(samples) -> np.ndarray:
    """The sneakers, uint8 (400, 429, 3) RGB."""
    return np.array(Image.open(samples / "sneakers.jpg").convert("RGB"))

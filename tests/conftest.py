"""What several tests share: an engine whose answers can be worked out by hand, and the sample photos."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pocketsam.config import ModelConfig
from pocketsam.engines import onnx
from pocketsam.engines.optimised import SessionSettings
from pocketsam.zoo import PACKAGED
from predictors import OneStep

SAMPLES = Path(__file__).parents[1] / "samples"
LONGEST = (
    "test_parity.py",
    "test_distillation.py",
    "test_programs.py",
    "test_evaluate.py",
    "test_cluster.py",
    "test_page_tools.py",
    "test_page.py",
    "test_pocket.py",
)


def _take_a_core() -> None:
    """Give each of pytest-xdist's workers a core of its own, so that their threads do not wait for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if worker and sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker) % len(cores)]})


_take_a_core()  # before a test imports PyTorch, which counts the cores then


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is alone with one of them at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of the tests' own for models that are fetched or converted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCKETSAM_HOME", str(tmp_path_factory.mktemp("home")))
        yield Path(os.environ["POCKETSAM_HOME"])


@pytest.fixture(scope="session", autouse=True)
def _packaged_model_opened_once() -> Iterator[None]:
    """ONNX Runtime takes half a second to open the model in the package, which hundreds of tests use."""
    open_file, open_once = onnx._open, cache(onnx._open)

    def open_packaged_once(path: Path, settings: SessionSettings) -> object:
        return (open_once if path.parent == PACKAGED else open_file)(path, settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "_open", open_packaged_once)
        yield


class FakeEngine(OneStep):
    """A square around each prompt instead of a model; its logits have 16 × 16 cells.

    Mask 0 fills the prompt's box or, with a mask input, repeats it; masks 1 to 3 reach 6, 3 and 1 cells from
    the centre of the prompt's tokens. Mask 2 is always the most confident of the three.
    """

    config = ModelConfig("fake", image_size=64, resize="pad", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    reach = (2, 6, 3, 1)
    predicted_iou = (0.5, 0.7, 0.9, 0.8)

    def __init__(self) -> None:
        self.encoded: list[np.ndarray] = []
        self.decoded: list[dict[str, np.ndarray]] = []

    def encode(self, image: np.ndarray) -> np.ndarray:
        self.encoded.append(image)
        return np.zeros((1, 256, 4, 4), np.float32)

    def decode(self, embedding, points, labels, mask_input, has_mask):
        prompts = points, labels, mask_input, has_mask
        self.decoded.append(dict(zip(("points", "labels", "mask_input", "has_mask"), prompts, strict=True)))
        logits = np.stack([self._logits(*prompt) for prompt in zip(*prompts, strict=True)])
        return logits, np.tile(np.float32(self.predicted_iou), (len(points), 1))

    def _logits(self, points, labels, mask_input, has_mask) -> np.ndarray:
        y, x = np.mgrid[0:16, 0:16] + 0.5
        kept = points[labels != -1] / 4 if (labels != -1).any() else np.full((1, 2), 8)
        cx, cy = kept.mean(axis=0)
        distance = np.maximum(abs(x - cx), abs(y - cy))
        inside = np.stack([distance < reach for reach in self.reach])
        if (labels == 2).any():
            (x0, y0), (x1, y1) = points[labels == 2][0] / 4, points[labels == 3][0] / 4
            inside[0] = (x > x0) & (x < x1) & (y > y0) & (y < y1)
        if has_mask:
            inside[0] = mask_input[0] > 0
        return np.where(inside, 10, -10).astype(np.float32)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def samples() -> Path:
    """The folder of sneakers.jpg (429 × 400), cap.jpg (400 × 534) and tshirt.jpg (533 × 400)."""
    return SAMPLES

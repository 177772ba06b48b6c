"""Our networks compute what the published code computes, on weights that anyone can regenerate.

Each checkpoint is saved as its makers save it, loaded as a user's, and run through PyTorch and through exported ONNX.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from parity import synthetic_weights
from parity.synthetic_weights import FOLDER
from pocketsam.config import ModelConfig
from pocketsam.engines import Engine, decode, open_engine
from pocketsam.engines.torch import TorchEngine
from pocketsam.export.onnx import export_onnx
from pocketsam.models.architectures import architecture_of, like
from pocketsam.models.checkpoints import load_model, load_strictly
from pocketsam.models.published import rename
from pocketsam.models.sam import Sam
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import preprocess
from pocketsam.predict.prompts import Prompts

POINT, BACKGROUND, BOX = (135.3, 120.9), (320.0, 181.5), (70.5, 60.2, 210.0, 190.7)
# name -> the prompt, the masks that were kept, and whether a mask is fed back
CASES: dict[str, tuple[dict[str, Any], slice, bool]] = {
    "point": ({"points": POINT}, slice(1, 4), False),
    "points_fg_bg": ({"points": [POINT, BACKGROUND], "labels": [1, 0]}, slice(1, 4), False),
    "box": ({"boxes": BOX}, slice(1, 4), False),
    "box_point": ({"points": POINT, "boxes": BOX}, slice(1, 4), False),
    "point_single": ({"points": POINT}, slice(0, 1), False),
    "point_mask": ({"points": POINT}, slice(0, 1), True),
}
IMAGE = synthetic_weights.image(300, 451)
GOLDEN = sorted(path.stem for path in FOLDER.glob("*.npz"))
LARGE = {"sam_vit_b": "openvino", "efficient_sam_s": "onnx"}
"""The largest networks take a minute for a photo: of each, this runtime alone encodes it, and PyTorch the noise."""
MANIFESTS = sorted(path.stem for path in FOLDER.glob("*.json"))


class Answers:
    """What one engine makes of the golden inputs; the photo is encoded once.

    embedding: the photo's, if another engine has encoded it.
    """

    def __init__(self, engine: Engine, embedding: NDArray[np.float32] | None = None) -> None:
        self.engine = engine
        self.geometry = Geometry.of(engine.config, *IMAGE.shape[:2])
        self.encodes = embedding is None
        self.embedding = engine.encode(preprocess(IMAGE, engine.config)) if embedding is None else embedding

    def decode(self, case: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """All four masks of a case: (4, 256, 256), (4,)."""
        prompt, _, feed_back = CASES[case]
        mask_input = self.decode("point")[0][1] if feed_back else None
        prompts = Prompts.of(**prompt, mask_input=mask_input, photo_size=IMAGE.shape[:2])
        tokens = prompts.tokens(self.geometry, self.engine.config.pad_points_to)
        logits, iou = decode(self.engine, self.embedding, *tokens, *prompts.mask_tokens(self.geometry))
        return logits[0], iou[0]


@pytest.fixture(scope="session", params=GOLDEN)
def name(request: pytest.FixtureRequest) -> str:
    """Of the widest scope, so that all engines of a model follow each other, and it is exported once."""
    return str(request.param)


@pytest.fixture(scope="module")
def golden(name: str) -> dict[str, NDArray[np.float32]]:
    return dict(np.load(FOLDER / f"{name}.npz"))


@pytest.fixture(scope="module")
def checkpoint(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The published file, but for its numbers."""
    drawn = synthetic_weights.state_dict(str(FOLDER / f"{name}.json"))
    weights = {key: torch.from_numpy(np.asarray(tensor)) for key, tensor in drawn.items()}
    path = tmp_path_factory.mktemp(name) / f"{name}.pt"
    torch.save({"model": weights} if name.startswith("efficient_sam") else weights, path)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> tuple[Sam, ModelConfig]:
    return load_model(checkpoint)


@pytest.fixture(scope="module")
def exported(model: tuple[Sam, ModelConfig], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model's folder of ONNX files."""
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(*model, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def embeddings() -> dict[str, NDArray[np.float32]]:
    """Of the photo, by the runtime that has encoded it with a large model."""
    return {}


@pytest.fixture(scope="module", params=["onnx", "openvino", "torch"])
def answers(
    request: pytest.FixtureRequest,
    name: str,
    model: tuple[Sam, ModelConfig],
    embeddings: dict[str, NDArray[np.float32]],
) -> Answers:
    if request.param == "torch":
        return Answers(TorchEngine(*model), embeddings.get(name))
    if LARGE.get(name, request.param) != request.param:
        pytest.skip("the same ONNX files are run by the other of the two runtimes")
    answers = Answers(open_engine(request.getfixturevalue("exported"), request.param))
    if name in LARGE:
        embeddings[name] = answers.embedding
    return answers


def assert_close(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """To 1e-4 of the tensor's standard deviation; a tensor of a few numbers, of their size."""
    scale = theirs.std() if theirs.size > 8 else np.abs(theirs).max()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-4 * scale


def stats(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array([x.mean(), x.std(), np.abs(x).max()], np.float32)


def test_encoder(model: tuple[Sam, ModelConfig], golden: dict[str, NDArray[np.float32]]) -> None:
    """On noise; by PyTorch alone, as a second image tells nothing of the graphs that a photo does not."""
    ours = TorchEngine(*model).encode(synthetic_weights.unit_input(1024))
    assert_close(ours[:, ::8, ::4, ::4], golden["encoder_embedding_sub"])
    np.testing.assert_allclose(stats(ours), golden["encoder_embedding_stats"], rtol=1e-4, atol=1e-5)


def test_embedding_of_a_photo(answers: Answers, golden: dict[str, NDArray[np.float32]]) -> None:
    if not answers.encodes:
        pytest.skip("PyTorch encodes the noise; this photo is encoded by another runtime")
    assert_close(answers.embedding[:, ::8, ::4, ::4], golden["image_embedding_sub"])
    np.testing.assert_allclose(
        stats(answers.embedding), golden["image_embedding_stats"], rtol=1e-4, atol=1e-5
    )


def test_prompts(answers: Answers, golden: dict[str, NDArray[np.float32]]) -> None:
    cases = [key.removesuffix("_iou") for key in golden if key.endswith("_iou")]
    assert len(cases) >= 3
    for case in cases:
        masks = CASES[case][1]
        logits, iou = answers.decode(case)
        full = np.stack([answers.geometry.logits_to_photo(mask) for mask in logits[masks]])
        assert_close(iou[masks], golden[f"{case}_iou"].reshape(-1))
        assert_close(logits[masks][:, ::4, ::4], golden[f"{case}_lowres_sub"])
        assert_close(full[:, ::5, ::5], golden[f"{case}_logits_sub"])


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_published_state_dict_fits_exactly(name: str) -> None:
    manifest = json.loads((FOLDER / f"{name}.json").read_text())
    tensors = {
        key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for key, (shape, dtype) in manifest.items()
    }
    ours = rename(tensors)
    shapes = {key: tuple(tensor.shape) for key, tensor in ours.items()}
    assert architecture_of(shapes) == {"tinysam": "mobile_sam"}.get(name, name)
    with torch.device("meta"):
        sam = like(shapes, 1024)
    load_strictly(sam, ours, FOLDER / f"{name}.json", assign=True)
    assert sam.image_size == 1024
    assert sum(t.numel() for t in sam.state_dict().values()) == sum(t.numel() for t in tensors.values())

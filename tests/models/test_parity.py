"""Our networks compute what the published code computes, on weights that anyone can regenerate."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from parity import synthetic_weights
from parity.synthetic_weights import FOLDER
from pocketsam.description import Description
from pocketsam.engines.torch import TorchEngine
from pocketsam.geometry import Geometry
from pocketsam.models.sam import mobile_sam
from pocketsam.photo import preprocess
from pocketsam.prompts import Prompts

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
GEOMETRY = Geometry(300, 451, 1024, "pad")


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[np.float32]]:
    return dict(np.load(FOLDER / "mobile_sam.npz"))


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    sam = mobile_sam()
    drawn = synthetic_weights.state_dict(str(FOLDER / "mobile_sam.json"))
    sam.load_state_dict({name: torch.from_numpy(np.asarray(t)) for name, t in drawn.items()}, strict=True)
    return TorchEngine(sam, Description("mobile_sam", 1024, "pad"))


@pytest.fixture(scope="module")
def embedding(engine: TorchEngine) -> NDArray[np.float32]:
    return engine.encode(preprocess(IMAGE, engine.description))


def assert_close(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """To 1e-4 of the tensor's standard deviation; a tensor of a few numbers, of their size."""
    scale = theirs.std() if theirs.size > 8 else np.abs(theirs).max()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-4 * scale


def stats(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array([x.mean(), x.std(), np.abs(x).max()], np.float32)


def test_encoder(engine: TorchEngine, golden: dict[str, NDArray[np.float32]]) -> None:
    ours = engine.encode(synthetic_weights.unit_input(1024))
    assert_close(ours[:, ::8, ::4, ::4], golden["encoder_embedding_sub"])
    np.testing.assert_allclose(stats(ours), golden["encoder_embedding_stats"], rtol=1e-4, atol=1e-5)


def test_embedding_of_a_photo(embedding: NDArray[np.float32], golden: dict[str, NDArray[np.float32]]) -> None:
    assert_close(embedding[:, ::8, ::4, ::4], golden["image_embedding_sub"])
    np.testing.assert_allclose(stats(embedding), golden["image_embedding_stats"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_prompts(
    case: str,
    engine: TorchEngine,
    embedding: NDArray[np.float32],
    golden: dict[str, NDArray[np.float32]],
) -> None:
    _, masks, feed_back = CASES[case]
    mask_input = decode(engine, embedding, "point")[0][1] if feed_back else None
    logits, iou = decode(engine, embedding, case, mask_input)
    full = np.stack([GEOMETRY.logits_to_photo(mask) for mask in logits[masks]])
    assert_close(iou[masks], golden[f"{case}_iou"].reshape(-1))
    assert_close(logits[masks][:, ::4, ::4], golden[f"{case}_lowres_sub"])
    assert_close(full[:, ::5, ::5], golden[f"{case}_logits_sub"])


def decode(
    engine: TorchEngine,
    embedding: NDArray[np.float32],
    case: str,
    mask_input: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """All four masks of a case: (4, 256, 256), (4,)."""
    prompt, _, _ = CASES[case]
    prompts = Prompts.of(**prompt, mask_input=mask_input, photo_size=(300, 451))
    logits, iou = engine.decode(embedding, *prompts.tokens(GEOMETRY), *prompts.mask_tokens(GEOMETRY))
    return logits[0], iou[0]

"""The factored decoder is the plain one, `Sam.decode`, to the last digits: in PyTorch, and exported to ONNX."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pocketsam.config import ModelConfig
from pocketsam.engines import decode
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.engines.openvino import OpenVinoEngine
from pocketsam.export.onnx import export_onnx
from pocketsam.models.checkpoints import FILE_NAME, load_model
from pocketsam.models.encoders.patches import Patches
from pocketsam.models.factored import FactoredDecoder
from pocketsam.models.mask_decoder import Variant
from pocketsam.models.sam import Sam

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "pocket" / FILE_NAME
KINDS = ["sam", "efficient_sam", "trained"]
SIZE = 128

Answer = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Prompts:
    """N objects on one image of side * side cells, and the mask that is part of the image, if there is one."""

    embedding: Tensor  # (1, 256, side, side)
    points: Tensor  # (N, P, 2)
    labels: Tensor  # (N, P)
    mask_input: Tensor | None  # (1, 1, 4 * side, 4 * side)

    @classmethod
    def draw(cls, side: int, objects: int, points: int, masked: bool, seed: int) -> "Prompts":
        """Points all over the image, and a little beside it; labels of every kind."""
        generator = torch.Generator().manual_seed(seed)
        cells = torch.randn(1, 256, side, side, generator=generator)
        places = (1.2 * torch.rand(objects, points, 2, generator=generator) - 0.1) * 16 * side
        labels = torch.randint(-1, 4, (objects, points), generator=generator)
        mask = 5 * torch.randn(1, 1, 4 * side, 4 * side, generator=generator) if masked else None
        return cls(cells, places, labels, mask)


PROMPTS = st.builds(
    Prompts.draw,
    side=st.integers(4, 12),
    objects=st.integers(0, 5),
    points=st.integers(0, 6),
    masked=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)


def random_sam(variant: Variant) -> Sam:
    """With biases, and scales of normalisations, that are not those of a start, which hide mistakes: 0 and 1."""
    torch.manual_seed(int(variant == "efficient_sam"))
    sam = Sam(Patches(), SIZE, variant).eval()
    for tensor in sam.parameters():
        if tensor.ndim == 1:
            tensor.data += 0.3 * torch.randn_like(tensor)
    return sam


class Model:
    """A decoder, in float32 and in float64."""

    def __init__(self, sam: Sam) -> None:
        sam.image_encoder = Patches()  # whose export is cheapest; it is of no use here
        self._forms = {torch.float32: sam.eval(), torch.float64: copy.deepcopy(sam).double().eval()}

    def __call__(self, prompts: "Prompts", dtype: torch.dtype = torch.float64) -> Sam:
        """In front of an image of the prompts' size."""
        sam = self._forms[dtype]
        sam.image_size = 16 * prompts.embedding.shape[-1]
        return sam


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    trained, _ = load_model(CHECKPOINT)
    sams = {"sam": random_sam("sam"), "efficient_sam": random_sam("efficient_sam"), "trained": trained}
    return {kind: Model(sam) for kind, sam in sams.items()}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """How a sum is shared out to threads decides its last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@torch.no_grad()
def plain(model: Model, prompts: Prompts, dtype: torch.dtype = torch.float64) -> Answer:
    """`Sam.decode`: logits (N, 4, 4g, 4g) and predicted IoU (N, 4)."""
    sam = model(prompts, dtype)
    objects, mask = len(prompts.points), prompts.mask_input
    masks = None if mask is None else mask[0].to(dtype).expand(1, objects, -1, -1)
    logits, iou = sam.decode(prompts.embedding.to(dtype), prompts.points[None], prompts.labels[None], masks)
    return logits[0], iou[0]


@torch.no_grad()
def factored(model: Model, prompts: Prompts, dtype: torch.dtype = torch.float64) -> Answer:
    """The same, by the factored decoder."""
    decoder = FactoredDecoder(model(prompts, dtype))
    mask = None if prompts.mask_input is None else prompts.mask_input.to(dtype)
    image = decoder.prepare(prompts.embedding.to(dtype), mask)
    prediction = decoder.predict_iou(image.projections, prompts.points, prompts.labels)
    logits = decoder.decode_masks(image.mask_features, prediction.mask_inputs)
    return logits, prediction.iou_predictions


def deviation(ours: Tensor, exact: Tensor) -> float:
    """The largest, in standard deviations of the exact logits."""
    return float((ours - exact).abs().max() / exact.std()) if exact.numel() else 0.0


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20, derandomize=True)
@given(prompts=PROMPTS)
def test_the_algebra_is_exact(kind: str, models: dict[str, Model], prompts: Prompts) -> None:
    (logits, iou), (exact, exact_iou) = (decoder(models[kind], prompts) for decoder in (factored, plain))
    assert logits.shape == exact.shape
    assert iou.shape == exact_iou.shape
    assert deviation(logits, exact) <= 1e-10
    torch.testing.assert_close(iou, exact_iou, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20, derandomize=True)
@given(prompts=PROMPTS)
def test_it_rounds_no_worse_than_the_plain_decoder(
    kind: str, models: dict[str, Model], prompts: Prompts
) -> None:
    """In float32. A prompt on which rounding grows, as on some of many clicks, it grows on in either form."""
    exact, exact_iou = plain(models[kind], prompts)
    logits, iou = factored(models[kind], prompts, torch.float32)
    published, _ = plain(models[kind], prompts, torch.float32)
    assert deviation(logits, exact) <= max(1e-5, 2 * deviation(published, exact))
    torch.testing.assert_close(iou.double(), exact_iou, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_mask_that_is_said_to_be_missing_is_none(models: dict[str, Model]) -> None:
    prompts = Prompts.draw(side=8, objects=1, points=1, masked=True, seed=0)
    decoder, mask = FactoredDecoder(models["sam"](prompts, torch.float32)), prompts.mask_input
    absent, without = (
        decoder.prepare(prompts.embedding, mask, torch.zeros(1)),
        decoder.prepare(prompts.embedding),
    )
    for ours, theirs in zip(absent, without, strict=True):
        torch.testing.assert_close(ours, theirs)
    there = decoder.prepare(prompts.embedding, mask, torch.ones(1))
    assert not torch.allclose(there.projections.layer1_keys, absent.projections.layer1_keys)


@pytest.fixture(scope="module", params=KINDS)
def folder(
    request: pytest.FixtureRequest, models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The name of a model, and its decoder in ONNX for images of SIZE * SIZE pixels."""
    sam = models[request.param](Prompts.draw(SIZE // 16, 1, 1, False, 0), torch.float32)
    path = tmp_path_factory.mktemp(request.param)
    export_onnx(sam, ModelConfig(request.param, SIZE), path)
    return request.param, path


@pytest.mark.parametrize("engine", [OnnxEngine, OpenVinoEngine])
def test_exported_it_answers_as_the_plain_decoder_does(
    engine: type[OnnxEngine | OpenVinoEngine], folder: tuple[str, Path], models: dict[str, Model]
) -> None:
    """Clicks, boxes, and masks for some of them, together and alone."""
    kind, path = folder
    opened, side = engine(path, threads=2), SIZE // 16
    for objects, points, seed in [(5, 2, 0), (1, 1, 1), (4, 6, 2), (3, 0, 3)]:
        prompts = Prompts.draw(side, objects, points, masked=False, seed=seed)
        random = np.random.default_rng(seed)
        prompts.labels[:1, :2] = torch.tensor([2, 3])[:points]  # a box
        masks = 5 * random.standard_normal((objects, 1, SIZE // 4, SIZE // 4)).astype(np.float32)
        has_mask = np.arange(objects) % 2
        logits, iou = decode(
            opened,
            prompts.embedding.numpy(),
            prompts.points.numpy(),
            prompts.labels.numpy().astype(np.int32),
            masks,
            has_mask.astype(np.float32),
        )
        for i in range(objects):
            one = Prompts(
                prompts.embedding,
                prompts.points[i : i + 1],
                prompts.labels[i : i + 1],
                torch.from_numpy(masks[i : i + 1]) if has_mask[i] else None,
            )
            exact, exact_iou = plain(models[kind], one)
            published, _ = plain(models[kind], one, torch.float32)
            allowed = max(1e-5, 2 * deviation(published, exact))
            assert deviation(torch.from_numpy(logits[i : i + 1]), exact) <= allowed
            np.testing.assert_allclose(iou[i : i + 1], exact_iou, atol=2e-6)

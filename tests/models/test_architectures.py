"""The table of architectures: every entry can be built and is recognised by its shapes."""

import subprocess
import sys
from collections import Counter
from functools import cache

import pytest
import torch
from torch import Tensor

from pocketsam.models import architectures
from pocketsam.models.architectures import ARCHITECTURES, Architecture, architecture_of, build, like
from pocketsam.models.encoders.vit import ViT
from pocketsam.models.layers import Shapes
from pocketsam.models.sam import Sam


@cache
def published(name: str) -> Sam:
    """An architecture at its usual size: shapes without numbers."""
    with torch.device("meta"):
        return ARCHITECTURES[name].build(ARCHITECTURES[name].config.image_size)


def shapes_of(state: dict[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return ARCHITECTURES[request.param]


def test_a_network_is_made_again_from_its_shapes(architecture: Architecture) -> None:
    sam = published(architecture.name)
    shapes = shapes_of(sam.state_dict())
    with torch.device("meta"):
        again = like(shapes, architecture.config.image_size)
    assert shapes_of(again.state_dict()) == shapes
    assert again.image_size == sam.image_size and again.variant == sam.variant == architecture.variant
    assert again.embedding_channels == sam.embedding_channels


def test_its_shapes_tell_its_published_name(architecture: Architecture) -> None:
    shapes = shapes_of(published(architecture.name).state_dict())
    assert architecture.detect(shapes)
    same = {"efficientnet_lite2": "pocket", "tiny_vit_5m": "mobile_sam"}  # other names of a published network
    expected = architecture.name if architecture.published else same.get(architecture.name, "")
    assert architecture_of(shapes) == expected
    name = "mask_decoder.iou_token.weight"
    assert architecture_of({key: shape for key, shape in shapes.items() if key != name}) == ""
    assert architecture_of({**shapes, name: (2, 256)}) == ""


def test_every_encoder_is_recognised_by_one_class_only(architecture: Architecture) -> None:
    shapes = shapes_of(published(architecture.name).image_encoder.state_dict())
    classes = {architectures._encoder_class(one.encoder) for one in ARCHITECTURES.values()}
    assert Counter(kind.matches(shapes) for kind in classes) == {True: 1, False: len(classes) - 1}


def test_the_embedding_is_the_neck_of_the_features(architecture: Architecture) -> None:
    with torch.device("meta"):
        encoder = architecture.build(64).image_encoder.eval()
        features = encoder.forward_features(torch.empty(2, 3, 64, 64))
        embedding = encoder.neck(*features)
    assert embedding.shape == (2, encoder.embedding_channels, 4, 4)
    sides = [features.shape[2] for features in features]
    assert sides == sorted(sides, reverse=True), "the finest first"


@torch.no_grad()
def test_the_vit_takes_any_subset_of_the_tokens() -> None:
    """As masked-image pretraining gives them: a token carries its position."""
    torch.manual_seed(0)
    encoder = ViT(64, depth=2, hidden=64).eval()
    torch.nn.init.normal_(encoder.pos_embed)
    tokens = encoder.tokens(torch.randn(1, 3, 64, 64))
    order = torch.randperm(tokens.shape[1])
    torch.testing.assert_close(encoder.attend(tokens[:, order]), encoder.attend(tokens)[:, order])
    assert encoder.attend(tokens[:, order[:5]]).shape == (1, 5, 64)


def test_a_new_architecture_is_an_encoder_and_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is added to the table is built, recognised and made again like the others."""
    small = Architecture(
        "small", "tiny_vit:TinyViT", {"widths": (8, 16, 32, 64), "heads": (1, 1, 1, 2)}, published=True
    )
    monkeypatch.setattr(architectures, "_TABLE", (*architectures._TABLE, small))
    monkeypatch.setitem(ARCHITECTURES, "small", small)
    shapes = shapes_of(build("small", 64).state_dict())
    assert architecture_of(shapes) == "small"
    assert shapes_of(like(shapes, 64).state_dict()) == shapes


def test_the_table_needs_no_pytorch() -> None:
    check = "import sys; import pocketsam.models.architectures; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)

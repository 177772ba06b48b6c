"""The pyramid fits every encoder that can be trained."""

import pytest
import torch

from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.models.heads.base import EncoderShape, encoder_shape
from pocketsam.models.heads.pyramid import FeaturePyramid

STRIDES = (4, 8, 16, 32, 64)


@pytest.mark.parametrize("name", ["patches", "vit_tiny", "tiny_vit_1m", "pocket", "sam_vit_b"])
def test_every_encoder_gets_all_levels(name: str) -> None:
    with torch.device("meta"):
        encoder = ARCHITECTURES[name].build_encoder(128)
        shape = encoder_shape(encoder, 128)
        pyramid = FeaturePyramid(shape, 32, STRIDES)
        levels = pyramid(encoder.forward_features(torch.empty(2, 3, 128, 128)))
    assert [level.shape for level in levels] == [(2, 32, 128 // stride, 128 // stride) for stride in STRIDES]
    assert pyramid.top_down == (name == "pocket")


def test_levels_come_from_the_map_of_their_stride() -> None:
    pyramid = FeaturePyramid(EncoderShape((8, 16), (8, 32)), 4, STRIDES, top_down=False)
    assert pyramid.sources == [0, 0, 0, 1, 1]
    maps = [torch.zeros(1, 8, 16, 16), torch.randn(1, 16, 4, 4)]
    before = pyramid(maps)
    after = pyramid([maps[0] + 1, maps[1]])
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [
        False,
        False,
        False,
        True,
        True,
    ]

"""Masked image modelling: what the encoder sees, and how the decoders complete it."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.models.encoders.vit import ViT
from pocketsam.models.layers import sine_positions
from pocketsam.models.masked import (
    AllTokenDecoder,
    CrossAttentionDecoder,
    CrossBlock,
    MaskedModel,
    merge,
)
from pocketsam.training.meter import floating_point_operations

DECODERS = (CrossAttentionDecoder, AllTokenDecoder)
VISIBLE = 4


def some_order(batch: int, patches: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(patches, generator=generator) for _ in range(batch)])


@pytest.fixture(params=DECODERS)
def model(request: pytest.FixtureRequest) -> MaskedModel:
    torch.manual_seed(0)
    decoder = request.param(64, side=4, width=32, depth=2)
    return MaskedModel(ViT(64, depth=2, hidden=64), decoder, 5).eval()


@torch.no_grad()
def test_masked_patches_never_reach_the_encoder(model: MaskedModel) -> None:
    pixels, order = torch.randn(2, 3, 64, 64), some_order(2, 16)
    changed = pixels.clone()
    for image, numbers in zip(changed, order, strict=True):
        for number in numbers[VISIBLE:]:
            row, column = 16 * (number // 4), 16 * (number % 4)
            image[:, row : row + 16, column : column + 16] = float("nan")
    encoder = model.image_encoder
    seen = [encoder.attend(encoder.tokens(x, order[:, :VISIBLE])) for x in (pixels, changed)]
    assert torch.equal(*seen)
    assert torch.equal(model(pixels, order, VISIBLE), model(changed, order, VISIBLE))
    assert changed.isnan().float().mean() == 0.75


@torch.no_grad()
def test_a_token_of_a_chosen_patch_is_that_of_the_whole_image() -> None:
    torch.manual_seed(0)
    encoder, pixels, order = ViT(64, depth=1, hidden=64), torch.randn(2, 3, 96, 96), some_order(2, 36)
    every = encoder.tokens(pixels)
    for tokens, whole, numbers in zip(encoder.tokens(pixels, order[:, :9]), every, order, strict=True):
        torch.testing.assert_close(tokens, whole[numbers[:9]], rtol=0, atol=1e-5)


def test_tokens_go_back_to_where_their_patches_are() -> None:
    """A literal transcription: the token that came i-th is that of patch order[i]."""
    tokens, order = torch.randn(3, 16, 7), some_order(3, 16)
    expected = torch.empty_like(tokens)
    for image in range(3):
        for i in range(16):
            expected[image, order[image, i]] = tokens[image, i]
    assert torch.equal(merge(tokens, order), expected)


@torch.no_grad()
def test_the_order_within_each_part_does_not_matter(model: MaskedModel) -> None:
    pixels, order = torch.randn(1, 3, 64, 64), some_order(1, 16)
    other = torch.cat([order[:, :VISIBLE].flip(1), order[:, VISIBLE:].flip(1)], 1)
    torch.testing.assert_close(model(pixels, order, VISIBLE), model(pixels, other, VISIBLE))


def literal_norm(x: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    scaled = (x - x.mean()) / np.sqrt(x.var() + norm.eps)
    return scaled * norm.weight.numpy() + norm.bias.numpy()


def literal_linear(x: np.ndarray, linear: nn.Linear) -> np.ndarray:
    return linear.weight.numpy() @ x + linear.bias.numpy()


def literal_block(block: CrossBlock, masked: list[np.ndarray], visible: list[np.ndarray]) -> list[np.ndarray]:
    """Queries are the masked tokens; keys and values the encoder's and the masked features; then the MLP."""
    width = len(masked[0])
    context = [literal_norm(x, block.norm1) for x in [*visible, *masked]]
    both = [literal_linear(x, block.attn.kv) for x in context]
    found = []
    for token, x in zip(context[len(visible) :], masked, strict=True):
        query, mixed = literal_linear(token, block.attn.q), np.zeros(width)
        channels = width // block.attn.heads
        for head in range(block.attn.heads):
            part = slice(head * channels, (head + 1) * channels)
            scores = np.array([query[part] @ kv[:width][part] / math.sqrt(channels) for kv in both])
            weights = np.exp(scores) / np.exp(scores).sum()
            mixed[part] = sum(w * kv[width:][part] for w, kv in zip(weights, both, strict=True))
        attended = x + literal_linear(mixed, block.attn.proj)
        hidden = literal_linear(literal_norm(attended, block.norm2), block.mlp.lin1)
        gelu = np.array([0.5 * h * (1 + math.erf(h / math.sqrt(2))) for h in hidden])
        found.append(attended + literal_linear(gelu, block.mlp.lin2))
    return found


@torch.no_grad()
def test_the_cross_attention_decoder_is_the_papers() -> None:
    """Section 3.2 in NumPy, a token at a time, in float64."""
    torch.manual_seed(0)
    decoder = CrossAttentionDecoder(8, side=3, width=64, depth=2).double()
    encoded, order, shown = torch.randn(2, 3, 8).double(), some_order(2, 9), 3
    found = decoder(encoded, order).numpy()
    positions = decoder.positions[0].numpy()
    norm, embed = decoder.embed
    for image, numbers in enumerate(order.tolist()):
        visible = [
            literal_linear(literal_norm(x, norm), embed) + positions[number]
            for x, number in zip(encoded[image].numpy(), numbers[:shown], strict=True)
        ]
        masked = [decoder.mask_token[0, 0].numpy() + positions[number] for number in numbers[shown:]]
        for block in decoder.blocks:
            masked = literal_block(block, masked, visible)
        for number, token in zip(numbers, [*visible, *masked], strict=True):
            np.testing.assert_allclose(found[image, number], literal_norm(token, decoder.norm), atol=1e-6)


def test_positions_are_sines_and_cosines() -> None:
    positions = sine_positions(3, 8)
    assert positions.shape == (9, 8)
    for row in range(3):
        for column in range(3):
            expected = []
            for place in (row, column):
                for wave in (math.sin, math.cos):
                    expected += [wave(place / 10_000 ** (k / 2)) for k in range(2)]
            torch.testing.assert_close(positions[3 * row + column], torch.tensor(expected))


def operations(step: Callable[..., Tensor], *arguments: object) -> int:
    """Of a step, forwards and backwards."""
    return floating_point_operations(lambda: step(*arguments).sum())


def test_a_step_with_three_quarters_masked_costs_a_quarter_of_the_encoder() -> None:
    """And the decoder, with EfficientSAM's sizes."""
    arguments = ARCHITECTURES["vit_tiny"].arguments
    encoder, decoder = ViT(**arguments), CrossAttentionDecoder(arguments["width"], side=14)
    model = MaskedModel(encoder, decoder, 256)
    pixels, order = torch.randn(1, 3, 224, 224), some_order(1, 196)
    encoded = torch.randn(1, 49, arguments["width"], requires_grad=True)
    whole = operations(lambda x: encoder.attend(encoder.tokens(x)), pixels)
    light = operations(lambda x, o: model.head(decoder(x, o)), encoded, order)
    step = operations(model, pixels, order, 49)
    assert step == pytest.approx(whole / 4 + light, rel=0.05)


@pytest.mark.parametrize("size", [64, 224, 512])
def test_the_encoder_takes_any_size(size: int) -> None:
    with torch.device("meta"):
        encoder = ViT(192, depth=1)
        assert encoder(torch.empty(1, 3, size, size)).shape == (1, 256, size // 16, size // 16)

"""Masked image modelling: an encoder that sees a part of an image, and a decoder that completes it.

The encoder is a ViT that is given the visible patches alone. A light decoder, which is thrown away afterwards, makes
a feature of every patch, and a linear head brings it to the target's width. There are two decoders:

    CrossAttentionDecoder   SAMI's (EfficientSAM, arXiv 2312.00863, section 3.2): only the masked patches are decoded
    AllTokenDecoder         that of masked autoencoders (MAE, arXiv 2111.06377, section 3): all patches are

An image's patches are given in an order of their own: first the visible ones, then those that are masked.
"""

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

from pocketsam.models.encoders.sam_vit import MLP
from pocketsam.models.encoders.vit import Block, ViT
from pocketsam.models.layers import attend, check_heads, initialise_linear, sine_positions, take

HEAD_WIDTH = 32


class MaskedModel(nn.Module):
    """Normalised pixels, of which only the visible patches are read -> a feature of every patch.

    Args:
        encoder: what is pretrained.
        decoder: what completes its features.
        channels: of the features, which are those of the target.
    """

    def __init__(self, encoder: ViT, decoder: "Decoder", channels: int) -> None:
        super().__init__()
        self.image_encoder, self.decoder = encoder, decoder
        self.head = nn.Linear(decoder.width, channels)
        self.head.apply(initialise_linear)

    def forward(self, pixels: Tensor, order: Tensor, visible: int) -> Tensor:
        """pixels (B, 3, S, S); order (B, L): the numbers of the patches, the `visible` ones first.

        Returns (B, L, channels), the patches row by row.
        """
        encoded = self.image_encoder.attend(self.image_encoder.tokens(pixels, order[:, :visible]))
        return cast(Tensor, self.head(self.decoder(encoded, order)))

    def encoder_weights(self) -> dict[str, Tensor]:
        """What pretraining is for: the encoder's weights without its neck, which took no part in it."""
        own = self.state_dict()
        return {n: t for n, t in own.items() if n.startswith("image_encoder.") and ".neck." not in n}


class Decoder(nn.Module, ABC):
    """From the encoder's visible tokens to a feature of every patch of a map of `side` x `side`.

    width, depth: of the decoder; a head of its attention has 32 channels.
    """

    def __init__(self, encoder_width: int, side: int, width: int = 512, depth: int = 8) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Sequential(nn.LayerNorm(encoder_width, eps=1e-6), nn.Linear(encoder_width, width))
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.register_buffer("positions", sine_positions(side, width)[None], persistent=False)
        self.blocks = nn.ModuleList(self.block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(initialise_linear)

    positions: Tensor

    @abstractmethod
    def block(self, width: int) -> nn.Module:
        """One of the decoder's blocks."""

    @abstractmethod
    def decode(self, visible: Tensor, masked: Tensor) -> Tensor:
        """Tokens with their positions, (B, V, width) and (B, M, width) -> both, (B, V + M, width)."""

    def forward(self, encoded: Tensor, order: Tensor) -> Tensor:
        """encoded (B, V, encoder's width), order (B, L) as `MaskedModel` has it -> (B, L, width), row by row."""
        positions = take(self.positions.expand(len(order), -1, -1), order)
        shown = encoded.shape[1]
        visible = self.embed(encoded) + positions[:, :shown]
        masked = self.mask_token + positions[:, shown:]
        return cast(Tensor, self.norm(merge(self.decode(visible, masked), order)))


class CrossAttentionDecoder(Decoder):
    """Only the masked tokens are decoded; the visible ones pass, as anchors that the encoder has made already."""

    def block(self, width: int) -> nn.Module:
        """See `Decoder.block`."""
        return CrossBlock(width, width // HEAD_WIDTH, 4 * width)

    def decode(self, visible: Tensor, masked: Tensor) -> Tensor:
        """See `Decoder.decode`."""
        for block in self.blocks:
            masked = block(masked, visible)
        return torch.cat([visible, masked], dim=1)


class AllTokenDecoder(Decoder):
    """Visible and masked tokens attend to each other, and all of them are decoded."""

    def block(self, width: int) -> nn.Module:
        """See `Decoder.block`."""
        return Block(width, width // HEAD_WIDTH, 4 * width)

    def decode(self, visible: Tensor, masked: Tensor) -> Tensor:
        """See `Decoder.decode`."""
        tokens = torch.cat([visible, masked], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


class CrossBlock(nn.Module):
    """Masked tokens attend to visible ones and to each other; then an MLP; each with its normalisation before it."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, hidden)

    def forward(self, masked: Tensor, visible: Tensor) -> Tensor:
        """masked (B, M, C), visible (B, V, C) -> (B, M, C)."""
        context = self.norm1(torch.cat([visible, masked], dim=1))
        masked = masked + self.attn(context[:, visible.shape[1] :], context)
        return masked + cast(Tensor, self.mlp(self.norm2(masked)))


class CrossAttention(nn.Module):
    """Attention of queries (B, M, C) to a context (B, L, C), which gives keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        q = self.q(queries).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(context).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = attend(q, k, v)
        return cast(Tensor, self.proj(x.transpose(1, 2).flatten(2)))


def merge(tokens: Tensor, order: Tensor) -> Tensor:
    """Tokens (B, L, C) that came in the order (B, L), back in the image's: token i goes to place order[i]."""
    return take(tokens, order.argsort(dim=1))

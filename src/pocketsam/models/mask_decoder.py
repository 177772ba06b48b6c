"""SAM's mask decoder (arXiv 2304.02643, appendix A): a two-way transformer between a few tokens and the image.

Shapes: B images, N objects an image, T tokens an object, P = g * g image cells, C = 256 channels.
Until the tokens have touched it, the image side is the same for all objects of an image; it then
keeps a broadcast axis of 1 in place of N, so that its projections are computed once an image.

EfficientSAM's decoder is the same but for three things, which its published code tells: GELU where SAM has ReLU, a
self-attention that keeps what it was given (in the first block too, and the prompt it added), and one normalisation
over the whole map in the upscaling.
"""

from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.layers import MLP, Activation, LayerNorm2d

Variant: TypeAlias = Literal["sam", "efficient_sam"]
"""Whose prompt encoder and mask decoder: SAM's or EfficientSAM's."""

MASK_TOKENS = 4  # one mask for an unambiguous prompt, three for an ambiguous one


def activation_of(variant: Variant) -> Activation:
    """ReLU in SAM's decoder, GELU in EfficientSAM's."""
    return F.relu if variant == "sam" else F.gelu


class Attention(nn.Module):
    """Multi-head attention between (B, N, …, C) and (B, N or 1, …, C), in a possibly narrower inner width."""

    def __init__(self, channels: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        self.heads = heads
        inner = channels // downsample
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, L, inner) -> (B, N, heads, L, inner / heads)."""
        return cast(Tensor, x.unflatten(-1, (self.heads, -1)).transpose(2, 3))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = self.split(self.q_proj(q)), self.split(self.k_proj(k)), self.split(self.v_proj(v))
        # Written out: one side always is a handful of tokens, so the scores are small, and this broadcasts
        # over N. Fused attention is made for long sequences; its backward pass here took five times as long.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        x = scores.softmax(-1).to(v.dtype) @ v
        return cast(Tensor, self.out_proj(x.transpose(2, 3).flatten(3)))


class TokenMLP(nn.Module):
    """The two-layer MLP of a transformer block."""

    def __init__(self, channels: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.lin1 = nn.Linear(channels, hidden)
        self.lin2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.lin2(self.activation(self.lin1(x))))


class TwoWayBlock(nn.Module):
    """Self-attention of the tokens, token-to-image attention, an MLP, and image-to-token attention."""

    def __init__(self, channels: int, heads: int, hidden: int, first: bool, variant: Variant) -> None:
        super().__init__()
        self.first, self.variant = first, variant
        self.self_attn = Attention(channels, heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = Attention(channels, heads, downsample=2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = TokenMLP(channels, hidden, activation_of(variant))
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = Attention(channels, heads, downsample=2)

    def forward(
        self, tokens: Tensor, image: Tensor, prompt: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """tokens, prompt: (B, N, T, C); image: (B, N or 1, P, C); positions: (1, 1, P, C)."""
        tokens = self.norm1(self.self_attention(tokens, prompt))
        with_positions = image + positions
        attended = self.cross_attn_token_to_image(tokens + prompt, with_positions, image)
        tokens = self.norm2(tokens + attended)
        tokens = self.norm3(tokens + self.mlp(tokens))
        attended = self.cross_attn_image_to_token(with_positions, tokens + prompt, tokens)
        return tokens, self.norm4(image + attended)

    def self_attention(self, tokens: Tensor, prompt: Tensor) -> Tensor:
        """Self-attention among the tokens (B, N, T, C), which in the first block still are the prompt."""
        if self.variant == "efficient_sam":
            tokens = tokens if self.first else tokens + prompt
            return tokens + cast(Tensor, self.self_attn(tokens, tokens, tokens))
        if self.first:  # there is nothing to add, and nothing to keep
            return cast(Tensor, self.self_attn(tokens, tokens, tokens))
        q = tokens + prompt
        return tokens + cast(Tensor, self.self_attn(q, q, tokens))


class TwoWayTransformer(nn.Module):
    """Two blocks, and a final attention from the tokens to the image."""

    def __init__(
        self, channels: int, variant: Variant, depth: int = 2, heads: int = 8, hidden: int = 2048
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(channels, heads, hidden, i == 0, variant) for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(channels, heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(self, prompt: Tensor, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        tokens = prompt
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompt, positions)
        attended = self.final_attn_token_to_image(tokens + prompt, image + positions, image)
        return self.norm_final_attn(tokens + attended), image


class MapNorm(nn.Module):
    """Group normalisation with one group, over channels and cells alike (N, C, H, W); one scale a channel."""

    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True).mean(1, keepdim=True)  # in two steps: a million numbers are many
        centred = x - mean
        variance = centred.square().mean((2, 3), keepdim=True).mean(1, keepdim=True)
        return centred * (variance + self.eps).rsqrt() * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class MaskDecoder(nn.Module):
    """Image embedding + prompt tokens -> four masks an object and the IoU it expects of each.

    variant: SAM's decoder or EfficientSAM's (see the top of this file).
    """

    def __init__(self, channels: int = 256, variant: Variant = "sam") -> None:
        super().__init__()
        activation = activation_of(variant)
        self.channels = channels
        self.transformer = TwoWayTransformer(channels, variant)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, 2),
            LayerNorm2d(channels // 4) if variant == "sam" else MapNorm(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(channels, channels, channels // 8, activation=activation) for _ in range(MASK_TOKENS)
        )
        self.iou_prediction_head = MLP(channels, channels, MASK_TOKENS, activation=activation)

    def forward(
        self, embedding: Tensor, dense: Tensor, sparse: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The masks of N objects in each of B images.

        embedding (B, C, g, g), or with finer maps after the C channels (see `finer_maps`); dense (B, N or 1, C, g or
        1, g or 1); sparse (B, N, T, C); positions (1, P, C) -> mask logits (B, N, 4, 4g, 4g), predicted IoU
        (B, N, 4), and the output tokens (B, N, 5, C) from which they are computed: that of the IoU, then one for each
        mask.
        """
        batch, objects = sparse.shape[:2]
        side = embedding.shape[-1]
        embedding, finer = embedding[:, : self.channels], embedding[:, self.channels :]
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        dtype = output_tokens.dtype  # of a model cast to half precision, whose positions stay float32
        sparse, positions = sparse.to(dtype), positions.to(dtype)
        tokens = torch.cat([output_tokens.expand(batch, objects, -1, -1), sparse], dim=2)
        image = (embedding[:, None] + dense).flatten(3).transpose(2, 3)  # (B, N or 1, P, C)
        tokens, image = self.transformer(tokens, image, positions[:, None])

        image = image.flatten(0, 1).transpose(1, 2).unflatten(2, (side, side))
        upscaled = self._upscale(image, finer)  # (B * N, C / 8, 4g, 4g)
        tokens = tokens[:, :, : 1 + MASK_TOKENS]
        masks = [mlp(tokens[:, :, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        # Pixel by pixel, as the channels of a pixel lie side by side in memory, and those of its gradient then do.
        pixels = upscaled.permute(0, 2, 3, 1).flatten(1, 2)
        logits = (pixels @ torch.stack(masks, dim=3).flatten(0, 1)).transpose(1, 2)
        logits = logits.reshape(batch, objects, MASK_TOKENS, 4 * side, 4 * side)
        return logits, self.iou_prediction_head(tokens[:, :, 0]), tokens

    def _upscale(self, image: Tensor, finer: Tensor) -> Tensor:
        """Cells (B * N, C, g, g) -> pixels (B * N, C / 8, 4g, 4g), with the image's finer maps added on the way."""
        convolution1, norm, activation1, convolution2, activation2 = self.output_upscaling
        if not finer.shape[1]:
            return cast(Tensor, self.output_upscaling(image))
        stride8, stride4 = finer_maps(finer, self.channels)
        pixels = activation1(norm(_add_to_each(convolution1(image), stride8)))
        return cast(Tensor, activation2(_add_to_each(convolution2(pixels), stride4)))


def _add_to_each(pixels: Tensor, of_image: Tensor) -> Tensor:
    """Maps of N objects in each of B images (B * N, C, H, W), and what is added to each image's (B, C, H, W)."""
    of_image = of_image.contiguous(memory_format=torch.channels_last)
    summed: Tensor = pixels.unflatten(0, (len(of_image), -1)) + of_image[:, None]
    return summed.flatten(0, 1)


def finer_maps(finer: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """The maps that an image embedding brings beside its `channels`, as they are added while masks are upscaled.

    finer (B, 3C, g, g): C / 4 channels of 2 x 2 pixels a cell, then C / 8 channels of 4 x 4 ->
    (B, C / 4, 2g, 2g), (B, C / 8, 4g, 4g).
    """
    return F.pixel_shuffle(finer[:, :channels], 2), F.pixel_shuffle(finer[:, channels:], 4)

"""SAM's mask decoder (arXiv 2304.02643, appendix A): a two-way transformer between a few tokens and the image.

Shapes: B images, N objects an image, T tokens an object, P = g * g image cells, C = 256 channels.
Until the tokens have touched it, the image side is the same for all objects of an image; it then
keeps a broadcast axis of 1 in place of N, so that its projections are computed once an image.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.layers import MLP, LayerNorm2d

MASK_TOKENS = 4  # one mask for an unambiguous prompt, three for an ambiguous one


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
        # Keys start as queries do, a little stronger than usual: from the first step on like attends to like,
        # and near to near, which a decoder that starts from scratch would have to find out first.
        with torch.no_grad():
            self.q_proj.weight.mul_(1.5)
            self.k_proj.weight.copy_(self.q_proj.weight)

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

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels, hidden)
        self.lin2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.lin2(F.relu(self.lin1(x))))


class TwoWayBlock(nn.Module):
    """Tokens look at each other, then at the image, think, and then the image looks at the tokens."""

    def __init__(self, channels: int, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(channels, heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = Attention(channels, heads, downsample=2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = TokenMLP(channels, hidden)
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = Attention(channels, heads, downsample=2)

    def forward(
        self, tokens: Tensor, image: Tensor, prompt: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """tokens, prompt: (B, N, T, C); image: (B, N or 1, P, C); positions: (1, 1, P, C)."""
        if self.first:  # the tokens still are the prompt: nothing to add, nothing to keep
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        else:
            q = tokens + prompt
            tokens = self.norm1(tokens + self.self_attn(q, q, tokens))
        placed = image + positions
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + prompt, placed, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(placed, tokens + prompt, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two blocks and a last look of the tokens at the image."""

    def __init__(self, channels: int = 256, depth: int = 2, heads: int = 8, hidden: int = 2048) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(channels, heads, hidden, i == 0) for i in range(depth))
        self.final_attn_token_to_image = Attention(channels, heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(self, prompt: Tensor, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        tokens = prompt
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompt, positions)
        look = self.final_attn_token_to_image(tokens + prompt, image + positions, image)
        return self.norm_final_attn(tokens + look), image


class MaskDecoder(nn.Module):
    """Image embedding + prompt tokens -> four masks an object and the IoU it expects of each."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(channels)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, 2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(channels, channels, channels // 8) for _ in range(MASK_TOKENS)
        )
        self.iou_prediction_head = MLP(channels, channels, MASK_TOKENS)

    def forward(
        self, embedding: Tensor, dense: Tensor, sparse: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The masks of N objects in each of B images.

        embedding (B, C, g, g); dense (B, N or 1, C, g or 1, g or 1); sparse (B, N, T, C);
        positions (1, P, C) -> mask logits (B, N, 4, 4g, 4g), predicted IoU (B, N, 4).
        """
        batch, objects = sparse.shape[:2]
        side = embedding.shape[-1]
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(batch, objects, -1, -1), sparse], dim=2)
        image = (embedding[:, None] + dense).flatten(3).transpose(2, 3)  # (B, N or 1, P, C)
        tokens, image = self.transformer(tokens, image, positions[:, None])

        image = image.flatten(0, 1).transpose(1, 2).unflatten(2, (side, side))
        upscaled = self.output_upscaling(image).flatten(2)  # (B * N, C / 8, 16 * P)
        masks = [mlp(tokens[:, :, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        logits = torch.stack(masks, dim=2).flatten(0, 1) @ upscaled
        logits = logits.view(batch, objects, MASK_TOKENS, 4 * side, 4 * side)
        return logits, self.iou_prediction_head(tokens[:, :, 0])

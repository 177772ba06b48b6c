"""`TwoWayTransformer`: attention between a few tokens and the image, with the published constructor and parts.

At inference `models/factored.py` computes the same with less arithmetic, where no client has changed anything.
"""

import math
from typing import cast

from torch import Tensor, nn

from pocketsam.compat.modeling.common import MLPBlock


class TwoWayTransformer(nn.Module):
    """Blocks of attention in both directions, and a final attention from the tokens to the image."""

    def __init__(
        self,
        depth: int,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int,
        activation: type[nn.Module] = nn.ReLU,
        attention_downsample_rate: int = 2,
    ) -> None:
        super().__init__()
        self.depth, self.embedding_dim = depth, embedding_dim
        self.num_heads, self.mlp_dim = num_heads, mlp_dim
        rate = attention_downsample_rate
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(embedding_dim, num_heads, mlp_dim, activation, rate, i == 0)
            for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(embedding_dim, num_heads, rate)
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """image_embedding, image_pe (B, C, h, w), point_embedding (B, T, C) -> tokens, cells (B, h * w, C)."""
        cells = image_embedding.flatten(2).transpose(1, 2)
        positions = image_pe.flatten(2).transpose(1, 2)
        tokens = point_embedding
        for layer in self.layers:
            tokens, cells = layer(queries=tokens, keys=cells, query_pe=point_embedding, key_pe=positions)
        attended = self.final_attn_token_to_image(tokens + point_embedding, cells + positions, cells)
        return self.norm_final_attn(tokens + attended), cells


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of the tokens, token-to-image attention, an MLP, and image-to-token attention.

    skip_first_layer_pe: whether self-attention gets the tokens alone, without their positions, and keeps nothing of
    them, as in the first block.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int = 2048,
        activation: type[nn.Module] = nn.ReLU,
        attention_downsample_rate: int = 2,
        skip_first_layer_pe: bool = False,
    ) -> None:
        super().__init__()
        self.self_attn = Attention(embedding_dim, num_heads)
        self.norm1 = nn.LayerNorm(embedding_dim)
        self.cross_attn_token_to_image = Attention(embedding_dim, num_heads, attention_downsample_rate)
        self.norm2 = nn.LayerNorm(embedding_dim)
        self.mlp = MLPBlock(embedding_dim, mlp_dim, activation)
        self.norm3 = nn.LayerNorm(embedding_dim)
        self.norm4 = nn.LayerNorm(embedding_dim)
        self.cross_attn_image_to_token = Attention(embedding_dim, num_heads, attention_downsample_rate)
        self.skip_first_layer_pe = skip_first_layer_pe

    def extra_repr(self) -> str:
        return f"skip_first_layer_pe={self.skip_first_layer_pe}"

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """queries, query_pe: tokens (B, T, C); keys, key_pe: image cells (B, P, C)."""
        if self.skip_first_layer_pe:
            queries = self.self_attn(queries, queries, queries)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries)
        queries = self.norm1(queries)
        with_positions = keys + key_pe
        queries = queries + self.cross_attn_token_to_image(queries + query_pe, with_positions, keys)
        queries = self.norm2(queries)
        queries = self.norm3(queries + self.mlp(queries))
        keys = keys + self.cross_attn_image_to_token(with_positions, queries + query_pe, queries)
        return queries, self.norm4(keys)


class Attention(nn.Module):
    """Multi-head attention between (B, L, C) and (B, M, C), with an inner width of C / downsample_rate."""

    def __init__(self, embedding_dim: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        self.embedding_dim, self.num_heads = embedding_dim, num_heads
        self.internal_dim = embedding_dim // downsample_rate
        assert self.internal_dim % num_heads == 0, "num_heads must divide embedding_dim."
        self.q_proj = nn.Linear(embedding_dim, self.internal_dim)
        self.k_proj = nn.Linear(embedding_dim, self.internal_dim)
        self.v_proj = nn.Linear(embedding_dim, self.internal_dim)
        self.out_proj = nn.Linear(self.internal_dim, embedding_dim)

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}"

    def _separate_heads(self, x: Tensor, num_heads: int) -> Tensor:
        """(B, L, inner) -> (B, heads, L, inner / heads)."""
        return cast(Tensor, x.unflatten(2, (num_heads, -1)).transpose(1, 2))

    def _recombine_heads(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = self._separate_heads(self.q_proj(q), self.num_heads)
        k = self._separate_heads(self.k_proj(k), self.num_heads)
        v = self._separate_heads(self.v_proj(v), self.num_heads)
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        return cast(Tensor, self.out_proj(self._recombine_heads(scores.softmax(-1) @ v)))

"""The attention layers of the factored decoder (`factored.py`), as functions of a published layer and its inputs.

The names of shapes are those of factored.py: N prompts, T tokens, H heads of D channels, C channels, P cells of the
image, and R coefficients a cell. In comments x' is the transpose of x.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.layers import MLP, LayerNorm2d
from pocketsam.models.mask_decoder import Attention, MapNorm, TwoWayBlock

LOWEST_SCORE = -36.0
"""Attention scores further below the largest are raised to this distance from it: e^-36 is 2e-16, nothing beside 1.
Softmax of lower scores gives denormal numbers, for which processors take many times as long."""


class Cells(NamedTuple):
    """The cells of an image after prompts have been attended to: scale * base + coefficients' basis + constant."""

    scale: Tensor  # (N, 1, P)
    coefficients: Tensor  # (N, R, P)
    basis: Tensor  # (N, R, C)
    constant: Tensor  # (C,)


def self_attention(block: TwoWayBlock, tokens: Tensor, prompt: Tensor) -> Tensor:
    """Self-attention among the tokens (N, T, C), and the normalisation after it."""
    return cast(Tensor, block.norm1(block.self_attention(tokens[:, None], prompt[:, None])[:, 0]))


def token_to_image_first(attention: Attention, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Cross-attention from tokens (N, T, C) to cells that no prompt has changed; keys and values (1, H, D, P)."""
    weights = softmax_over_cells(queries_of(attention, tokens) @ keys)  # (N, H, T, P)
    return merge_heads(attention, weights @ values.transpose(2, 3))


def token_to_image(
    attention: Attention, tokens: Tensor, keys: Tensor, key_positions: Tensor, values: Tensor, cells: Cells
) -> Tensor:
    """Cross-attention from tokens (N, T, C) to changed cells; keys, positions and values are those of the base."""
    queries = queries_of(attention, tokens)
    scores = attention_scores(queries, keys, key_positions, attention.k_proj.weight, cells)
    weights = softmax_over_cells(scores)  # (N, R, P)
    of_base = (weights * cells.scale).unflatten(1, (attention.heads, -1)) @ values.transpose(2, 3)
    of_basis = (weights @ cells.coefficients.transpose(1, 2) @ cells.basis).unflatten(
        1, (attention.heads, -1)
    )
    attended = of_base + of_basis @ rows_by_head(attention, attention.v_proj.weight).transpose(1, 2)
    return merge_heads(attention, attended, attention.v_proj(cells.constant))


def attention_scores(tokens: Tensor, base: Tensor, positions: Tensor, weight: Tensor, cells: Cells) -> Tensor:
    """Inner products of projected tokens (N, H, T, D) with the cells, projected by `weight`: (N, H * T, P)."""
    basis = (tokens @ weight.unflatten(0, (tokens.shape[1], -1))).flatten(1, 2) @ cells.basis.transpose(1, 2)
    scores = cells.scale * (tokens @ base).flatten(1, 2) + (tokens @ positions).flatten(1, 2)
    return cast(Tensor, scores + basis @ cells.coefficients)


def softmax_over_cells(scores: Tensor) -> Tensor:
    """Softmax over the last axis."""
    return torch.maximum(scores, scores.amax(-1, keepdim=True) + LOWEST_SCORE).softmax(-1)


def softmax_over_tokens(scores: Tensor) -> Tensor:
    """Softmax over the tokens of (N, H, T, P), as (N, H * T, P). Step by step, so that P stays the last axis."""
    powers = (scores - scores.amax(2, keepdim=True)).clamp(min=LOWEST_SCORE).exp()
    return (powers / powers.sum(2, keepdim=True)).flatten(1, 2)


def added_squares(coefficients: Tensor, basis: Tensor, products: Tensor) -> Tensor:
    """|base + coefficients' basis|² - |base|² of each cell, (N, 1, P), where products = basis base' (N, R, P)."""
    added = coefficients * (basis @ basis.transpose(1, 2) @ coefficients + 2 * products)
    return at_least_float32(added).sum(1, keepdim=True)


def inverse_deviation(norm: nn.LayerNorm, squared_norms: Tensor) -> Tensor:
    """The factor by which a layer normalisation scales a centred cell, given the sum of the cell's squares."""
    return (squared_norms / norm.normalized_shape[0] + norm.eps).rsqrt().to(norm.weight.dtype)


def normalise_upscaled(norm: nn.Module, pixels: Tensor) -> Tensor:
    """The upscaling's normalisation of (N, P, 4, C / 4)."""
    if isinstance(norm, LayerNorm2d):
        return F.layer_norm(pixels, norm.weight.shape, norm.weight, norm.bias, norm.eps)
    norm = cast(MapNorm, norm)
    centred_pixels = pixels - pixels.mean((2, 3), keepdim=True).mean(1, keepdim=True)
    variance = centred_pixels.square().mean((2, 3), keepdim=True).mean(1, keepdim=True)
    return centred_pixels * (variance + norm.eps).rsqrt() * norm.weight + norm.bias


def stacked_mlps(mlps: nn.ModuleList, x: Tensor) -> Tensor:
    """One MLP for each token, all in one product: (N, K, C) -> (N, K, C')."""
    mlps_ = [cast(MLP, mlp) for mlp in mlps]
    x = x.transpose(0, 1)
    for depth, layers in enumerate(zip(*(mlp.layers for mlp in mlps_), strict=True)):
        weight = torch.stack([cast(nn.Linear, layer).weight.t() for layer in layers])
        bias = torch.stack([cast(nn.Linear, layer).bias for layer in layers])[:, None]
        x = (mlps_[0].activation(x) if depth else x) @ weight + bias
    return x.transpose(0, 1)


def centred_output(attention: Attention) -> Tensor:
    """The output projection (H * D, C), centred, so that what it adds to a cell leaves the cell's mean as it is."""
    return centred(attention.out_proj.weight.t())


def centred(x: Tensor) -> Tensor:
    """Without the mean over the last axis."""
    return x - x.mean(-1, keepdim=True)


def squared_norms(cells: Tensor) -> Tensor:
    """The sum of squares of each cell: (1, P, C) -> (1, 1, P)."""
    return at_least_float32(cells).square().sum(-1)[:, None]


def at_least_float32(x: Tensor) -> Tensor:
    """In float32 or wider: sums of squares cancel, and half precision has too few digits for that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def queries_of(attention: Attention, tokens: Tensor) -> Tensor:
    """The queries of tokens, scaled for attention: (N, T, C) -> (N, H, T, D)."""
    queries = split_heads(attention, attention.q_proj(tokens))
    return cast(Tensor, queries * (attention.k_proj.out_features // attention.heads) ** -0.5)


def keys_of(attention: Attention, tokens: Tensor) -> Tensor:
    """The keys of tokens, scaled in place of the queries, which are many: (N, T, C) -> (N, H, T, D)."""
    keys = split_heads(attention, attention.k_proj(tokens))
    return cast(Tensor, keys * (attention.k_proj.out_features // attention.heads) ** -0.5)


def split_heads(attention: Attention, x: Tensor) -> Tensor:
    """(N, T, H * D) -> (N, H, T, D)."""
    return cast(Tensor, x.unflatten(-1, (attention.heads, -1)).transpose(1, 2))


def merge_heads(attention: Attention, x: Tensor, constant: Tensor | float = 0.0) -> Tensor:
    """The output projection of all heads side by side, plus a constant: (N, H, T, D) -> (N, T, C)."""
    return cast(Tensor, attention.out_proj(x.transpose(1, 2).flatten(2) + constant))


def rows_by_head(attention: Attention, weight: Tensor) -> Tensor:
    """(H * D, C) -> (H, D, C)."""
    return cast(Tensor, weight.unflatten(0, (attention.heads, -1)))


def project_cells(attention: Attention, cells: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Cells (1, P, C), projected by (H * D, C): (1, H, D, P)."""
    return cast(Tensor, F.linear(cells, weight, bias).transpose(1, 2).unflatten(1, (attention.heads, -1)))

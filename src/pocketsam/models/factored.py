"""The mask decoder at a third of its work, exactly: for inference, where many prompts meet one image.

In the two-way transformer (`mask_decoder.py`) a handful of tokens meets thousands of image cells, and each prompt
has copies of all cells made, projected and normalised. None of that is needed, by algebra alone:

- All that a layer asks of the cells is linear in them, but for softmax and normalisation. So the cells of an image,
  before any prompt, are projected once by every matrix that will ever meet them: `prepare`.
- What the tokens write into a cell is a sum over heads and tokens, weighted by that cell's attention: a product of
  few channels, T * heads = 56 for a click. It is never multiplied out. After each layer the cells are

      cells = scale * base + channels' basis + constant,

  where `base` is the image's, known by its projections only; `scale` is a number a cell, the normalisation's; and
  `channels` and `basis` are the prompt's. A linear map of them is the map of `base`, looked up, and of `basis`,
  which is small.
- Layer normalisation needs each cell's mean and variance. Centring is linear, and is done to the weights; the
  variance of a sum of products is the sum of the products' inner products.

`ask` says how good a prompt's four masks would be, `draw` makes them: nobody needs to draw what will be dropped.
What softmax makes no difference to is left out: a score that all cells share.

Shapes: N prompts on one image, T tokens, H heads of D channels, C = 256 channels, P = g * g cells, R = T * H or
twice as many. In the comments x' is the transpose.
"""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.layers import MLP, LayerNorm2d
from pocketsam.models.mask_decoder import MASK_TOKENS, Attention, MapNorm, TwoWayBlock
from pocketsam.models.prompt_encoder import PromptEncoder
from pocketsam.models.sam import Sam

FAR = 36.0
"""Scores further below the largest count as if they were here: 2e-16 of it, which is nothing. What sharp attention
makes of them otherwise is too small for a normal number, and processors take many times as long over such."""


class PreparedImage(NamedTuple):
    """What `ask` and `draw` need to know of an image: projections of its cells, (1, H, D, P) unless said otherwise.

    The first layer's cells are the embedding itself; `squares` are sums over channels, (1, 1, P). `written` are what
    inner products with a layer's output projection come to. `places` are of the positions alone.
    """

    keys1: Tensor
    values1: Tensor
    queries1: Tensor
    written1: Tensor
    squares1: Tensor
    keys2: Tensor
    key_places2: Tensor
    values2: Tensor
    queries2: Tensor
    query_places2: Tensor
    written1_again: Tensor
    written2: Tensor
    constant2: Tensor  # (1, 1, P)
    squares2: Tensor
    keys3: Tensor
    key_places3: Tensor
    values3: Tensor
    upscaled: Tensor  # (1, P, 4 * C / 4), the first upscaling, pixel by pixel of each cell
    finer8: Tensor  # (1, P or 1, 4 * C / 4), what is added to it for every prompt
    finer4: Tensor  # (1, P or 1, 4, 4 * C / 8), and to the second upscaling


class Prediction(NamedTuple):
    """What `ask` found out, and `draw` needs: (N, …)."""

    predicted_iou: Tensor  # (N, 4)
    kernels: Tensor  # (N, 4, C / 8), what the hypernetworks make of the mask tokens
    scale: Tensor  # (N, 1, P)
    channels: Tensor  # (N, R, P)
    basis: Tensor  # (N, R, 4 * C / 4), already upscaled


class Cells(NamedTuple):
    """The cells of an image as prompts have left them: scale * base + channels' basis + constant."""

    scale: Tensor  # (N, 1, P)
    channels: Tensor  # (N, R, P)
    basis: Tensor  # (N, R, C)
    constant: Tensor  # (C,)


class FactoredDecoder(nn.Module):
    """`Sam.decode` for N prompts on one image, in three steps, with the model's own weights."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam
        self.decoder = sam.mask_decoder
        transformer = sam.mask_decoder.transformer
        self.first, self.second = (cast(TwoWayBlock, layer) for layer in transformer.layers)
        self.last = transformer.final_attn_token_to_image

    def prepare(
        self, embedding: Tensor, mask_input: Tensor | None = None, has_mask: Tensor | None = None
    ) -> PreparedImage:
        """Everything about an image that no prompt changes.

        embedding (1, C, g, g), or with finer maps (see `mask_decoder.finer_maps`); mask_input (1, 1, 4g, 4g): logits
        of a former answer, a prompt that does change the image, so that it has a preparation of its own; has_mask
        (1,): 0 where there is none after all.
        """
        first, second, last = self.first, self.second, self.last
        positions = self.sam.prompt_encoder.dense_positions(embedding.shape[-1]).to(embedding.dtype)
        embedding, finer = embedding[:, : self.decoder.channels], embedding[:, self.decoder.channels :]
        finer8, finer4 = self._finer(finer)
        cells = (embedding + self._dense(mask_input, has_mask)).flatten(2).transpose(1, 2)  # (1, P, C)
        placed = cells + positions

        look1, look2 = first.cross_attn_token_to_image, second.cross_attn_token_to_image
        tell1, tell2 = first.cross_attn_image_to_token, second.cross_attn_image_to_token
        written1, written2 = _written(tell1), _written(tell2)
        raw = _centred(cells + tell1.out_proj.bias)
        base1 = raw * first.norm4.weight
        centred1 = _centred(base1)
        base2 = centred1 * second.norm4.weight
        return PreparedImage(
            keys1=_heads(look1, placed, look1.k_proj.weight),
            values1=_heads(look1, cells, look1.v_proj.weight, look1.v_proj.bias),
            queries1=_heads(tell1, placed, tell1.q_proj.weight, tell1.q_proj.bias),
            written1=_heads(tell1, raw, written1),
            squares1=_squares(raw),
            keys2=_heads(look2, base1, look2.k_proj.weight),
            key_places2=_heads(look2, positions, look2.k_proj.weight),
            values2=_heads(look2, base1, look2.v_proj.weight),
            queries2=_heads(tell2, base1, tell2.q_proj.weight),
            query_places2=_heads(tell2, positions + first.norm4.bias, tell2.q_proj.weight, tell2.q_proj.bias),
            written1_again=_heads(tell1, centred1 * first.norm4.weight, written1),
            written2=_heads(tell2, centred1, written2),
            constant2=(centred1 @ self._constant())[:, None],
            squares2=_squares(centred1),
            keys3=_heads(last, base2, last.k_proj.weight),
            key_places3=_heads(last, positions, last.k_proj.weight),
            values3=_heads(last, base2, last.v_proj.weight),
            upscaled=F.linear(base2, self._upscale()),
            finer8=finer8,
            finer4=finer4,
        )

    def predict_iou(self, image: PreparedImage, points: Tensor, labels: Tensor) -> Prediction:
        """How good the four masks of each prompt would be, and all it takes to draw them.

        points (N, K, 2) in input pixels; labels (N, K): 1 foreground, 0 background, -1 padding, 2 and 3 box corners.
        """
        decoder, first, second = self.decoder, self.first, self.second
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        sparse = self.sam.prompt_encoder.points(points, labels, self.sam.image_size).to(own.dtype)
        prompt = torch.cat([own.expand(sparse.shape[0], -1, -1), sparse], dim=1)

        tokens = _talk(first, prompt, prompt)
        look = first.cross_attn_token_to_image
        tokens = first.norm2(tokens + _look_first(look, tokens + prompt, image))
        tokens = first.norm3(tokens + first.mlp(tokens))
        once, values = self._write_once(tokens, prompt, image)

        tokens = _talk(second, tokens, prompt)
        look, sides = second.cross_attn_token_to_image, (image.keys2, image.key_places2, image.values2)
        tokens = second.norm2(tokens + _look(look, tokens + prompt, *sides, once))
        tokens = second.norm3(tokens + second.mlp(tokens))
        twice = self._write_twice(tokens, prompt, image, once, values)

        # The prompt's own tokens have said what they had to say.
        tokens, prompt = tokens[:, : len(own)], prompt[:, : len(own)]
        sides = image.keys3, image.key_places3, image.values3
        tokens = tokens + _look(self.last, tokens + prompt, *sides, twice)
        tokens = decoder.transformer.norm_final_attn(tokens)
        return Prediction(
            decoder.iou_prediction_head(tokens[:, 0]),
            _side_by_side(decoder.output_hypernetworks_mlps, tokens[:, 1:]),
            twice.scale,
            twice.channels,
            F.linear(twice.basis, self._upscale()),
        )

    def decode_masks(
        self,
        upscaled: Tensor,
        finer8: Tensor,
        finer4: Tensor,
        kernels: Tensor,
        scale: Tensor,
        channels: Tensor,
        basis: Tensor,
    ) -> Tensor:
        """The four masks of each prompt as logits (N, 4, 4g, 4g), from the last fields of `PreparedImage` and
        of `Prediction`.

        Both transposed convolutions have strides as large as their kernels: each cell becomes 2 x 2 pixels by
        itself, a product, and the pixels find their places at the very end, when there are only the logits to move.
        """
        _, norm, _, widen_again, _ = self.decoder.output_upscaling
        assert isinstance(widen_again, nn.ConvTranspose2d)
        pixels = scale.transpose(1, 2) * upscaled + channels.transpose(1, 2) @ basis
        pixels = F.gelu(_normalise(norm, (pixels + finer8).unflatten(2, (4, -1))))  # (N, P, 4, C / 4)
        again = widen_again.weight.permute(0, 2, 3, 1).flatten(1)  # (C / 4, 4 * C / 8)
        pixels = F.gelu(pixels @ again + finer4)
        pixels = pixels.unflatten(3, (4, -1)).flatten(1, 3)  # (N, P * 16, C / 8)
        side = math.isqrt(upscaled.shape[1])
        logits = (pixels @ kernels.transpose(1, 2)).view(-1, side, side, 2, 2, 2, 2, MASK_TOKENS)
        return cast(
            Tensor, logits.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(-1, MASK_TOKENS, 4 * side, 4 * side)
        )

    def _finer(self, finer: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to every prompt's pixels in each upscaling: biases and, if there are any, finer maps."""
        widen, _, _, widen_again, _ = self.decoder.output_upscaling
        assert isinstance(widen, nn.ConvTranspose2d) and isinstance(widen_again, nn.ConvTranspose2d)
        assert widen.bias is not None and widen_again.bias is not None
        bias8 = F.linear(self.second.norm4.bias, self._upscale()) + widen.bias.repeat(4)
        bias4 = widen_again.bias.repeat(4)
        if not finer.shape[1]:
            return bias8.view(1, 1, -1), bias4.view(1, 1, 1, -1)
        of_cells = finer.flatten(2).transpose(1, 2)  # (1, P, 3C), as `torch.pixel_unshuffle` orders them
        channels = self.decoder.channels
        stride8 = of_cells[..., :channels].unflatten(2, (-1, 4)).transpose(2, 3).flatten(2)
        # From (channel, y of 4, x of 4) to the order of two upscalings: (y, x), and then (y, x, channel).
        stride4 = of_cells[..., channels:].unflatten(2, (-1, 2, 2, 2, 2)).permute(0, 1, 3, 5, 4, 6, 2)
        return stride8 + bias8, stride4.flatten(4).flatten(2, 3).flatten(3) + bias4

    def _write_once(self, tokens: Tensor, prompt: Tensor, image: PreparedImage) -> tuple[Cells, Tensor]:
        """The image looks at the tokens; the cells of the second layer, and the values written (N, H, T, D)."""
        tell, norm = self.first.cross_attn_image_to_token, self.first.norm4
        keys, values = _keys(tell, tokens + prompt), _split(tell, tell.v_proj(tokens))
        channels = _over_tokens(keys @ image.queries1)
        basis = (values @ _by_head(tell, _written(tell))).flatten(1, 2)  # (N, R, C), centred
        met = (values @ image.written1).flatten(1, 2)
        scale = _per_deviation(norm, image.squares1 + _squares_added(channels, basis, met))
        return Cells(scale, scale * channels, basis * norm.weight, norm.bias), values

    def _write_twice(
        self, tokens: Tensor, prompt: Tensor, image: PreparedImage, once: Cells, values1: Tensor
    ) -> Cells:
        """The image looks at the tokens again; the cells that the tokens take a last look at."""
        tell, norm = self.second.cross_attn_image_to_token, self.second.norm4
        keys, values = _keys(tell, tokens + prompt), _split(tell, tell.v_proj(tokens))
        scores = _meet(keys, image.queries2, image.query_places2, tell.q_proj.weight, once)
        # In each head a cell's weights sum to 1, so a constant in equal shares for all heads is written to all cells.
        basis = (values @ _by_head(tell, _written(tell))).flatten(1, 2) + self._constant()
        channels = torch.cat([once.channels, _over_tokens(scores.unflatten(1, (tell.heads, -1)))], 1)
        basis = torch.cat([_centred(once.basis), basis], 1)
        met_first = (values1 @ image.written1_again).flatten(1, 2)
        met = torch.cat([met_first, (values @ image.written2).flatten(1, 2) + image.constant2], 1)
        squares = once.scale.square() * image.squares2 + _squares_added(channels, basis, once.scale * met)
        scale = _per_deviation(norm, squares)
        return Cells(once.scale * scale, scale * channels, basis * norm.weight, norm.bias)

    def _constant(self) -> Tensor:
        """A head's share of what the first normalisation and the second output projection add to all cells: (C,)."""
        tell = self.second.cross_attn_image_to_token
        return _centred(self.first.norm4.bias + tell.out_proj.bias) / tell.heads

    def _dense(self, mask_input: Tensor | None, has_mask: Tensor | None) -> Tensor:
        """What is added to the embedding: (1, C, 1 or g, 1 or g)."""
        encoder = self.sam.prompt_encoder
        if mask_input is None or not isinstance(encoder, PromptEncoder):
            return encoder.no_mask()
        return encoder.masks(mask_input, mask_input.new_ones(1) if has_mask is None else has_mask)

    def _upscale(self) -> Tensor:
        """The first transposed convolution as a matrix, (4 * C / 4, C): four pixels, one after the other."""
        weight = cast(nn.ConvTranspose2d, self.decoder.output_upscaling[0]).weight  # (C, C / 4, 2, 2)
        return weight.permute(2, 3, 1, 0).flatten(0, 2)


def _talk(block: TwoWayBlock, tokens: Tensor, prompt: Tensor) -> Tensor:
    """The tokens (N, T, C) look at each other."""
    return cast(Tensor, block.norm1(block.look_at_each_other(tokens[:, None], prompt[:, None])[:, 0]))


def _look_first(look: Attention, tokens: Tensor, image: PreparedImage) -> Tensor:
    """The tokens look at an image that nothing has been written into."""
    weights = _over_cells(_queries(look, tokens) @ image.keys1)  # (N, H, T, P)
    return _join(look, weights @ image.values1.transpose(2, 3))


def _look(
    look: Attention, tokens: Tensor, keys: Tensor, places: Tensor, values: Tensor, cells: Cells
) -> Tensor:
    """The tokens look at the cells; keys, places and values are those of `PreparedImage`."""
    queries = _queries(look, tokens)
    weights = _over_cells(_meet(queries, keys, places, look.k_proj.weight, cells))  # (N, R, P)
    prepared = (weights * cells.scale).unflatten(1, (look.heads, -1)) @ values.transpose(2, 3)
    added = (weights @ cells.channels.transpose(1, 2) @ cells.basis).unflatten(1, (look.heads, -1))
    prepared = prepared + added @ _by_head(look, look.v_proj.weight).transpose(1, 2)
    return _join(look, prepared, look.v_proj(cells.constant))


def _meet(asking: Tensor, base: Tensor, places: Tensor, weight: Tensor, cells: Cells) -> Tensor:
    """Inner products of the tokens' (N, H, T, D) with the cells', projected by `weight`: (N, T * H, P)."""
    basis = (asking @ weight.unflatten(0, (asking.shape[1], -1))).flatten(1, 2) @ cells.basis.transpose(1, 2)
    met = cells.scale * (asking @ base).flatten(1, 2) + (asking @ places).flatten(1, 2)
    return cast(Tensor, met + basis @ cells.channels)


def _over_cells(scores: Tensor) -> Tensor:
    """Softmax over the last axis."""
    return torch.maximum(scores, scores.amax(-1, keepdim=True) - FAR).softmax(-1)


def _over_tokens(scores: Tensor) -> Tensor:
    """Softmax over the tokens of (N, H, T, P), as (N, H * T, P); step by step, for P stays the last axis."""
    powers = (scores - scores.amax(2, keepdim=True)).clamp(min=-FAR).exp()
    return (powers / powers.sum(2, keepdim=True)).flatten(1, 2)


def _squares_added(channels: Tensor, basis: Tensor, met: Tensor) -> Tensor:
    """How much |base + channels' basis|² is more than |base|² in each cell, (N, 1, P), where met = basis base'."""
    added = channels * (basis @ basis.transpose(1, 2) @ channels + 2 * met)
    return _wide(added).sum(1, keepdim=True)


def _per_deviation(norm: nn.LayerNorm, squares: Tensor) -> Tensor:
    """What a normalisation multiplies a centred cell by, given the sum of its squares."""
    return (squares / norm.normalized_shape[0] + norm.eps).rsqrt().to(norm.weight.dtype)


def _normalise(norm: nn.Module, pixels: Tensor) -> Tensor:
    """The upscaling's normalisation of (N, P, 4, C / 4)."""
    if isinstance(norm, LayerNorm2d):
        return F.layer_norm(pixels, norm.weight.shape, norm.weight, norm.bias, norm.eps)
    norm = cast(MapNorm, norm)
    centred = pixels - pixels.mean((2, 3), keepdim=True).mean(1, keepdim=True)
    variance = centred.square().mean((2, 3), keepdim=True).mean(1, keepdim=True)
    return centred * (variance + norm.eps).rsqrt() * norm.weight + norm.bias


def _side_by_side(mlps: nn.ModuleList, x: Tensor) -> Tensor:
    """One MLP a token, all at once: (N, K, C) -> (N, K, C')."""
    mlps_ = [cast(MLP, mlp) for mlp in mlps]
    x = x.transpose(0, 1)
    for depth, layers in enumerate(zip(*(mlp.layers for mlp in mlps_), strict=True)):
        weight = torch.stack([cast(nn.Linear, layer).weight.t() for layer in layers])
        bias = torch.stack([cast(nn.Linear, layer).bias for layer in layers])[:, None]
        x = (mlps_[0].activation(x) if depth else x) @ weight + bias
    return x.transpose(0, 1)


def _written(tell: Attention) -> Tensor:
    """The projection of what is written into cells, so that their mean over channels stays: (H * D, C)."""
    return _centred(tell.out_proj.weight.t())


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def _squares(cells: Tensor) -> Tensor:
    """(1, P, C) -> (1, 1, P)."""
    return _wide(cells).square().sum(-1)[:, None]


def _wide(x: Tensor) -> Tensor:
    """At least float32: sums of squares cancel, and half precision has too few digits for that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _queries(look: Attention, tokens: Tensor) -> Tensor:
    """(N, T, C) -> (N, H, T, D), scaled as attention wants them."""
    return cast(Tensor, _split(look, look.q_proj(tokens)) * (look.k_proj.out_features // look.heads) ** -0.5)


def _keys(tell: Attention, tokens: Tensor) -> Tensor:
    """(N, T, C) -> (N, H, T, D), scaled in place of the queries, which are many."""
    return cast(Tensor, _split(tell, tell.k_proj(tokens)) * (tell.k_proj.out_features // tell.heads) ** -0.5)


def _split(attention: Attention, x: Tensor) -> Tensor:
    """(N, T, H * D) -> (N, H, T, D)."""
    return cast(Tensor, x.unflatten(-1, (attention.heads, -1)).transpose(1, 2))


def _join(attention: Attention, x: Tensor, constant: Tensor | float = 0.0) -> Tensor:
    """(N, H, T, D) -> (N, T, C)."""
    return cast(Tensor, attention.out_proj(x.transpose(1, 2).flatten(2) + constant))


def _by_head(attention: Attention, weight: Tensor) -> Tensor:
    """(H * D, C) -> (H, D, C)."""
    return cast(Tensor, weight.unflatten(0, (attention.heads, -1)))


def _heads(attention: Attention, cells: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Cells (1, P, C), projected by (H * D, C): (1, H, D, P)."""
    return cast(Tensor, F.linear(cells, weight, bias).transpose(1, 2).unflatten(1, (attention.heads, -1)))

"""The mask decoder at a third of its work, exactly: for inference, where many prompts meet one image.

In the two-way transformer (`mask_decoder.py`) a handful of tokens meets thousands of image cells, and for each prompt
all cells are copied, projected and normalised. Algebra alone makes that unnecessary:

- All that a layer computes of the cells is linear in them, but for softmax and normalisation. So an image's cells
  are projected once, before any prompt, by every matrix that will ever be applied to them: `prepare`.
- What attention from the image to the tokens adds to a cell is a sum over heads and tokens, weighted by that cell's
  attention: a product of two small matrices, of rank T * H = 56 for a click. The product is never computed. After
  each layer the cells are

      cells = scale * base + coefficients' basis + constant,

  where `base` belongs to the image and is known by its projections only; `scale` is one number for each cell, that of
  the normalisation; and `coefficients` and `basis` belong to the prompt. A linear map of the cells is the map of
  `base`, which is stored, and the map of `basis`, which is small.
- Layer normalisation needs each cell's mean and variance. Centring is linear, and is applied to the weights; the
  variance of a sum of products follows from the inner products of their factors.

`predict_iou` predicts the IoU of a prompt's four masks, and `decode_masks` computes them, so that no mask is computed
that will be dropped. A score that all cells share changes nothing in softmax, and is left out.

Shapes: N prompts on one image, T tokens, H heads of D channels, C = 256 channels, P = g * g cells, R = T * H
coefficients after the first layer and twice as many after the second.
"""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.factored_attention import (
    Cells,
    added_squares,
    attention_scores,
    centred,
    centred_output,
    inverse_deviation,
    keys_of,
    normalise_upscaled,
    project_cells,
    rows_by_head,
    self_attention,
    softmax_over_tokens,
    split_heads,
    squared_norms,
    stacked_mlps,
    token_to_image,
    token_to_image_first,
)
from pocketsam.models.mask_decoder import MASK_TOKENS, TwoWayBlock
from pocketsam.models.prompt_encoder import PromptEncoder
from pocketsam.models.sam import Sam


class Projections(NamedTuple):
    """What `predict_iou` needs of an image: projections of its cells, (1, H, D, P) unless said otherwise.

    Keys and values are those of token-to-image attention, queries those of image-to-token attention. Output products
    are the cells' inner products with the rows of a layer's output projection. Positions are projected on their own.
    """

    layer1_keys: Tensor
    layer1_values: Tensor
    layer1_queries: Tensor
    layer1_output_products: Tensor
    layer1_squared_norms: Tensor  # (1, 1, P)
    layer2_keys: Tensor
    layer2_key_positions: Tensor
    layer2_values: Tensor
    layer2_queries: Tensor
    layer2_query_positions: Tensor
    layer2_output1_products: Tensor  # with the output projection of layer 1
    layer2_output2_products: Tensor  # with that of layer 2
    layer2_constant_products: Tensor  # (1, 1, P)
    layer2_squared_norms: Tensor  # (1, 1, P)
    final_keys: Tensor
    final_key_positions: Tensor
    final_values: Tensor


class MaskFeatures(NamedTuple):
    """What `decode_masks` needs of an image."""

    upscaled_embeddings: Tensor  # (1, P, 4 * C / 4): the first upscaling, pixel by pixel of each cell
    high_res_stride8: Tensor  # (1, P or 1, 4 * C / 4): biases and finer maps, added after the first upscaling
    high_res_stride4: Tensor  # (1, P or 1, 4, 4 * C / 8): and after the second


class PreparedImage(NamedTuple):
    """All that does not depend on the prompts."""

    projections: Projections
    mask_features: MaskFeatures


class MaskInputs(NamedTuple):
    """What `decode_masks` needs of N prompts."""

    hypernetwork_weights: Tensor  # (N, 4, C / 8)
    cell_scale: Tensor  # (N, 1, P)
    cell_coefficients: Tensor  # (N, R, P)
    cell_basis: Tensor  # (N, R, 4 * C / 4), already upscaled


class Prediction(NamedTuple):
    """What `predict_iou` computes of N prompts."""

    iou_predictions: Tensor  # (N, 4)
    mask_inputs: MaskInputs


class FactoredDecoder(nn.Module):
    """`Sam.decode` for N prompts on one image, in three steps, with the model's own weights."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam
        self.decoder = sam.mask_decoder
        transformer = sam.mask_decoder.transformer
        self.layer1, self.layer2 = (cast(TwoWayBlock, layer) for layer in transformer.layers)
        self.final = transformer.final_attn_token_to_image

    def prepare(
        self, embedding: Tensor, mask_input: Tensor | None = None, has_mask: Tensor | None = None
    ) -> PreparedImage:
        """Everything about an image that no prompt changes.

        embedding (1, C, g, g), or with finer maps (see `mask_decoder.finer_maps`); mask_input (1, 1, 4g, 4g): logits
        of an earlier mask, a prompt that does change the image, so that it has a preparation of its own; has_mask
        (1,): 0 where there is none after all.
        """
        layer1, layer2, final = self.layer1, self.layer2, self.final
        positions = self.sam.prompt_encoder.dense_positions(embedding.shape[-1]).to(embedding.dtype)
        embedding, finer = embedding[:, : self.decoder.channels], embedding[:, self.decoder.channels :]
        cells = (embedding + self._dense(mask_input, has_mask)).flatten(2).transpose(1, 2)  # (1, P, C)
        with_positions = cells + positions

        to_image1, to_image2 = layer1.cross_attn_token_to_image, layer2.cross_attn_token_to_image
        to_token1, to_token2 = layer1.cross_attn_image_to_token, layer2.cross_attn_image_to_token
        output1, output2 = centred_output(to_token1), centred_output(to_token2)
        centred1 = centred(cells + to_token1.out_proj.bias)
        base1 = centred1 * layer1.norm4.weight
        centred2 = centred(base1)
        base2 = centred2 * layer2.norm4.weight
        query1, query2 = to_token1.q_proj, to_token2.q_proj
        projections = Projections(
            layer1_keys=project_cells(to_image1, with_positions, to_image1.k_proj.weight),
            layer1_values=project_cells(to_image1, cells, to_image1.v_proj.weight, to_image1.v_proj.bias),
            layer1_queries=project_cells(to_token1, with_positions, query1.weight, query1.bias),
            layer1_output_products=project_cells(to_token1, centred1, output1),
            layer1_squared_norms=squared_norms(centred1),
            layer2_keys=project_cells(to_image2, base1, to_image2.k_proj.weight),
            layer2_key_positions=project_cells(to_image2, positions, to_image2.k_proj.weight),
            layer2_values=project_cells(to_image2, base1, to_image2.v_proj.weight),
            layer2_queries=project_cells(to_token2, base1, query2.weight),
            layer2_query_positions=project_cells(
                to_token2, positions + layer1.norm4.bias, query2.weight, query2.bias
            ),
            layer2_output1_products=project_cells(to_token1, centred2 * layer1.norm4.weight, output1),
            layer2_output2_products=project_cells(to_token2, centred2, output2),
            layer2_constant_products=self._constant()[None, None] @ centred2.transpose(1, 2),
            layer2_squared_norms=squared_norms(centred2),
            final_keys=project_cells(final, base2, final.k_proj.weight),
            final_key_positions=project_cells(final, positions, final.k_proj.weight),
            final_values=project_cells(final, base2, final.v_proj.weight),
        )
        features = MaskFeatures(F.linear(base2, self._upscaling()), *self._high_res(finer))
        return PreparedImage(projections, features)

    def predict_iou(
        self,
        image: Projections,
        points: Tensor,
        labels: Tensor,
        sparse_embeddings: Tensor | None = None,
    ) -> Prediction:
        """The predicted IoU of each prompt's four masks, and what it takes to compute the masks.

        points (N, P, 2) in input pixels; labels (N, P): 1 foreground, 0 background, -1 padding, 2 and 3 box corners.
        sparse_embeddings (N, K, C): prompts that something else has encoded, which follow the points.
        """
        decoder, layer1, layer2 = self.decoder, self.layer1, self.layer2
        output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        sparse = self.sam.prompt_encoder.points(points, labels, self.sam.image_size).to(output_tokens.dtype)
        if sparse_embeddings is not None:
            sparse = torch.cat([sparse, sparse_embeddings.to(sparse.dtype)], dim=1)
        prompt = torch.cat([output_tokens.expand(sparse.shape[0], -1, -1), sparse], dim=1)

        tokens = self_attention(layer1, prompt, prompt)
        attended = token_to_image_first(
            layer1.cross_attn_token_to_image, tokens + prompt, image.layer1_keys, image.layer1_values
        )
        tokens = layer1.norm2(tokens + attended)
        tokens = layer1.norm3(tokens + layer1.mlp(tokens))
        cells1, values1 = self._image_to_token1(tokens, prompt, image)

        tokens = self_attention(layer2, tokens, prompt)
        keys = image.layer2_keys, image.layer2_key_positions
        attended = token_to_image(
            layer2.cross_attn_token_to_image, tokens + prompt, *keys, image.layer2_values, cells1
        )
        tokens = layer2.norm2(tokens + attended)
        tokens = layer2.norm3(tokens + layer2.mlp(tokens))
        cells2 = self._image_to_token2(tokens, prompt, image, cells1, values1)

        # Only the output tokens are needed from here on.
        tokens, prompt = tokens[:, : len(output_tokens)], prompt[:, : len(output_tokens)]
        keys = image.final_keys, image.final_key_positions
        tokens = tokens + token_to_image(self.final, tokens + prompt, *keys, image.final_values, cells2)
        tokens = decoder.transformer.norm_final_attn(tokens)
        return Prediction(
            decoder.iou_prediction_head(tokens[:, 0]),
            MaskInputs(
                stacked_mlps(decoder.output_hypernetworks_mlps, tokens[:, 1:]),
                cells2.scale,
                cells2.coefficients,
                F.linear(cells2.basis, self._upscaling()),
            ),
        )

    def decode_masks(self, image: MaskFeatures, prompts: MaskInputs) -> Tensor:
        """The four masks of each prompt as logits (N, 4, 4g, 4g).

        Both transposed convolutions have strides as large as their kernels: each cell becomes 2 x 2 pixels by
        itself, a product, and the pixels are put in their places at the very end, when there are only logits to move.
        """
        _, norm, _, convolution2, _ = self.decoder.output_upscaling
        assert isinstance(convolution2, nn.ConvTranspose2d)
        pixels = prompts.cell_scale.transpose(1, 2) * image.upscaled_embeddings
        pixels = (
            pixels + prompts.cell_coefficients.transpose(1, 2) @ prompts.cell_basis + image.high_res_stride8
        )
        pixels = F.gelu(normalise_upscaled(norm, pixels.unflatten(2, (4, -1))))  # (N, P, 4, C / 4)
        upscaling2 = convolution2.weight.permute(0, 2, 3, 1).flatten(1)  # (C / 4, 4 * C / 8)
        pixels = F.gelu(pixels @ upscaling2 + image.high_res_stride4)
        pixels = pixels.unflatten(3, (4, -1)).flatten(1, 3)  # (N, P * 16, C / 8)
        side = math.isqrt(image.upscaled_embeddings.shape[1])
        logits = pixels @ prompts.hypernetwork_weights.transpose(1, 2)
        logits = logits.view(-1, side, side, 2, 2, 2, 2, MASK_TOKENS).permute(0, 7, 1, 3, 5, 2, 4, 6)
        return cast(Tensor, logits.reshape(-1, MASK_TOKENS, 4 * side, 4 * side))

    def _high_res(self, finer: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to the pixels after each upscaling: its bias and, if there are any, the finer maps."""
        convolution1, _, _, convolution2, _ = self.decoder.output_upscaling
        assert isinstance(convolution1, nn.ConvTranspose2d) and isinstance(convolution2, nn.ConvTranspose2d)
        assert convolution1.bias is not None and convolution2.bias is not None
        bias8 = F.linear(self.layer2.norm4.bias, self._upscaling()) + convolution1.bias.repeat(4)
        bias4 = convolution2.bias.repeat(4)
        if not finer.shape[1]:
            return bias8.view(1, 1, -1), bias4.view(1, 1, 1, -1).repeat(1, 1, 4, 1)
        of_cells = finer.flatten(2).transpose(1, 2)  # (1, P, 3C), in the order of `torch.pixel_unshuffle`
        channels = self.decoder.channels
        stride8 = of_cells[..., :channels].unflatten(2, (-1, 4)).transpose(2, 3).flatten(2)
        # From (channel, y of 4, x of 4) to the order of two upscalings: (y, x), and then (y, x, channel).
        stride4 = of_cells[..., channels:].unflatten(2, (-1, 2, 2, 2, 2)).permute(0, 1, 3, 5, 4, 6, 2)
        return stride8 + bias8, stride4.flatten(4).flatten(2, 3).flatten(3) + bias4

    def _image_to_token1(self, tokens: Tensor, prompt: Tensor, image: Projections) -> tuple[Cells, Tensor]:
        """Cross-attention from the image to the tokens; the cells of layer 2, and the tokens' values (N, H, T, D)."""
        attention, norm = self.layer1.cross_attn_image_to_token, self.layer1.norm4
        keys, values = keys_of(attention, tokens + prompt), split_heads(attention, attention.v_proj(tokens))
        coefficients = softmax_over_tokens(keys @ image.layer1_queries)
        basis = (values @ rows_by_head(attention, centred_output(attention))).flatten(
            1, 2
        )  # (N, R, C), centred
        products = (values @ image.layer1_output_products).flatten(1, 2)
        squares = image.layer1_squared_norms + added_squares(coefficients, basis, products)
        scale = inverse_deviation(norm, squares)
        return Cells(scale, scale * coefficients, basis * norm.weight, norm.bias), values

    def _image_to_token2(
        self, tokens: Tensor, prompt: Tensor, image: Projections, cells1: Cells, values1: Tensor
    ) -> Cells:
        """The same in layer 2; the cells of the final attention."""
        attention, norm = self.layer2.cross_attn_image_to_token, self.layer2.norm4
        keys, values = keys_of(attention, tokens + prompt), split_heads(attention, attention.v_proj(tokens))
        queries = image.layer2_queries, image.layer2_query_positions
        scores = attention_scores(keys, *queries, attention.q_proj.weight, cells1)
        # In each head a cell's weights sum to 1, so that equal shares of a constant in all heads add it to all cells.
        basis = (values @ rows_by_head(attention, centred_output(attention))).flatten(1, 2) + self._constant()
        weights = softmax_over_tokens(scores.unflatten(1, (attention.heads, -1)))
        coefficients = torch.cat([cells1.coefficients, weights], 1)
        basis = torch.cat([centred(cells1.basis), basis], 1)
        products1 = (values1 @ image.layer2_output1_products).flatten(1, 2)
        products2 = (values @ image.layer2_output2_products).flatten(1, 2) + image.layer2_constant_products
        products = cells1.scale * torch.cat([products1, products2], 1)
        squares = cells1.scale.square() * image.layer2_squared_norms
        scale = inverse_deviation(norm, squares + added_squares(coefficients, basis, products))
        return Cells(cells1.scale * scale, scale * coefficients, basis * norm.weight, norm.bias)

    def _constant(self) -> Tensor:
        """One head's share of what the first normalisation and second output projection add to all cells: (C,)."""
        attention = self.layer2.cross_attn_image_to_token
        return centred(self.layer1.norm4.bias + attention.out_proj.bias) / attention.heads

    def _dense(self, mask_input: Tensor | None, has_mask: Tensor | None) -> Tensor:
        """The dense prompt, which is added to the embedding: (1, C, 1 or g, 1 or g)."""
        encoder = self.sam.prompt_encoder
        if mask_input is None or not isinstance(encoder, PromptEncoder):
            return encoder.no_mask()
        return encoder.masks(mask_input, mask_input.new_ones(1) if has_mask is None else has_mask)

    def _upscaling(self) -> Tensor:
        """The first transposed convolution as a matrix, (4 * C / 4, C): four pixels, one after the other."""
        weight = cast(nn.ConvTranspose2d, self.decoder.output_upscaling[0]).weight  # (C, C / 4, 2, 2)
        return weight.permute(2, 3, 1, 0).flatten(0, 2)

"""`MaskDecoder`: image embedding and prompt tokens to masks, with the published constructor and parts."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.compat.modeling.common import LayerNorm2d


class MaskDecoder(nn.Module):
    """Of N objects on one image: `num_multimask_outputs` masks for an ambiguous prompt, and one for any other."""

    def __init__(
        self,
        *,
        transformer_dim: int,
        transformer: nn.Module,
        num_multimask_outputs: int = 3,
        activation: type[nn.Module] = nn.GELU,
        iou_head_depth: int = 3,
        iou_head_hidden_dim: int = 256,
    ) -> None:
        super().__init__()
        self.transformer_dim = transformer_dim
        self.transformer = transformer
        self.num_multimask_outputs = num_multimask_outputs
        self.iou_token = nn.Embedding(1, transformer_dim)
        self.num_mask_tokens = num_multimask_outputs + 1
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, transformer_dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(transformer_dim, transformer_dim // 4, 2, 2),
            LayerNorm2d(transformer_dim // 4),
            activation(),
            nn.ConvTranspose2d(transformer_dim // 4, transformer_dim // 8, 2, 2),
            activation(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(transformer_dim, transformer_dim, transformer_dim // 8, 3)
            for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(
            transformer_dim, iou_head_hidden_dim, self.num_mask_tokens, iou_head_depth
        )

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """image_embeddings, image_pe (1, C, h, w); sparse (N, T, C) and dense (N, C, h, w) prompt embeddings.

        -> mask logits (N, M, 4h, 4w) and predicted IoU (N, M); M is num_multimask_outputs or 1.
        """
        masks, iou = self.predict_masks(
            image_embeddings=image_embeddings,
            image_pe=image_pe,
            sparse_prompt_embeddings=sparse_prompt_embeddings,
            dense_prompt_embeddings=dense_prompt_embeddings,
        )
        chosen = slice(1, None) if multimask_output else slice(1)
        return masks[:, chosen], iou[:, chosen]

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """All masks, the one for unambiguous prompts first; see `forward`."""
        count = len(sparse_prompt_embeddings)
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        dtype = output_tokens.dtype  # of a model in half precision, whose positions stay float32
        sparse = sparse_prompt_embeddings.to(dtype)
        tokens = torch.cat([output_tokens.expand(count, -1, -1), sparse], dim=1)
        image = torch.repeat_interleave(image_embeddings, count, dim=0) + dense_prompt_embeddings
        positions = torch.repeat_interleave(image_pe.to(dtype), count, dim=0)
        tokens, cells = self.transformer(image, positions, tokens)

        pixels = self.output_upscaling(cells.transpose(1, 2).reshape(image.shape))
        weights = [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        masks = torch.stack(weights, dim=1) @ pixels.flatten(2)
        return masks.unflatten(2, pixels.shape[-2:]), self.iou_prediction_head(tokens[:, 0])


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        num_layers: int,
        sigmoid_output: bool = False,
    ) -> None:
        super().__init__()
        self.num_layers = num_layers
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.sigmoid_output = sigmoid_output

    def extra_repr(self) -> str:
        return f"sigmoid_output={self.sigmoid_output}"

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        x = self.layers[-1](x)
        return F.sigmoid(x) if self.sigmoid_output else x

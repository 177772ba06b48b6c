"""`PromptEncoder`: clicks, boxes and masks become tokens, with the published constructor and parts."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from pocketsam.compat.modeling.common import LayerNorm2d
from pocketsam.config import PADDING
from pocketsam.models.prompt_encoder import FourierPositions

Points = tuple[Tensor, Tensor]


class PromptEncoder(nn.Module):
    """Prompts in the pixels of the model's input -> sparse tokens and a dense embedding.

    image_embedding_size, input_image_size: (H, W) in cells and in pixels. mask_in_chans: the widest inner channels
    of the layers that embed masks.
    Only labels 1, 0 and -1 have an embedding of their own; a point with another label is its position alone.
    """

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.input_image_size = input_image_size
        self.image_embedding_size = image_embedding_size
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        # background, foreground, first and second corner of a box
        self.num_point_embeddings = 4
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_input_size = (4 * image_embedding_size[0], 4 * image_embedding_size[1])
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_in_chans // 4, 2, 2),
            LayerNorm2d(mask_in_chans // 4),
            activation(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, 2, 2),
            LayerNorm2d(mask_in_chans),
            activation(),
            nn.Conv2d(mask_in_chans, embed_dim, 1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)

    def get_dense_pe(self) -> Tensor:
        """The position encoding of every embedding cell: (1, embed_dim, h, w)."""
        return cast(Tensor, self.pe_layer(self.image_embedding_size)).unsqueeze(0)

    def forward(
        self, points: Points | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Of B objects: points, coordinates (B, P, 2) and labels (B, P); boxes (B, 4); masks (B, 1, H, W) logits.

        -> sparse tokens (B, T, embed_dim) and a dense embedding (B, embed_dim, h, w).
        """
        count = self._get_batch_size(points, boxes, masks)
        parts = [torch.empty((count, 0, self.embed_dim), device=self._get_device())]
        if points is not None:
            parts.append(self._embed_points(*points, pad=boxes is None))
        if boxes is not None:
            parts.append(self._embed_boxes(boxes))
        if masks is not None:
            dense = self._embed_masks(masks)
        else:
            dense = self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(
                count, -1, *self.image_embedding_size
            )
        return torch.cat(parts, dim=1), dense

    def _embed_points(self, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        if pad:  # in the place of the box
            points = torch.cat([points, points.new_zeros(len(points), 1, 2)], dim=1)
            padding = torch.full((len(labels), 1), PADDING, device=labels.device)
            labels = torch.cat([labels, padding], dim=1)
        positions = self.pe_layer.forward_with_coords(points + 0.5, self.input_image_size)
        kinds = [self.not_a_point_embed, self.point_embeddings[0], self.point_embeddings[1]]
        embedded = torch.where((labels == PADDING)[..., None], 0.0, positions)
        for label, kind in enumerate(kinds, PADDING):
            embedded = embedded + (labels == label)[..., None] * cast(nn.Embedding, kind).weight
        return embedded

    def _embed_boxes(self, boxes: Tensor) -> Tensor:
        corners = (boxes + 0.5).reshape(-1, 2, 2)
        first, second = (cast(nn.Embedding, kind).weight for kind in self.point_embeddings[2:])
        positions = self.pe_layer.forward_with_coords(corners, self.input_image_size)
        return positions + torch.cat([first, second])

    def _embed_masks(self, masks: Tensor) -> Tensor:
        return cast(Tensor, self.mask_downscaling(masks))

    def _get_batch_size(self, points: Points | None, boxes: Tensor | None, masks: Tensor | None) -> int:
        given = points[0] if points is not None else boxes if boxes is not None else masks
        return 1 if given is None else len(given)

    def _get_device(self) -> torch.device:
        return cast(nn.Embedding, self.point_embeddings[0]).weight.device


class PositionEmbeddingRandom(FourierPositions):
    """Positions as sines and cosines of random frequencies: always float32, and so are these frequencies."""

    def __init__(self, num_pos_feats: int = 64, scale: float | None = None) -> None:
        super().__init__(2 * num_pos_feats)
        if scale is not None and scale > 0:
            self.positional_encoding_gaussian_matrix *= scale

    def _pe_encoding(self, coords: Tensor) -> Tensor:
        """(…, 2) as (x, y) in [0, 1] -> (…, 2 * num_pos_feats); a product of matrices, as published."""
        with torch.autocast(coords.device.type, enabled=False):
            angle = 2 * math.pi * ((2 * coords - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def forward(self, size: tuple[int, int]) -> Tensor:  # type: ignore[override]
        """The centres of h x w cells, for size (h, w): (2 * num_pos_feats, h, w)."""
        device = self.positional_encoding_gaussian_matrix.device
        y, x = ((torch.arange(count, device=device, dtype=torch.float32) + 0.5) / count for count in size)
        y, x = torch.meshgrid(y, x, indexing="ij")
        return self._pe_encoding(torch.stack([x, y], dim=-1)).permute(2, 0, 1)

    def forward_with_coords(self, coords_input: Tensor, image_size: tuple[int, int]) -> Tensor:
        """(B, P, 2) as (x, y) in the pixels of an input of image_size (H, W) -> (B, P, 2 * num_pos_feats)."""
        height, width = image_size
        return self._pe_encoding((coords_input / coords_input.new_tensor([width, height])).float())

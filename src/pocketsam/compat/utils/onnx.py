"""`SamOnnxModel`: prompt encoder, mask decoder and enlarging in one graph, as other programs export it."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.compat.modeling import Sam
from pocketsam.compat.utils.amg import calculate_stability_score


class SamOnnxModel(nn.Module):
    """What to give to `torch.onnx.export`: the masks of one object.

    The graph calls the modules as they are: of one object the factored decoder (`models/factored.py`) saves nothing.

    return_single_mask: the one mask that the prompt means, instead of all four. use_stability_score: stability
    instead of the predicted IoU. return_extra_metrics: stability and area of the masks, too.
    """

    def __init__(
        self,
        model: Sam,
        return_single_mask: bool,
        use_stability_score: bool = False,
        return_extra_metrics: bool = False,
    ) -> None:
        super().__init__()
        self.mask_decoder: Any = model.mask_decoder
        self.model = model
        self.img_size = model.image_encoder.img_size
        self.return_single_mask = return_single_mask
        self.use_stability_score = use_stability_score
        self.stability_score_offset = 1.0
        self.return_extra_metrics = return_extra_metrics

    @staticmethod
    def resize_longest_image_size(input_image_size: Tensor, longest_side: int) -> Tensor:
        """(2,) height and width of a photo whose longer side becomes `longest_side`."""
        size = input_image_size.float()
        return (size * (longest_side / size.max()) + 0.5).floor().to(torch.int64)

    @torch.no_grad()
    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, ...]:
        """image_embeddings (1, C, h, w); point_coords (1, P, 2) in pixels of the model, the corners of a box too;
        point_labels (1, P): 1, 0, -1 padding, 2 and 3 corners; mask_input (1, 1, 4h, 4w), which counts where
        has_mask_input (1,) is 1; orig_im_size (2,) height and width of the photo; all float32.

        Returns masks (1, M, H, W), logits; predicted IoU (1, M); [stability, areas;] low-resolution logits.
        """
        masks, scores = self._decode(image_embeddings, point_coords, point_labels, mask_input, has_mask_input)
        if self.use_stability_score:
            scores = self._stability(masks)
        if self.return_single_mask:
            masks, scores = self.select_masks(masks, scores, point_coords.shape[1])
        upscaled = self.mask_postprocessing(masks, orig_im_size)
        if not self.return_extra_metrics:
            return upscaled, scores, masks
        areas = (upscaled > self.model.mask_threshold).sum((-1, -2))
        return upscaled, scores, self._stability(upscaled), areas, masks

    def mask_postprocessing(self, masks: Tensor, orig_im_size: Tensor) -> Tensor:
        """Low-resolution logits (1, M, h, w) to the photo's size."""
        side = int(self.img_size)  # type: ignore[arg-type]
        masks = F.interpolate(masks, (side, side), mode="bilinear", align_corners=False)
        height, width = self.resize_longest_image_size(orig_im_size, side)
        masks = masks[..., :height, :width]
        rows, columns = orig_im_size.to(torch.int64)
        return F.interpolate(masks, (rows, columns), mode="bilinear", align_corners=False)

    def select_masks(
        self, masks: Tensor, iou_preds: Tensor, num_points: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of four masks, the first for three points or more, padding and corners counted; else the best other."""
        first = F.one_hot(torch.tensor([0]), iou_preds.shape[1]).to(iou_preds)
        chosen = (iou_preds + (num_points - 2.5) * 1000 * first).argmax(dim=1)
        return masks.index_select(1, chosen), iou_preds.index_select(1, chosen)

    def _decode(
        self, embedding: Tensor, coords: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All four masks and their predicted IoU."""
        prompts: Any = self.model.prompt_encoder
        kinds = [prompts.not_a_point_embed, *prompts.point_embeddings]
        sparse = prompts.pe_layer.forward_with_coords(coords + 0.5, prompts.input_image_size)
        sparse = torch.where((labels == -1)[..., None], 0.0, sparse)
        for label, kind in enumerate(kinds, -1):
            sparse = sparse + (labels == label)[..., None] * kind.weight
        no_mask = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense = torch.where(has_mask.view(-1, 1, 1, 1) > 0, prompts.mask_downscaling(mask), no_mask)
        return cast(
            tuple[Tensor, Tensor],
            self.mask_decoder.predict_masks(
                image_embeddings=embedding,
                image_pe=prompts.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
            ),
        )

    def _stability(self, masks: Tensor) -> Tensor:
        return calculate_stability_score(masks, self.model.mask_threshold, self.stability_score_offset)

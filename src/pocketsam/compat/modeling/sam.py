"""`Sam`: the published module, with its constructor, its methods and its parts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.compat.modeling.decoding import decode
from pocketsam.config import SAM


class Sam(nn.Module):
    """An image encoder, a prompt encoder and a mask decoder.

    pixel_mean, pixel_std: by which `preprocess` normalises, per RGB channel on the scale 0 to 255.
    mask_threshold: the logit above which a pixel is in a mask. image_format: the order of channels.
    """

    mask_threshold: float = 0.0
    image_format: str = "RGB"
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: nn.Module,
        mask_decoder: nn.Module,
        pixel_mean: Sequence[float] = SAM.mean,
        pixel_std: Sequence[float] = SAM.std,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).float().view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).float().view(-1, 1, 1), False)

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self.pixel_mean.device

    @torch.no_grad()
    def forward(
        self, batched_input: Sequence[dict[str, Any]], multimask_output: bool
    ) -> list[dict[str, Tensor]]:
        """Several photos with their prompts.

        Of each photo: image (3, h, w), resized by `ResizeLongestSide`, and original_size (H, W); and, in pixels of
        the resized image, any of point_coords (B, N, 2) with point_labels (B, N), boxes (B, 4),
        mask_inputs (B, 1, S/4, S/4).
        Returns for each: masks (B, C, H, W) bool, iou_predictions (B, C), low_res_logits (B, C, S/4, S/4).
        """
        photos = torch.stack([self.preprocess(photo["image"]) for photo in batched_input])
        answers = []
        for photo, embedding in zip(batched_input, self.image_encoder(photos), strict=True):
            points = None
            if "point_coords" in photo:
                points = (photo["point_coords"], photo["point_labels"])
            logits, iou = decode(
                self,
                embedding[None],
                points,
                photo.get("boxes"),
                photo.get("mask_inputs"),
                multimask_output,
            )
            masks = self.postprocess_masks(logits, photo["image"].shape[-2:], photo["original_size"])
            answers.append(
                {
                    "masks": masks > self.mask_threshold,
                    "iou_predictions": iou,
                    "low_res_logits": logits,
                }
            )
        return answers

    def postprocess_masks(
        self, masks: Tensor, input_size: Sequence[int], original_size: Sequence[int]
    ) -> Tensor:
        """Low-resolution logits (B, C, h, w) to the photo's size (H, W), without the padding.

        input_size: (h, w) of the resized photo in the model's input.
        """
        side = int(self.image_encoder.img_size)  # type: ignore[arg-type]
        masks = F.interpolate(masks, (side, side), mode="bilinear", align_corners=False)
        masks = masks[..., : input_size[0], : input_size[1]]
        return F.interpolate(masks, tuple(original_size), mode="bilinear", align_corners=False)

    def preprocess(self, x: Tensor) -> Tensor:
        """Pixels 0 to 255, (…, 3, h, w), normalised and padded with zeros to (…, 3, S, S)."""
        x = (x - self.pixel_mean) / self.pixel_std
        height, width = x.shape[-2:]
        side = int(self.image_encoder.img_size)  # type: ignore[arg-type]
        return F.pad(x, (0, side - width, 0, side - height))

"""A promptable segmentation model: an image encoder, SAM's prompt encoder and SAM's mask decoder."""

from typing import cast

from torch import Tensor, nn

from pocketsam.models.mask_decoder import MaskDecoder
from pocketsam.models.patches import Patches
from pocketsam.models.prompt_encoder import PromptEncoder
from pocketsam.models.tiny_vit import TinyViT


class Sam(nn.Module):
    """B images of `image_size` x `image_size` pixels, N objects in each, several prompts for each object.

    The size is a property of the model, not of its weights: any multiple of 64 that the encoder takes.
    """

    def __init__(self, image_encoder: nn.Module, image_size: int) -> None:
        super().__init__()
        if image_size <= 0 or image_size % 64:
            raise ValueError(f"image_size must be a positive multiple of 64, not {image_size}")
        self.image_size = image_size
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder()
        self.mask_decoder = MaskDecoder()

    @property
    def embedding_side(self) -> int:
        """Cells a side of the image embedding."""
        return self.image_size // 16

    def encode(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, S, S) -> image embedding (B, 256, S/16, S/16)."""
        return cast(Tensor, self.image_encoder(pixels))

    def decode(
        self,
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_input: Tensor | None = None,
        has_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Masks of N objects in each of B embedded images.

        embedding (B, 256, g, g); points (B, N, P, 2) in input pixels; labels (B, N, P): 1 foreground,
        0 background, -1 padding, 2 and 3 the corners of a box. mask_input (B, N, 4g, 4g): logits of a
        former answer, used where has_mask (B, N) is 1 (everywhere, if has_mask is not given).
        Returns logits (B, N, 4, 4g, 4g) and predicted IoU (B, N, 4). Mask 0 answers an unambiguous
        prompt; masks 1 to 3 are the whole, the part and the subpart of an ambiguous one.
        """
        sparse = self.prompt_encoder.points(points, labels, self.image_size)
        dense = self.prompt_encoder.no_mask()[None]
        if mask_input is not None:
            has_mask = mask_input.new_ones(mask_input.shape[:2]) if has_mask is None else has_mask
            flat = self.prompt_encoder.masks(mask_input.flatten(0, 1)[:, None], has_mask.flatten())
            dense = flat.unflatten(0, mask_input.shape[:2])
        positions = self.prompt_encoder.dense_positions(self.embedding_side)
        logits, iou = self.mask_decoder(embedding, dense, sparse, positions)
        return cast(Tensor, logits), cast(Tensor, iou)


def mobile_sam(image_size: int = 1024) -> Sam:
    """MobileSAM and TinySAM: TinyViT-5M in the published layout."""
    return Sam(TinyViT(), image_size)


def pocket(image_size: int = 512) -> Sam:
    """The model inside the package: TinyViT-5M whose windows divide 512² and 256² inputs without padding."""
    return Sam(TinyViT(windows=(8, 8, 16, 8)), image_size)


def patches(image_size: int = 128) -> Sam:
    """A decoder to be taught geometry, on the cheapest encoder (see `models/patches.py`)."""
    return Sam(Patches(), image_size)


MODELS = {"mobile_sam": mobile_sam, "pocket": pocket, "patches": patches}

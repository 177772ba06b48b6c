"""A promptable segmentation model: an image encoder, SAM's prompt encoder and SAM's mask decoder."""

from typing import cast

from torch import Tensor, nn

from pocketsam.models.encoders.base import ImageEncoder
from pocketsam.models.layers import Shapes
from pocketsam.models.mask_decoder import MaskDecoder, Variant
from pocketsam.models.prompt_encoder import EfficientSamPromptEncoder, PromptEncoder


class Sam(nn.Module):
    """B images of `image_size` x `image_size` pixels, N objects in each, several prompts for each object.

    The size is a property of the model, not of its weights: any multiple of 64 that the encoder takes.
    variant: whose prompt encoder and mask decoder it has, SAM's or EfficientSAM's.
    """

    def __init__(self, image_encoder: ImageEncoder, image_size: int, variant: Variant = "sam") -> None:
        super().__init__()
        if image_size <= 0 or image_size % 64:
            raise ValueError(f"image_size must be a positive multiple of 64, not {image_size}")
        self.image_size, self.variant = image_size, variant
        self.image_encoder = image_encoder
        self.prompt_encoder: PromptEncoder | EfficientSamPromptEncoder = (
            PromptEncoder() if variant == "sam" else EfficientSamPromptEncoder()
        )
        self.mask_decoder = MaskDecoder(variant=variant)

    @property
    def embedding_side(self) -> int:
        """Cells a side of the image embedding."""
        return self.image_size // 16

    @property
    def embedding_channels(self) -> int:
        """Of the image embedding: 256 or, with finer maps beside them, more."""
        return self.image_encoder.embedding_channels

    def encode(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, S, S) -> image embedding (B, 256, S/16, S/16), or with finer maps beside it."""
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
        0 background, -1 padding, 2 and 3 the corners of a box. mask_input (B, N, 4g, 4g): logits of an
        earlier mask, used where has_mask (B, N) is 1 (everywhere, if has_mask is not given); EfficientSAM
        ignores it.
        Returns logits (B, N, 4, 4g, 4g) and predicted IoU (B, N, 4). Mask 0 is for an unambiguous
        prompt; masks 1 to 3 are the whole, the part and the subpart of an ambiguous one.
        """
        return self.decode_with_tokens(embedding, points, labels, mask_input, has_mask)[:2]

    def decode_with_tokens(
        self,
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_input: Tensor | None = None,
        has_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `decode` gives, and the output tokens (B, N, 5, 256): the predicted IoU's, then one a mask."""
        sparse = self.prompt_encoder.points(points, labels, self.image_size)
        dense = self.prompt_encoder.no_mask()[None]
        if mask_input is not None and isinstance(self.prompt_encoder, PromptEncoder):
            has_mask = mask_input.new_ones(mask_input.shape[:2]) if has_mask is None else has_mask
            flat = self.prompt_encoder.masks(mask_input.flatten(0, 1)[:, None], has_mask.flatten())
            dense = flat.unflatten(0, mask_input.shape[:2])
        positions = self.prompt_encoder.dense_positions(self.embedding_side)
        return cast(tuple[Tensor, Tensor, Tensor], self.mask_decoder(embedding, dense, sparse, positions))


def variant_of(shapes: Shapes) -> Variant:
    """Whose prompt encoder and mask decoder these shapes of a state dict are."""
    return "efficient_sam" if "prompt_encoder.invalid_points.weight" in shapes else "sam"


def count_parameters(sam: Sam) -> int:
    """The parameters that take part in segmenting: the classifier of TinyViT's pretraining does not."""
    idle = ("image_encoder.head.", "image_encoder.norm_head.")
    return sum(p.numel() for name, p in sam.named_parameters() if not name.startswith(idle))

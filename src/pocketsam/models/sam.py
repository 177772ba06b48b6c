"""A promptable segmentation model: an image encoder, SAM's prompt encoder and SAM's mask decoder."""

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from pocketsam.models.encoders.efficientnet_lite import LITE, EfficientNetLite
from pocketsam.models.encoders.patches import Patches
from pocketsam.models.encoders.sam_vit import SamViT
from pocketsam.models.encoders.tiny_vit import TinyViT
from pocketsam.models.encoders.vit import ViT
from pocketsam.models.layers import Shapes
from pocketsam.models.mask_decoder import MaskDecoder
from pocketsam.models.prompt_encoder import PlainPromptEncoder, PromptEncoder


class Sam(nn.Module):
    """B images of `image_size` x `image_size` pixels, N objects in each, several prompts for each object.

    The size is a property of the model, not of its weights: any multiple of 64 that the encoder takes.
    plain: EfficientSAM's prompt encoder and decoder instead of SAM's.
    """

    def __init__(self, image_encoder: nn.Module, image_size: int, plain: bool = False) -> None:
        super().__init__()
        if image_size <= 0 or image_size % 64:
            raise ValueError(f"image_size must be a positive multiple of 64, not {image_size}")
        self.image_size = image_size
        self.image_encoder = image_encoder
        self.prompt_encoder: PromptEncoder | PlainPromptEncoder = (
            PlainPromptEncoder() if plain else PromptEncoder()
        )
        self.mask_decoder = MaskDecoder(plain=plain)

    @property
    def is_plain(self) -> bool:
        """Whether prompt encoder and decoder are EfficientSAM's."""
        return isinstance(self.prompt_encoder, PlainPromptEncoder)

    @property
    def embedding_side(self) -> int:
        """Cells a side of the image embedding."""
        return self.image_size // 16

    @property
    def embedding_channels(self) -> int:
        """Of the image embedding: 256 or, with finer maps beside them, more."""
        return cast(int, self.image_encoder.embedding_channels)

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
        0 background, -1 padding, 2 and 3 the corners of a box. mask_input (B, N, 4g, 4g): logits of a
        former answer, used where has_mask (B, N) is 1 (everywhere, if has_mask is not given); EfficientSAM
        makes nothing of it.
        Returns logits (B, N, 4, 4g, 4g) and predicted IoU (B, N, 4). Mask 0 answers an unambiguous
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


def sam_vit_b(image_size: int = 1024) -> Sam:
    """SAM with its smallest encoder; ViT-L and ViT-H are `like` their checkpoints."""
    return Sam(SamViT(image_size=image_size), image_size)


def mobile_sam(image_size: int = 1024) -> Sam:
    """MobileSAM and TinySAM: TinyViT-5M in the published layout."""
    return Sam(TinyViT(), image_size)


def efficient_sam_ti(image_size: int = 1024) -> Sam:
    """EfficientSAM with ViT-Tiny."""
    return Sam(ViT(192, hidden=768), image_size, plain=True)


def efficient_sam_s(image_size: int = 1024) -> Sam:
    """EfficientSAM with ViT-Small."""
    return Sam(ViT(384, hidden=1536), image_size, plain=True)


def tiny_vit(
    widths: tuple[int, ...], heads: tuple[int, ...], windows: tuple[int, ...] = (7, 7, 14, 7)
) -> Callable[[int], Sam]:
    """SAM with a TinyViT (arXiv 2207.10666, table 1) of these widths and heads a stage."""

    def build(image_size: int = 1024) -> Sam:
        return Sam(TinyViT(widths, heads=heads, windows=windows), image_size)

    return build


def vit(width: int) -> Callable[[int], Sam]:
    """SAM's own decoder behind EfficientSAM's plain ViT."""

    def build(image_size: int = 1024) -> Sam:
        return Sam(ViT(width, hidden=4 * width), image_size)

    return build


def efficientnet_lite(variant: int) -> Callable[[int], Sam]:
    """SAM with an EfficientNet-Lite, 0 to 4."""

    def build(image_size: int = 512) -> Sam:
        return Sam(EfficientNetLite(*LITE[variant]), image_size)

    return build


pocket = efficientnet_lite(2)
"""The model inside the package."""


def patches(image_size: int = 128) -> Sam:
    """A decoder to be taught geometry, on the cheapest encoder (see `models/patches.py`)."""
    return Sam(Patches(), image_size)


MODELS = {
    "sam_vit_b": sam_vit_b,
    "mobile_sam": mobile_sam,
    "efficient_sam_ti": efficient_sam_ti,
    "efficient_sam_s": efficient_sam_s,
    "pocket": pocket,
    "tiny_vit_1m": tiny_vit((32, 48, 64, 128), (1, 2, 2, 4), (8, 8, 16, 8)),
    "tiny_vit_5m": mobile_sam,
    "tiny_vit_11m": tiny_vit((64, 128, 256, 448), (2, 4, 8, 14)),
    "tiny_vit_21m": tiny_vit((96, 192, 384, 576), (3, 6, 12, 18)),
    "efficientnet_lite0": efficientnet_lite(0),
    "efficientnet_lite1": efficientnet_lite(1),
    "efficientnet_lite2": efficientnet_lite(2),
    "efficientnet_lite3": efficientnet_lite(3),
    "efficientnet_lite4": efficientnet_lite(4),
    "vit_tiny": vit(192),
    "vit_small": vit(384),
    "patches": patches,
}
"""The architectures that a recipe can train from nothing. tiny_vit_1m is ours, for trials on a small machine."""

# A tensor that one kind of encoder has and no other, most telling first.
_ENCODERS: dict[str, type[EfficientNetLite | TinyViT | SamViT | ViT | Patches]] = {
    "blocks.0.depthwise.conv.weight": EfficientNetLite,
    "patch_embed.seq.0.c.weight": TinyViT,
    "blocks.0.attn.rel_pos_h": SamViT,
    "pos_embed": ViT,
    "proj.weight": Patches,
}


def like(shapes: Shapes, image_size: int) -> Sam:
    """The architecture whose state dict has these shapes, by the family's own names, pruned ones included.

    image_size: for encoders that take any; SAM's ViT brings its own.
    Raises LookupError where the tensors are of no known architecture, or too few to tell.
    """
    encoder = {name.removeprefix("image_encoder."): shape for name, shape in shapes.items()}
    kind = next((kind for name, kind in _ENCODERS.items() if name in encoder), None)
    if kind is None:
        raise LookupError("no known image encoder")
    image_encoder = kind.like(encoder)
    if isinstance(image_encoder, SamViT):
        image_size = image_encoder.image_size
    return Sam(image_encoder, image_size, plain="prompt_encoder.invalid_points.weight" in shapes)


def count_parameters(sam: Sam) -> int:
    """The parameters that take part in segmenting: the classifier of TinyViT's pretraining does not."""
    idle = ("image_encoder.head.", "image_encoder.norm_head.")
    return sum(p.numel() for name, p in sam.named_parameters() if not name.startswith(idle))

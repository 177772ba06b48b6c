"""The published modules around an image encoder, and with the weights of a network of the family."""

from functools import partial
from typing import cast

import torch
from torch import nn

from pocketsam.compat.modeling.image_encoder import ImageEncoderViT
from pocketsam.compat.modeling.mask_decoder import MaskDecoder
from pocketsam.compat.modeling.prompt_encoder import PromptEncoder
from pocketsam.compat.modeling.sam import Sam
from pocketsam.compat.modeling.transformer import TwoWayTransformer
from pocketsam.models import sam as models
from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.models.encoders.sam_vit import PATCH, Block, SamViT

CHANNELS = 256


def uninitialised(architecture: str) -> Sam:
    """The published modules of an architecture of the family, with random weights."""
    known = ARCHITECTURES[architecture]
    size = known.config.image_size
    with torch.device("meta"):
        encoder: nn.Module = known.build_encoder(size)
    if not isinstance(encoder, SamViT):
        encoder = known.build_encoder(size)
    return _around(encoder, size, "cpu")


def with_weights_of(network: models.Sam) -> Sam:
    """The published modules with the very tensors of a network of ours, ready for inference."""
    sam = _around(network.image_encoder, network.image_size, "meta")
    sam.load_state_dict(network.state_dict(), assign=True)
    return sam.requires_grad_(True)


def _around(encoder: nn.Module, image_size: int, device: str) -> Sam:
    """The published modules around this encoder or, for a ViT of SAM's, the published class of it."""
    cells = image_size // PATCH
    with torch.device(device):
        if isinstance(encoder, SamViT):
            encoder = _published_vit(encoder)
        else:
            encoder.img_size = image_size  # type: ignore[assignment]
        prompt_encoder = PromptEncoder(
            embed_dim=CHANNELS,
            image_embedding_size=(cells, cells),
            input_image_size=(image_size, image_size),
            mask_in_chans=16,
        )
        transformer = TwoWayTransformer(depth=2, embedding_dim=CHANNELS, num_heads=8, mlp_dim=2048)
        mask_decoder = MaskDecoder(transformer_dim=CHANNELS, transformer=transformer)
    return Sam(encoder, prompt_encoder, mask_decoder).eval()


def _published_vit(encoder: SamViT) -> ImageEncoderViT:
    """The published class of such an encoder, without its numbers."""
    blocks = [cast(Block, block) for block in encoder.blocks]
    width, hidden = blocks[0].mlp.lin1.in_features, blocks[0].mlp.lin1.out_features
    image_size = encoder.image_size or 0
    side = image_size // PATCH
    everywhere = [i for i, block in enumerate(blocks) if block.attn.side == side]
    windows = [block.attn.side for i, block in enumerate(blocks) if i not in everywhere]
    return ImageEncoderViT(
        img_size=image_size,
        patch_size=PATCH,
        embed_dim=width,
        depth=len(blocks),
        num_heads=blocks[0].attn.heads,
        mlp_ratio=hidden / width,
        out_chans=CHANNELS,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=windows[0] if windows else 0,
        global_attn_indexes=everywhere,
    )

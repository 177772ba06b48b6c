"""The published network as modules, with the published constructors and parts."""

from pocketsam.compat.modeling.image_encoder import ImageEncoderViT
from pocketsam.compat.modeling.mask_decoder import MaskDecoder
from pocketsam.compat.modeling.prompt_encoder import PromptEncoder
from pocketsam.compat.modeling.sam import Sam
from pocketsam.compat.modeling.transformer import TwoWayTransformer

__all__ = ["ImageEncoderViT", "MaskDecoder", "PromptEncoder", "Sam", "TwoWayTransformer"]

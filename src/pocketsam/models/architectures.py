"""The architectures of the family: one table, which training, checkpoints and benchmarks read.

A new architecture is a file in `encoders/`, whose class is an `ImageEncoder`, and an entry here. The table itself
needs no PyTorch; `build`, `detect`, `architecture_of` and `like` import it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from pocketsam.config import EFFICIENT_SAM, SAM, ModelConfig
from pocketsam.utils.tables import load

if TYPE_CHECKING:
    from pocketsam.models.encoders.base import ImageEncoder
    from pocketsam.models.layers import Shapes
    from pocketsam.models.mask_decoder import Variant
    from pocketsam.models.sam import Sam


@dataclass(frozen=True)
class Architecture:
    """A network of the family, whatever its weights.

    encoder: the class of its image encoder, as FILE:CLASS in `encoders/`. arguments: of that class.
    variant: whose prompt encoder and mask decoder it has.
    config: what it expects of a photo, unless its file says otherwise; the name is to be replaced.
    published: weights are published of it, under whose name files are recognised.
    trainable: a recipe can train it.
    """

    name: str
    encoder: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    variant: "Variant" = "sam"
    config: ModelConfig = SAM
    published: bool = False
    trainable: bool = False

    def build(self, image_size: int) -> "Sam":
        """The network with random weights, for images of this size. Raises ValueError for a size it does not take."""
        from pocketsam.models.sam import Sam

        return Sam(self.build_encoder(image_size), image_size, self.variant)

    def build_encoder(self, image_size: int) -> "ImageEncoder":
        """Its image encoder alone, with random weights, for images of this size."""
        return _encoder_class(self.encoder).for_size(image_size, **self.arguments)

    def detect(self, shapes: "Shapes") -> bool:
        """Whether a state dict with these shapes is exactly this network's, at its usual size."""
        encoder = _without_prefix(shapes)
        return _encoder_class(self.encoder).matches(encoder) and dict(shapes) == _shapes_of(self.name)


_SAM_VIT = "sam_vit:SamViT"
_TINY_VIT = "tiny_vit:TinyViT"
_VIT = "vit:ViT"
_EFFICIENTNET_LITE = "efficientnet_lite:EfficientNetLite"

_OURS = replace(SAM, resize="squash", click_masks=(0, 1, 2, 3), licence="")
"""Models that are trained here without a teacher: mask 0 is trained for single clicks, too."""
_IMAGENET = replace(_OURS, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
"""With EfficientNet-Lite's published ImageNet weights."""


def _sam_vit(width: int, depth: int, heads: int, hidden: int, blocks: tuple[int, ...]) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": heads, "hidden": hidden, "global_blocks": blocks}


def _tiny_vit(widths: tuple[int, ...], heads: tuple[int, ...], windows: tuple[int, ...]) -> dict[str, Any]:
    return {"widths": widths, "heads": heads, "windows": windows}


def _vit(width: int, depth: int = 12) -> dict[str, Any]:
    return {"width": width, "depth": depth, "hidden": 4 * width}


def _lite(widths: tuple[int, ...], depths: tuple[int, ...]) -> dict[str, Any]:
    return {"widths": widths, "depths": depths}


_LITE_0 = _lite((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1))
_LITE_1 = _lite((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1))
_LITE_2 = _lite((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1))
_LITE_3 = _lite((24, 32, 48, 96, 136, 232, 384), (1, 3, 3, 5, 5, 6, 1))
_LITE_4 = _lite((24, 32, 56, 112, 160, 272, 448), (1, 4, 4, 6, 6, 8, 1))
_TINY_VIT_1M = _tiny_vit(
    (32, 48, 64, 128), (1, 2, 2, 4), (8, 8, 16, 8)
)  # ours, for trials on a small machine
_TINY_VIT_5M = _tiny_vit((64, 128, 160, 320), (2, 4, 5, 10), (7, 7, 14, 7))
_TINY_VIT_11M = _tiny_vit((64, 128, 256, 448), (2, 4, 8, 14), (7, 7, 14, 7))
_TINY_VIT_21M = _tiny_vit((96, 192, 384, 576), (3, 6, 12, 18), (7, 7, 14, 7))
_VIT_MICRO = _vit(128, depth=6)  # ours, for trials on a small machine
_VIT_B = _sam_vit(768, 12, 12, 3072, (2, 5, 8, 11))
_VIT_L = _sam_vit(1024, 24, 16, 4096, (5, 11, 17, 23))
_VIT_H = _sam_vit(1280, 32, 16, 5120, (7, 15, 23, 31))
_SLIM_50 = _sam_vit(384, 12, 12, 1536, (2, 5, 8, 11))
_SLIM_77 = _sam_vit(168, 12, 12, 696, (2, 5, 8, 11))


_EFFICIENT_SAM: dict[str, Any] = {"variant": "efficient_sam", "config": EFFICIENT_SAM, "trainable": True}


def _published(name: str, encoder: str, arguments: dict[str, Any], **others: Any) -> Architecture:
    return Architecture(name, encoder, arguments, published=True, **others)


def _trainable(name: str, encoder: str, arguments: dict[str, Any], config: ModelConfig) -> Architecture:
    return Architecture(name, encoder, arguments, config=config, trainable=True)


_TABLE = (
    _published(
        "pocket", _EFFICIENTNET_LITE, _LITE_2, config=replace(_IMAGENET, image_size=512), trainable=True
    ),
    _published("mobile_sam", _TINY_VIT, _TINY_VIT_5M),
    _published("efficient_sam_ti", _VIT, _vit(192), **_EFFICIENT_SAM),
    _published("efficient_sam_s", _VIT, _vit(384), **_EFFICIENT_SAM),
    _published("slimsam_77", _SAM_VIT, _SLIM_77),
    _published("slimsam_50", _SAM_VIT, _SLIM_50),
    _published("sam_vit_b", _SAM_VIT, _VIT_B),
    _published("sam_vit_l", _SAM_VIT, _VIT_L),
    _published("sam_vit_h", _SAM_VIT, _VIT_H),
    _trainable("efficientnet_lite0", _EFFICIENTNET_LITE, _LITE_0, _IMAGENET),
    _trainable("efficientnet_lite1", _EFFICIENTNET_LITE, _LITE_1, _IMAGENET),
    _trainable("efficientnet_lite2", _EFFICIENTNET_LITE, _LITE_2, _IMAGENET),
    _trainable("efficientnet_lite3", _EFFICIENTNET_LITE, _LITE_3, _IMAGENET),
    _trainable("efficientnet_lite4", _EFFICIENTNET_LITE, _LITE_4, _IMAGENET),
    _trainable("tiny_vit_1m", _TINY_VIT, _TINY_VIT_1M, _OURS),
    _trainable("tiny_vit_5m", _TINY_VIT, _TINY_VIT_5M, _OURS),
    _trainable("tiny_vit_11m", _TINY_VIT, _TINY_VIT_11M, _OURS),
    _trainable("tiny_vit_21m", _TINY_VIT, _TINY_VIT_21M, _OURS),
    _trainable("vit_micro", _VIT, _VIT_MICRO, _OURS),
    _trainable("vit_tiny", _VIT, _vit(192), _OURS),
    _trainable("vit_small", _VIT, _vit(384), _OURS),
    _trainable("vit_base", _VIT, _vit(768), _OURS),
    Architecture("efficient_sam_micro", _VIT, _VIT_MICRO, **_EFFICIENT_SAM),
    _trainable("patches", "patches:Patches", {}, _OURS),
)
ARCHITECTURES = {architecture.name: architecture for architecture in _TABLE}
"""By name."""


def build(name: str, image_size: int) -> "Sam":
    """The architecture called so, with random weights, for images of this size."""
    return ARCHITECTURES[name].build(image_size)


def architecture_of(shapes: "Shapes") -> str:
    """The published name of the architecture with exactly these shapes, such as "sam_vit_b"; "" if it has none."""
    return next((one.name for one in _TABLE if one.published and one.detect(shapes)), "")


def like(shapes: "Shapes", image_size: int) -> "Sam":
    """The network whose state dict has these shapes, by the family's own names, pruned ones included.

    image_size: for encoders that take any; SAM's ViT brings its own.
    Raises LookupError where the tensors are of no known architecture, or too few to tell.
    """
    from pocketsam.models.sam import Sam, variant_of

    encoder = _without_prefix(shapes)
    kinds = (_encoder_class(path) for path in dict.fromkeys(one.encoder for one in _TABLE))
    kind = next((kind for kind in kinds if kind.matches(encoder)), None)
    if kind is None:
        raise LookupError("no known image encoder")
    image_encoder = kind.like(encoder)
    return Sam(image_encoder, image_encoder.image_size or image_size, variant_of(shapes))


@cache
def _shapes_of(name: str) -> "Shapes":
    """Of the architecture's state dict; nothing is initialised."""
    import torch

    architecture = ARCHITECTURES[name]
    with torch.device("meta"):
        sam = architecture.build(architecture.config.image_size)
    return {name: tuple(tensor.shape) for name, tensor in sam.state_dict().items()}


def _encoder_class(path: str) -> "type[ImageEncoder]":
    return cast("type[ImageEncoder]", load("pocketsam.models.encoders", path))


def _without_prefix(shapes: "Shapes") -> "Shapes":
    """The image encoder's own tensors, and others that no encoder has."""
    return {name.removeprefix("image_encoder."): shape for name, shape in shapes.items()}

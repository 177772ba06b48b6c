"""Published state dicts, whoever saved them, under the family's own names.

SAM, MobileSAM and TinySAM use these names. EfficientSAM and Hugging Face's `SamModel` (SlimSAM among them)
hold the same tensors under others; a few rules turn each into ours. No tensor is changed.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias, TypeVar

from pocketsam.models.layers import Shapes

T = TypeVar("T")
Rules: TypeAlias = tuple[tuple[str, str], ...]

_FREQUENCIES = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_HEADS = r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d|iou_prediction_head))"

EFFICIENT_SAM = (
    (r"^(image_encoder\.blocks\.\d+\.mlp)\.fc(\d)\.", r"\1.lin\2."),
    (r"\.mlp\.layers\.0\.0\.", ".mlp.lin1."),
    (r"^(mask_decoder\.transformer\..*)\.mlp\.fc\.", r"\1.mlp.lin2."),
    (r"\.final_output_upscaling_layers\.0\.", ".output_upscaling."),
    (r"\.final_output_upscaling_layers\.1\.0\.", ".output_upscaling.3."),
    (_HEADS + r"\.layers\.(\d)\.0\.", r"\1.layers.\2."),
    (_HEADS + r"\.fc\.", r"\1.layers.2."),
)

HUGGING_FACE = (
    (r"^(shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding", _FREQUENCIES),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm", r"image_encoder.blocks.\1.norm"),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn\.", "mask_decoder.transformer.norm_final_attn."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm", r"\1.norm"),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (_HEADS + r"\.proj_out\.", r"\1.layers.2."),
    (_HEADS + r"\.layers\.0\.", r"\1.layers.1."),
    (_HEADS + r"\.proj_in\.", r"\1.layers.0."),
)


EFFICIENTNET_LITE = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.norm."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.conv."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.norm."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.conv."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.norm."),
)
EFFICIENTNET_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
"""The tensors of an ImageNet classifier behind its encoder: no segmenter needs them."""


def rename(tensors: Mapping[str, T]) -> dict[str, T]:
    """`tensors` under our names; names that are no one else's stay as they are."""
    rules: Rules = EFFICIENT_SAM
    if any(name.startswith("vision_encoder.") for name in tensors):
        rules = HUGGING_FACE
    elif tensors and all(name.startswith("module.") for name in tensors):  # saved from a parallel wrapper
        return rename({name.removeprefix("module."): tensor for name, tensor in tensors.items()})
    return {_rename(name, rules): tensor for name, tensor in tensors.items()}


def rename_classifier(tensors: Mapping[str, T]) -> dict[str, T]:
    """The encoder in an ImageNet classifier's state dict, under our names; the classifier itself is left out.

    EfficientNet-Lite as published for PyTorch; others are returned as they are.
    """
    encoder = {n: t for n, t in tensors.items() if not n.startswith(EFFICIENTNET_CLASSIFIER)}
    return {_rename(name, EFFICIENTNET_LITE): tensor for name, tensor in encoder.items()}


def _rename(name: str, rules: Rules) -> str:
    for pattern, ours in rules:
        name, changed = re.subn(pattern, ours, name)
        if changed:
            return name
    return name


def architecture_of(shapes: Shapes) -> str:
    """The published name of the architecture with these shapes, such as "sam_vit_b"; "" if it has none."""
    return next((name for name, telling in _TELLING.items() if _tells(telling, shapes)), "")


def _tells(telling: tuple[int, Shapes], shapes: Shapes) -> bool:
    tensors, some = telling
    return len(shapes) == tensors and all(shapes.get(name) == shape for name, shape in some.items())


def _sam_vit(tensors: int, width: int, hidden: int) -> tuple[int, Shapes]:
    mlp = "image_encoder.blocks.0.mlp.lin1.weight"
    return tensors, {"image_encoder.pos_embed": (1, 64, 64, width), mlp: (hidden, width)}


def _vit(width: int) -> tuple[int, Shapes]:
    mlp = "image_encoder.blocks.0.mlp.lin1.weight"
    return 278, {"image_encoder.pos_embed": (1, 197, width), mlp: (4 * width, width)}


def _tiny_vit(window: int) -> tuple[int, Shapes]:
    return 439, {"image_encoder.layers.2.blocks.0.attn.attention_biases": (5, window**2)}


# How many tensors there are, which counts the blocks, and the shapes that tell one from another.
_TELLING: dict[str, tuple[int, Shapes]] = {
    "sam_vit_b": _sam_vit(314, 768, 3072),
    "sam_vit_l": _sam_vit(482, 1024, 4096),
    "sam_vit_h": _sam_vit(594, 1280, 5120),
    "slimsam_50": _sam_vit(314, 384, 1536),
    "slimsam_77": _sam_vit(314, 168, 696),
    "efficient_sam_ti": _vit(192),
    "efficient_sam_s": _vit(384),
    "mobile_sam": _tiny_vit(14),
    "pocket": (527, {"image_encoder.neck.skip8.weight": (64, 48, 1, 1)}),
}

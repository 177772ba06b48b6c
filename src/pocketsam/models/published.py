"""Published state dicts, whoever saved them, under the family's own names.

SAM, MobileSAM and TinySAM use these names. EfficientSAM and Hugging Face's `SamModel` (SlimSAM among them)
hold the same tensors under others; a few rules turn each into ours. No tensor is changed.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias, TypeVar

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

TO_EFFICIENT_SAM = (
    (r"^(image_encoder\.blocks\.\d+\.mlp)\.lin(\d)\.", r"\1.fc\2."),
    (r"^(mask_decoder\.transformer\..*)\.mlp\.lin1\.", r"\1.mlp.layers.0.0."),
    (r"^(mask_decoder\.transformer\..*)\.mlp\.lin2\.", r"\1.mlp.fc."),
    (r"\.output_upscaling\.3\.", ".final_output_upscaling_layers.1.0."),
    (r"\.output_upscaling\.", ".final_output_upscaling_layers.0."),
    (_HEADS + r"\.layers\.2\.", r"\1.fc."),
    (_HEADS + r"\.layers\.(\d)\.", r"\1.layers.\2.0."),
)
"""`EFFICIENT_SAM` undone."""

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


TEACHER = "teacher."
WRAPPERS = ("module.", TEACHER, "sam.")
"""What names begin with in files saved from a parallel wrapper, from a distillation, and by micro-sam's training.

Beside a teacher there is its student, which is left out.
"""
SAM_HQ = tuple(
    f"mask_decoder.{name}."
    for name in ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
)
"""What SAM-HQ (arXiv 2306.01567) adds to SAM, whose own tensors it leaves as they are."""


def without_hq(tensors: Mapping[str, T]) -> dict[str, T]:
    """SAM's own tensors of a SAM-HQ file; all tensors of any other."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(SAM_HQ)}


def rename(tensors: Mapping[str, T]) -> dict[str, T]:
    """`tensors` under our names; names that are no one else's stay as they are."""
    for prefix in WRAPPERS:
        inside = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        if inside and (len(inside) == len(tensors) or prefix == TEACHER):
            return rename(inside)
    rules: Rules = EFFICIENT_SAM
    if any(name.startswith("vision_encoder.") for name in tensors):
        rules = HUGGING_FACE
    return {_rename(name, rules): tensor for name, tensor in tensors.items()}


def as_published(tensors: Mapping[str, T]) -> dict[str, dict[str, T]] | dict[str, T]:
    """A state dict of ours as the authors' own code reads it from a file.

    EfficientSAM has names of its own, and its state dict under "model". All others have ours.
    """
    if "prompt_encoder.invalid_points.weight" not in tensors:
        return dict(tensors)
    return {"model": {_rename(name, TO_EFFICIENT_SAM): tensor for name, tensor in tensors.items()}}


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

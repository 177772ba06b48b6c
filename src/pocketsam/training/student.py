"""The student: the network of a recipe, its first weights, and what it expects of a photo."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from pocketsam.config import ModelConfig
from pocketsam.errors import ModelError
from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.models.checkpoints import config_of, load_published, load_strictly, mean_weights
from pocketsam.models.mask_decoder import Attention
from pocketsam.models.published import rename_classifier
from pocketsam.models.sam import Sam
from pocketsam.training.config import Recipe
from pocketsam.training.teacher import Teacher, copy_decoder


def make_student(
    recipe: Recipe, teacher: Teacher | None = None, decoder_is_frozen: bool = False
) -> tuple[Sam, ModelConfig]:
    """The network with its first weights, and its config. With a teacher, the decoder starts as the teacher's.

    decoder_is_frozen: neither prompt encoder nor mask decoder learns; whatever the recipe starts from, they are the
    teacher's.
    Raises ModelError where the first weights cannot be used.
    """
    sam = ARCHITECTURES[recipe.model].build(recipe.image_size)
    if teacher:
        sam = Sam(sam.image_encoder, recipe.image_size, teacher.sam.variant)
        copy_decoder(teacher, sam)
    else:
        initialise_attention(sam)
    if recipe.encoder_weights:
        initialise_encoder(sam.image_encoder, Path(recipe.encoder_weights))
        sam.image_encoder.keeps_statistics = True
    known = teacher.config if teacher else ARCHITECTURES[recipe.model].config
    if recipe.init:
        given = _initialise(sam, [Path(path) for path in recipe.init], encoder_only=decoder_is_frozen)
        sam.image_encoder.keeps_statistics |= any(name.startswith("image_encoder.") for name in given)
        if teacher is None and given >= sam.state_dict().keys():
            known = config_of(Path(recipe.init[0])) or known
    if decoder_is_frozen:
        sam.prompt_encoder.requires_grad_(False)
        sam.mask_decoder.requires_grad_(False)
    keeps_masks = decoder_is_frozen or (teacher is None and sam.variant == "efficient_sam")
    return sam, _config(recipe, sam, known, keeps_masks)


@torch.no_grad()
def initialise_attention(sam: Sam) -> None:
    """Start the mask decoder's keys as its queries, a little stronger than usual.

    From the first step on like attends to like, and near to near, which a decoder that starts from random weights
    would have to find out first.
    """
    for module in sam.mask_decoder.modules():
        if isinstance(module, Attention):
            module.q_proj.weight.mul_(1.5)
            module.k_proj.weight.copy_(module.q_proj.weight)


def initialise_encoder(encoder: nn.Module, path: Path) -> None:
    """Start an encoder, but for its neck, from an ImageNet classifier; every tensor must fit."""
    tensors = rename_classifier(load_published(path)[0])
    neck = {name: tensor for name, tensor in encoder.state_dict().items() if name.startswith("neck.")}
    load_strictly(encoder, neck | tensors, path)


def _initialise(sam: Sam, paths: list[Path], encoder_only: bool) -> set[str]:
    """Start from the mean of the weights in the files; an encoder of another architecture is left out.

    Returns the names of the tensors that start so.
    """
    tensors = mean_weights(paths)
    own = sam.state_dict()
    same_encoder = all(n in own and own[n].shape == t.shape for n, t in tensors.items())
    chosen = {
        name: tensor
        for name, tensor in tensors.items()
        if (same_encoder if name.startswith("image_encoder.") else not encoder_only)
    }
    if not chosen:
        raise ModelError(
            f"{paths[0]}: is of another encoder, and holds nothing else to start from; change model or init"
        )
    load_strictly(sam, own | chosen, paths[0])
    return set(chosen)


def _config(recipe: Recipe, sam: Sam, config: ModelConfig, keeps_masks: bool) -> ModelConfig:
    """A student sees photos, and is used, as the model of `config` is: its teacher, or what it starts from.

    With a decoder that learns, mask 0 is valid for every prompt and any of the four masks for a single click;
    EfficientSAM's users are given masks 1 to 3 for every prompt, so its network learns these.
    """
    if not keeps_masks:
        config = replace(config, click_masks=(0, 1, 2, 3), prompt_masks=(0,), correction_masks=(0, 1, 2, 3))
    return replace(
        config,
        name=recipe.model,
        image_size=recipe.image_size,
        licence=recipe.licence,
        architecture="",
        weights="",
        numerics="float32",
        embedding_channels=sam.embedding_channels,
    )

"""From a recipe to what trains: the student, what it expects of a photo, and the method that gives its loss.

supervised      the masks of people; all of the model learns
coupled         the same, or a teacher's masks; the decoder starts as the teacher's
semi-coupled    through the teacher's decoder, which is frozen
decoupled       the teacher's image embeddings; only the encoder learns
full-stage      embeddings, tokens and masks, mined for what is hard
"""

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from pocketsam.config import ModelConfig
from pocketsam.embeddings.store import EmbeddingStore
from pocketsam.errors import ModelError
from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.models.checkpoints import load_published, load_strictly
from pocketsam.models.layers import Normalise
from pocketsam.models.mask_decoder import Attention
from pocketsam.models.published import rename_classifier
from pocketsam.models.sam import Sam
from pocketsam.training.config import Recipe
from pocketsam.training.tasks.decoupled import Decoupled
from pocketsam.training.tasks.full_stage import FullStage
from pocketsam.training.tasks.supervised import Supervise
from pocketsam.training.teacher import Teacher, copy_decoder, load_teacher

Method: TypeAlias = Supervise | Decoupled | FullStage
"""A module of (batch, step) that returns its losses; its teacher, if it asks one."""


def build(recipe: Recipe) -> tuple[Sam, ModelConfig, Method]:
    """The student, its config, and the method.

    Raises ModelError or DataError where the teacher, the embeddings or the first weights cannot be used.
    """
    teacher = load_teacher(recipe.teacher, in_the_loop=not recipe.embeddings) if recipe.teacher else None
    if teacher and recipe.embeddings:
        EmbeddingStore(recipe.embeddings).check(teacher.config)
    sam = _student(recipe, teacher)
    config = _config(recipe, sam, teacher)
    return sam, config, _method(recipe, sam, config, teacher)


def _student(recipe: Recipe, teacher: Teacher | None) -> Sam:
    sam = ARCHITECTURES[recipe.model].build(recipe.image_size)
    if teacher:
        sam = Sam(sam.image_encoder, recipe.image_size, teacher.sam.variant)
        copy_decoder(teacher, sam)
    else:
        initialise_attention(sam)
    if recipe.encoder_weights:
        _initialise_encoder(sam.image_encoder, Path(recipe.encoder_weights))
    if recipe.init:
        _initialise(sam, [Path(path) for path in recipe.init], recipe.decoder_is_frozen)
    return sam


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


def _initialise_encoder(encoder: nn.Module, path: Path) -> None:
    """Start an encoder, but for its neck, from an ImageNet classifier; every tensor must fit."""
    tensors = rename_classifier(load_published(path)[0])
    neck = {name: tensor for name, tensor in encoder.state_dict().items() if name.startswith("neck.")}
    load_strictly(encoder, neck | tensors, path)


def _initialise(sam: Sam, paths: list[Path], encoder_only: bool) -> None:
    """Start from the mean of the weights in the files; an encoder of another architecture is left out."""
    tensors = _mean(paths)
    own = sam.state_dict()
    same_encoder = all(n in own and own[n].shape == t.shape for n, t in tensors.items())
    chosen = {
        name: tensor
        for name, tensor in tensors.items()
        if (same_encoder if name.startswith("image_encoder.") else not encoder_only)
    }
    load_strictly(sam, own | chosen, paths[0])


def _mean(paths: list[Path]) -> dict[str, Tensor]:
    """The mean of weights that were trained from one start: often better than each (arXiv 2203.05482)."""
    every = [load_published(path)[0] for path in paths]
    for path, tensors in zip(paths, every, strict=True):
        if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in every[0].items()}:
            raise ModelError(f"{path}: is of another architecture than {paths[0]}; average weights of one")
    return {
        name: torch.stack([tensors[name] for tensors in every]).mean(0)
        if first.is_floating_point()
        else first
        for name, first in every[0].items()
    }


def _config(recipe: Recipe, sam: Sam, teacher: Teacher | None) -> ModelConfig:
    """A student sees photos as its teacher does, but for the size.

    Through a decoder of its own it answers as it is taught: mask 0 to every prompt, any of the four to a lone click.
    """
    if teacher:
        student = replace(
            teacher.config,
            name=recipe.model,
            image_size=recipe.image_size,
            licence=recipe.licence,
            architecture="",
            weights="",
            numerics="float32",
        )
        own = {} if recipe.decoder_is_frozen else {"click_masks": (0, 1, 2, 3), "prompt_masks": (0,)}
        return replace(student, **own)  # type: ignore[arg-type]
    config = ARCHITECTURES[recipe.model].config
    return replace(config, name=recipe.model, image_size=recipe.image_size, licence=recipe.licence)


def _method(recipe: Recipe, sam: Sam, config: ModelConfig, teacher: Teacher | None) -> Method:
    if recipe.method == "decoupled":
        assert teacher
        return Decoupled(sam, teacher)
    if recipe.method == "full-stage":
        assert teacher
        return FullStage(sam, teacher, recipe.stages, recipe.pixel_loss)
    if recipe.decoder_is_frozen:
        sam.prompt_encoder.requires_grad_(False)
        sam.mask_decoder.requires_grad_(False)
    return Supervise(
        sam,
        Normalise(config.mean, config.std),
        recipe.rounds,
        recipe.clicks,
        recipe.pixel_loss,
        config.pad_points_to,
        teacher if recipe.masks == "teacher" else None,
        recipe.objects,
    )

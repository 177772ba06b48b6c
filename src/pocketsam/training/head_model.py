"""The network of a recipe with a head, its first weights, and what it expects of a photo."""

from dataclasses import replace
from pathlib import Path

from pocketsam.config import HeadConfig, ModelConfig
from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.models.checkpoints import load_strictly, mean_weights
from pocketsam.models.heads.base import HeadModel, build_head_model
from pocketsam.training.config import HeadRecipe
from pocketsam.training.student import initialise_encoder

ENCODER = "image_encoder."


def make_head_model(
    recipe: HeadRecipe, head: HeadConfig, learns_encoder: bool = True
) -> tuple[HeadModel, ModelConfig]:
    """The network with its first weights, and its config. The head starts from random weights.

    The encoder starts as that of `init`, of whatever task: a file of ours or of the family's.
    Raises ModelError where the first weights cannot be used.
    """
    model = build_head_model(head, recipe.image_size, learns_encoder=learns_encoder)
    model.image_encoder.keeps_statistics = recipe.keeps_statistics
    if recipe.encoder_weights:
        initialise_encoder(model.image_encoder, Path(recipe.encoder_weights))
    if recipe.init:
        _initialise(model, [Path(path) for path in recipe.init])
    config = replace(
        ARCHITECTURES[recipe.model].config,
        name=recipe.model,
        image_size=recipe.image_size,
        licence=recipe.licence,
        architecture="",
    )
    return model, config


def _initialise(model: HeadModel, paths: list[Path]) -> None:
    """Start the encoder from the mean of those in the files, without their necks; every tensor must fit."""
    tensors = {
        name.removeprefix(ENCODER): tensor
        for name, tensor in mean_weights(paths).items()
        if name.startswith(ENCODER) and not name.startswith(f"{ENCODER}neck.")
    }
    load_strictly(model.image_encoder, tensors, paths[0])

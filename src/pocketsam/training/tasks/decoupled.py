"""Decoupled distillation: the encoder alone learns, from embeddings alone. The loss is `losses/decoupled.py`."""

from typing import TYPE_CHECKING, Literal

from pocketsam.training.config import DistillationRecipe

if TYPE_CHECKING:
    from pocketsam.training.task import Task


class DecoupledRecipe(DistillationRecipe):
    """The encoder learns the teacher's image embeddings; photos need no masks."""

    method: Literal["decoupled"]


def build(recipe: DecoupledRecipe) -> "Task":
    """See `tasks.build_task`."""
    from pocketsam.training.losses.decoupled import Decoupled
    from pocketsam.training.samples.masks import MaskSamples
    from pocketsam.training.student import make_student
    from pocketsam.training.task import Task, prompt_validator
    from pocketsam.training.teacher import load_teacher

    teacher = load_teacher(recipe.teacher, recipe.embeddings)
    sam, config = make_student(recipe, teacher, decoder_is_frozen=True)
    samples = MaskSamples(recipe, config.resize, 0, teacher.config, recipe.embeddings)
    return Task(sam, config, Decoupled(sam, teacher), samples, prompt_validator(recipe, config))

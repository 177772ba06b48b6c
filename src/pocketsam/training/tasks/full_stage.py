"""Full-stage distillation: the student learns from every stage of its teacher. The loss is `losses/full_stage.py`."""

from typing import TYPE_CHECKING, Literal

from pocketsam.training.config import DistillationRecipe, PromptRecipe, Stages

if TYPE_CHECKING:
    from pocketsam.training.task import Task


class FullStageRecipe(PromptRecipe, DistillationRecipe):
    """Encoder and mask decoder learn embeddings, output tokens and masks of the teacher, and the ground truth."""

    method: Literal["full-stage"]
    stages: Stages = Stages()
    """How much each part counts."""


def build(recipe: FullStageRecipe) -> "Task":
    """See `tasks.build_task`."""
    from pocketsam.training.losses.full_stage import FullStage
    from pocketsam.training.samples.masks import MaskSamples
    from pocketsam.training.student import make_student
    from pocketsam.training.task import Task, prompt_validator
    from pocketsam.training.teacher import load_teacher

    teacher = load_teacher(recipe.teacher, recipe.embeddings)
    sam, config = make_student(recipe, teacher)
    samples = MaskSamples(recipe, config.resize, recipe.objects, teacher.config, recipe.embeddings)
    loss = FullStage(sam, teacher, recipe.stages, recipe.pixel_loss, recipe.centre_clicks)
    return Task(sam, config, loss, samples, prompt_validator(recipe, config))

"""Fine-tuning on ground truth with adversarial photos, so that attacks take less of the masks away."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pocketsam.training.config import MaskRecipe, Probability
from pocketsam.training.tasks import supervised

if TYPE_CHECKING:
    from pocketsam.training.task import Task


class AdversarialRecipe(MaskRecipe):
    """Training on ground truth, with photos that PGD changes in each step."""

    method: Literal["adversarial"]
    epsilon: float = Field(4.0, gt=0)
    """The largest change of a pixel, in grey levels."""
    attack_step: float = Field(2.0, gt=0)
    """The length of a step of PGD, in grey levels."""
    attack_steps: int = Field(2, gt=0)
    """Each costs as much as a step of training."""
    attacked: Probability = 0.5
    """The share of the photos of a batch that is changed."""


def build(recipe: AdversarialRecipe) -> "Task":
    """See `tasks.build_task`."""
    from pocketsam.training.losses.adversarial import Adversarial

    task = supervised.build(recipe)
    loss = Adversarial(task.loss, recipe.epsilon, recipe.attack_step, recipe.attack_steps, recipe.attacked)
    return replace(task, loss=loss)

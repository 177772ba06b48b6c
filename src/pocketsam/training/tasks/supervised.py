"""Training on masks: on those of the data, or on a teacher's (MobileSAM, arXiv 2306.14289, section 3.2).

The loss is `losses/supervised.py`. With encoder and decoder learning together from a teacher's masks this is coupled
distillation; with the teacher's decoder, frozen, it is the semi-coupled one.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from pocketsam.training.config import DistillationRecipe, MaskRecipe

if TYPE_CHECKING:
    from pocketsam.training.task import Task


class SupervisedRecipe(MaskRecipe):
    """Training on ground truth, without a teacher."""

    method: Literal["supervised"] = "supervised"


class CoupledRecipe(MaskRecipe, DistillationRecipe):
    """Training on masks, from the teacher's decoder on; semi-coupled: through that decoder, which is frozen."""

    method: Literal["coupled", "semi-coupled"]
    masks: Literal["ground truth", "teacher"] = "ground truth"
    """Which masks are learned: those of the data, or those that the teacher finds at clicks."""

    @model_validator(mode="after")
    def _needs_embeddings(self) -> "CoupledRecipe":
        if self.embeddings and self.masks == "ground truth":
            raise ValueError(f"{self.method} training on ground truth needs no embeddings; leave them out")
        return self


def build(recipe: MaskRecipe) -> "Task":
    """See `tasks.build_task`. recipe: of one of the methods of this file, or of another that learns from masks."""
    from pocketsam.models.layers import Normalise
    from pocketsam.training.losses.supervised import Supervised
    from pocketsam.training.samples.masks import MaskSamples
    from pocketsam.training.student import make_student
    from pocketsam.training.task import Task, prompt_validator
    from pocketsam.training.teacher import load_teacher

    teacher, embeddings, objects = None, None, recipe.objects
    if isinstance(recipe, CoupledRecipe):
        teacher, embeddings = load_teacher(recipe.teacher, recipe.embeddings), recipe.embeddings
        objects = 0 if recipe.masks == "teacher" else objects
    sam, config = make_student(recipe, teacher, decoder_is_frozen=recipe.method == "semi-coupled")
    source = None if objects else teacher
    samples = MaskSamples(recipe, config.resize, objects, source.config if source else None, embeddings)
    loss = Supervised(
        sam,
        Normalise(config.mean, config.std),
        recipe.rounds,
        recipe.clicks,
        recipe.pixel_loss,
        config.pad_points_to,
        source,
        recipe.objects,
        recipe.centre_clicks,
        recipe.mask_feedback,
        recipe.lone_corrections,
        recipe.centre_corrections,
        recipe.click_weight,
        always_multimask=0 not in config.prompt_masks,
    )
    return Task(sam, config, loss, samples, prompt_validator(recipe, config))

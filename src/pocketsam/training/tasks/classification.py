"""Image classification, on any encoder: finetuned, or a linear probe. The loss is `losses/classification.py`.

The recipe is MAE's (arXiv 2111.06377, appendix A.1), which EfficientSAM follows (arXiv 2312.00863, section 4.2).
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from pocketsam.training.config import HeadRecipe

if TYPE_CHECKING:
    from pocketsam.training.task import Task


class ClassificationRecipe(HeadRecipe):
    """Class folders: ROOT/CLASS/NAME.jpg, in folders or in tar files (`photos.tar/train`)."""

    method: Literal["classification"]
    linear_probe: bool = False
    """The encoder is frozen, and the classifier alone learns."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    mixup: float = Field(0.0, ge=0)
    """α of the shares of two blended photos; 0 for none."""
    cutmix: float = Field(0.0, ge=0)
    """α of the shares where a window of one photo is put into another; 0 for none."""

    @model_validator(mode="after")
    def _is_not_zoomed_out(self) -> Self:
        if self.augmentation.zoom_out:
            raise ValueError("augmentation: zoom_out: classification takes crops only; leave it out")
        return self


def build(recipe: ClassificationRecipe) -> "Task":
    """See `tasks.build_task`."""
    from pocketsam.config import HEAD_KEY, HeadConfig
    from pocketsam.data.class_folders import ClassFolders
    from pocketsam.evaluation.protocols.classification import Classification as Protocol
    from pocketsam.models.layers import Normalise
    from pocketsam.training.head_model import make_head_model
    from pocketsam.training.losses.classification import Classification
    from pocketsam.training.samples.classes import ClassificationSamples
    from pocketsam.training.task import Task, head_validator

    data = ClassFolders(recipe.train)
    head = HeadConfig("classification", recipe.model, tuple(data.classes))
    model, config = make_head_model(recipe, head, learns_encoder=not recipe.linear_probe)
    samples = ClassificationSamples(
        data, recipe.seed, recipe.image_size, config.resize, recipe.augmentation, recipe.mixup, recipe.cutmix
    )
    loss = Classification(model, Normalise(config.mean, config.std), recipe.label_smoothing)
    validate = None
    if recipe.val:
        val = ClassFolders(recipe.val, data.classes)
        validate = head_validator(Protocol(val), val, recipe.val_photos, head, config)
    return Task(model, config, loss, samples, validate, metadata={HEAD_KEY: head.to_json()})

"""Object detection and instance segmentation, on any encoder. The loss is `losses/detection.py`."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pocketsam.training.config import CategoryRecipe

if TYPE_CHECKING:
    from pocketsam.training.task import Task


class DetectionRecipe(CategoryRecipe):
    """The boxes, classes and masks of objects, from a COCO JSON."""

    method: Literal["detection"]
    masks: bool = True
    """Whether masks are learned, besides boxes."""
    objects: int = Field(100, gt=0)
    """The most objects of a photo that are learned; the largest, where it has more."""
    channels: int = Field(256, gt=0, multiple_of=8)
    """Of the pyramid and the heads."""
    depth: int = Field(4, ge=0)
    """Convolutions before each output."""


def build(recipe: DetectionRecipe) -> "Task":
    """See `tasks.build_task`."""
    from pocketsam.config import HEAD_KEY, HeadConfig
    from pocketsam.data.categories import CategorySet
    from pocketsam.evaluation.average_precision import require_counter
    from pocketsam.evaluation.protocols.detection import Detection as Protocol
    from pocketsam.models.layers import Normalise
    from pocketsam.training.head_model import make_head_model
    from pocketsam.training.losses.detection import Detection
    from pocketsam.training.samples.categories import DetectionSamples, Framing
    from pocketsam.training.task import Task, head_validator

    data = CategorySet(recipe.train, recipe.photos, leave_out=recipe.leave_out)
    arguments = {"channels": recipe.channels, "depth": recipe.depth, "masks": recipe.masks}
    head = HeadConfig("detection", recipe.model, data.classes, arguments)
    model, config = make_head_model(recipe, head)
    framing = Framing(recipe.image_size, config.resize, recipe.augmentation)
    samples = DetectionSamples(data, recipe.seed, framing, recipe.objects)
    loss = Detection(model, Normalise(config.mean, config.std))
    validate = None
    if recipe.val:
        require_counter()
        val = CategorySet(recipe.val, recipe.photos, data.classes, leave_out=recipe.leave_out)
        validate = head_validator(Protocol(val), val, recipe.val_photos, head, config)
    return Task(model, config, loss, samples, validate, metadata={HEAD_KEY: head.to_json()})

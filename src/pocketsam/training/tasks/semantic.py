"""Semantic segmentation, on any encoder, in Mask2Former's way. The loss is `losses/semantic.py`."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pocketsam.training.config import CategoryRecipe

if TYPE_CHECKING:
    from pocketsam.training.task import Task


class SemanticRecipe(CategoryRecipe):
    """The class of every pixel, from a COCO JSON, label maps or ADE20K."""

    method: Literal["semantic"]
    background: Literal["class", "ignored"] = "class"
    """Whether the pixels of no category are a class, as in COCO, or not labelled, as in ADE20K."""
    channels: int = Field(256, gt=0, multiple_of=32)
    """Of the pyramid and the queries."""
    queries: int = Field(100, gt=0)
    layers: int = Field(9, gt=0)
    """Of the transformer decoder."""


def build(recipe: SemanticRecipe) -> "Task":
    """See `tasks.build_task`."""
    from pocketsam.config import HEAD_KEY, HeadConfig
    from pocketsam.data.categories import CategorySet
    from pocketsam.evaluation.protocols.semantic import Semantic as Protocol
    from pocketsam.models.layers import Normalise
    from pocketsam.training.head_model import make_head_model
    from pocketsam.training.losses.semantic import Semantic
    from pocketsam.training.samples.categories import Framing, SemanticSamples
    from pocketsam.training.task import Task, head_validator

    data = CategorySet(
        recipe.train, recipe.photos, leave_out=recipe.leave_out, background=recipe.background == "class"
    )
    arguments = {"channels": recipe.channels, "queries": recipe.queries, "layers": recipe.layers}
    head = HeadConfig("semantic", recipe.model, data.classes, arguments)
    model, config = make_head_model(recipe, head)
    framing = Framing(recipe.image_size, config.resize, recipe.augmentation)
    loss = Semantic(model, Normalise(config.mean, config.std))
    validate = None
    if recipe.val:
        val = CategorySet(recipe.val, recipe.photos, data.classes, leave_out=recipe.leave_out)
        validate = head_validator(Protocol(val), val, recipe.val_photos, head, config)
    samples = SemanticSamples(data, recipe.seed, framing)
    return Task(model, config, loss, samples, validate, metadata={HEAD_KEY: head.to_json()})

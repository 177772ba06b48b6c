"""A saliency head on a model's image embedding, for cut-outs without a prompt. The loss is `losses/saliency.py`.

The encoder is frozen, so that its embeddings serve prompts as before: they are computed once, before the first
step, of each photo and of its mirror image.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pocketsam.training.config import Recipe

if TYPE_CHECKING:
    from pocketsam.training.task import Task


class SaliencyRecipe(Recipe):
    """Photos whose masks are their salient objects, in SA-1B's layout."""

    unused = ("augmentation", "encoder_weights", "image_size", "init", "val", "val_photos")
    method: Literal["saliency"]
    encoder: str = "pocket"
    """The model that encodes photos: its name or its folder."""
    sources: list[str] = Field([])
    """Only photos from these sources, which the field `source` in their .json names; all, if none is given."""
    width: int = Field(96, gt=0, multiple_of=4)
    """The head's channels at stride 16."""
    draw: Literal["photos"] = "photos"
    """Every photo once an epoch."""
    workers: int = Field(0, ge=0)
    """Reading stored numbers takes no time."""


def build(recipe: SaliencyRecipe) -> "Task":
    """See `tasks.build_task`."""
    from pocketsam.config import ENCODER_KEY, HEAD_KEY, HeadConfig
    from pocketsam.models.saliency import SaliencyHead
    from pocketsam.segmenter import Segmenter
    from pocketsam.training.losses.saliency import Saliency
    from pocketsam.training.samples.stored_features import StoredFeatures
    from pocketsam.training.task import Task

    segmenter = Segmenter(recipe.encoder)
    config = segmenter.engine.config
    arguments = {"channels": config.embedding_channels, "width": recipe.width}
    head = HeadConfig("saliency", config.architecture, ("salient object",), arguments)
    model = SaliencyHead(**arguments)
    samples = StoredFeatures(recipe.train, recipe.sources, recipe.seed, recipe.folder, segmenter.engine)
    metadata = {ENCODER_KEY: config.to_json(), HEAD_KEY: head.to_json()}
    return Task(model, config, Saliency(model), samples, metadata=metadata)

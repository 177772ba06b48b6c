"""Masked image pretraining of a ViT: SAMI, which EfficientSAM starts from (arXiv 2312.00863), and MAE (2111.06377).

The encoder sees a quarter of a photo's patches; with a light decoder behind it, it learns what a teacher's encoder
makes of all of them (SAMI), or what the others look like (MAE). The loss is `losses/sami.py`, the decoders are in
`models/masked.py`. The result is the encoder, which any other method takes as `init`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from pocketsam.embeddings.signature import EMBEDDING_STRIDE
from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.training.config import DRAWN, Decay, Probability, Recipe

if TYPE_CHECKING:
    from pocketsam.models.masked import MaskedModel
    from pocketsam.training.samples.views import Views
    from pocketsam.training.task import Task


class MaskedRecipe(Recipe):
    """What SAMI and MAE have in common. The defaults are EfficientSAM's."""

    unused = ("augmentation", "draw", "encoder_weights", "init", "val")
    image_size: int = Field(224, multiple_of=EMBEDDING_STRIDE, gt=0)
    """Pixels a side of the model's input."""
    mask_ratio: float = Field(0.75, gt=0, lt=1)
    """The share of the patches that the encoder does not see."""
    decoder: Literal["cross-attention", "all tokens"]
    """Whether the decoder makes features of the masked patches alone, from the visible ones, or of all patches."""
    decoder_blocks: int = Field(8, gt=0)
    decoder_width: int = Field(512, gt=0, multiple_of=32)
    min_area: float = Field(0.2, gt=0, le=1)
    """The smallest crop, as a fraction of the photo's area."""
    flip: Probability = 0.5
    """Left becomes right."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)

    @field_validator("model")
    @classmethod
    def _is_a_vit(cls, name: str) -> str:
        names = [n for n, one in ARCHITECTURES.items() if one.trainable and one.encoder == "vit:ViT"]
        if name not in names:
            raise ValueError(f"{name} cannot leave patches out; choose a plain ViT: {', '.join(names)}")
        return name

    @model_validator(mode="after")
    def _can_be_pretrained(self) -> "MaskedRecipe":
        if self.train == DRAWN:
            raise ValueError("pretraining needs photos; give shards or folders to train on")
        if not 0 < self.visible < self.patches:
            raise ValueError(
                f"mask_ratio: {self.mask_ratio} of {self.patches} patches leaves {self.visible} visible; some patches"
                " must be visible and some masked"
            )
        return self

    @property
    def patches(self) -> int:
        """Of an image."""
        return (self.image_size // EMBEDDING_STRIDE) ** 2

    @property
    def visible(self) -> int:
        """How many of them the encoder sees."""
        return round(self.patches * (1 - self.mask_ratio))


class SamiRecipe(MaskedRecipe):
    """The encoder learns a teacher's embedding of every patch, of which it sees a part."""

    method: Literal["sami"]
    embeddings: str
    """Where `pocketsam embed` stored the teacher's; the width of the target is theirs."""
    decoder: Literal["cross-attention", "all tokens"] = "cross-attention"
    loss: Literal["squared error", "cosine"] = "squared error"


class MaeRecipe(MaskedRecipe):
    """The encoder learns the pixels of the patches that it does not see."""

    method: Literal["mae"]
    decoder: Literal["cross-attention", "all tokens"] = "all tokens"


def build(recipe: SamiRecipe | MaeRecipe) -> "Task":
    """See `tasks.build_task`."""
    from pocketsam.models.layers import Normalise
    from pocketsam.models.masked import MaskedModel
    from pocketsam.training.losses.sami import Mae, Sami
    from pocketsam.training.task import Task

    config = replace(ARCHITECTURES[recipe.model].config, name=recipe.model, licence=recipe.licence)
    normalise = Normalise(config.mean, config.std)
    samples = _views(recipe)
    loss: Sami | Mae
    if isinstance(recipe, SamiRecipe):
        model = _model(recipe, samples.channels)
        loss = Sami(model, normalise, recipe.visible, by_angle=recipe.loss == "cosine")
    else:
        model = _model(recipe, 3 * EMBEDDING_STRIDE**2)
        loss = Mae(model, normalise, recipe.visible)
    return Task(model, config, loss, samples, result=MaskedModel.encoder_weights)


def _views(recipe: SamiRecipe | MaeRecipe) -> "Views":
    from pocketsam.training.samples.views import Views

    embeddings = recipe.embeddings if isinstance(recipe, SamiRecipe) else None
    return Views(recipe.train, recipe.seed, recipe.image_size, recipe.min_area, recipe.flip, embeddings)


def _model(recipe: SamiRecipe | MaeRecipe, channels: int) -> "MaskedModel":
    """The encoder, the decoder that the recipe names, and a head for so many channels, with random weights."""
    from pocketsam.models.encoders.vit import ViT
    from pocketsam.models.masked import AllTokenDecoder, CrossAttentionDecoder, MaskedModel

    arguments = ARCHITECTURES[recipe.model].arguments
    encoder = ViT(**arguments)
    kind = CrossAttentionDecoder if recipe.decoder == "cross-attention" else AllTokenDecoder
    side = recipe.image_size // EMBEDDING_STRIDE
    decoder = kind(arguments["width"], side, recipe.decoder_width, recipe.decoder_blocks)
    return MaskedModel(encoder, decoder, channels)

"""Recipes: all that determines a training run. What every run has, then what methods have in common.

What a single method adds is in its file in `tasks/`. None of these needs PyTorch, so that recipes can be read and
checked anywhere. `recipe.py` reads them from YAML.
"""

import os
from glob import glob
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from pocketsam.models.architectures import ARCHITECTURES

DRAWN = "drawn shapes"

PixelLoss: TypeAlias = Literal["focal", "cross-entropy"]
Probability: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Decay: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class Part(BaseModel):
    """A part of a recipe; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Augmentation(Part):
    """What is done to a photo before a model learns from it; all but min_crop are probabilities, for each photo."""

    min_crop: float = Field(default=0.3, gt=0, le=1)
    """The smallest crop, as a fraction of the photo's sides."""
    whole: Probability = 0.35
    """The photo is taken whole, as at inference."""
    zoom_out: Probability = 0.0
    """Else the photo is shrunk, to no less than min_crop of its sides, on a canvas of its mean colour."""
    flip: Probability = 0.5
    """Left becomes right."""
    paste: Probability = 0.25
    """An object of another photo is pasted in."""
    colour: Probability = 0.8
    """Brightness, contrast, tint and saturation vary."""
    blur: Probability = 0.0
    """A Gaussian blur of 0.3 to 2 pixels of the model's input."""
    jpeg: Probability = 0.0
    """JPEG compression of quality 30 to 95."""


class Stages(Part):
    """How much each part of full-stage distillation counts; 0 leaves it out.

    The paper writes L = α L_embedding + β L_token + γ Σ H_i L_output,i + L_mask + L_ious, and gives no values.
    """

    embedding: float = 1.0
    """α"""
    tokens: float = 1.0
    """β"""
    masks: float = 1.0
    """γ"""
    ground_truth: float = 1.0
    """Of L_mask + L_ious, which compare with the ground truth."""
    hard_masks: bool = True
    """Whether H_i is as in the paper, or 1."""
    hard_prompts: int = Field(default=9, ge=0)
    """The last round that prompts are drawn from; 0 draws them inside the mask only."""


class Recipe(Part):
    """What every run has. Paths may use ~, * and environment variables."""

    unused: ClassVar[tuple[str, ...]] = ()
    """Fields that mean nothing to a method, which must have their defaults."""

    method: str
    """How the model learns: a task in `tasks/`, which determines the other fields."""
    model: str
    """An architecture's name, see `models/architectures.py`."""
    image_size: int = Field(512, multiple_of=64, gt=0)
    """Pixels a side of the model's input."""
    out: str
    """The folder of the run: checkpoints, curves, the model that did best."""

    train: list[str] | Literal["drawn shapes"]
    """Shards or folders in SA-1B's layout, a COCO or LVIS JSON, a folder of another layout, or "drawn shapes"."""
    draw: Literal["photos", "masks"] = "photos"
    """What is drawn evenly: every photo once an epoch, or photos as often as they have masks."""
    val: list[str] = []
    """What chooses the best weights; without it, the last weights are kept."""
    val_photos: int = Field(60, gt=0)
    """How many photos of it, spread evenly."""
    licence: str = ""
    """What the weights go out under; stored in every file made of them."""
    init: list[str] = []
    """A model file to start from, or several: their mean. An encoder of another architecture is left out; one of the
    same keeps the statistics of its batch normalisation, and the new model the settings of the first file."""
    encoder_weights: str | None = None
    """An ImageNet classifier's state dict (EfficientNet-Lite), which the encoder starts from; its batch
    normalisation then keeps the statistics of that training."""

    steps: int = Field(gt=0)
    stop: int | None = Field(None, gt=0)
    """End here, before the learning rate has come down: for a stage whose next one goes on."""
    batch: int = Field(gt=0)
    """Photos a step, over all devices."""
    accumulate: int = Field(1, gt=0)
    """In how many parts a device takes its share of the batch, one after the other."""
    augmentation: Augmentation = Augmentation()

    learning_rate: float = Field(4e-4, gt=0)
    encoder_rate: float = Field(1.0, gt=0)
    """The learning rate of the encoder without its neck, as a fraction of that of the rest."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """The learning rate of each block of the encoder, as a fraction of that of the next one (arXiv 2106.08254)."""
    final_fraction: float = Field(0.01, ge=0, le=1)
    """Where it ends, as a fraction of the learning rate."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the learning rate comes down after the warm-up."""
    warmup: int = Field(200, ge=0)
    """Steps in which the learning rate rises from 0."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """How much of its two moments AdamW keeps in a step."""
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0)
    """The largest norm of a gradient."""
    ema: Decay = 0.999
    """How much of the averaged weights a step keeps."""

    seed: int = Field(0, ge=0)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    compile: bool = False
    workers: int = Field(1, ge=0)
    """Processes that read photos."""
    devices: int | Literal["auto"] = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Whether each of several devices has all weights, or its share of weights, gradients and moments (FSDP2)."""
    validate_every: int = Field(500, gt=0)
    """Steps."""
    checkpoint_every: int = Field(200, gt=0)
    """Steps."""

    @field_validator("model")
    @classmethod
    def _is_trainable(cls, name: str) -> str:
        names = [one.name for one in ARCHITECTURES.values() if one.trainable]
        if name not in names:
            raise ValueError(
                f"{name!r} is no architecture that can be trained; choose one of {', '.join(names)}"
            )
        return name

    @model_validator(mode="after")
    def _has_nothing_unused(self) -> Self:
        for name in self.unused:
            if getattr(self, name) != type(self).model_fields[name].get_default():
                raise ValueError(f"{self.method} training has no {name}; leave it out")
        return self

    @field_validator("init", mode="before")
    @classmethod
    def _several(cls, init: object) -> object:
        return [init] if isinstance(init, str) else init or []

    @field_validator("out", "embeddings", "encoder_weights", "photos", check_fields=False)
    @classmethod
    def _expand(cls, path: str | None) -> str | None:
        return None if path is None else _expanded(path)

    @field_validator("init")
    @classmethod
    def _expand_each(cls, paths: list[str]) -> list[str]:
        return [_expanded(path) for path in paths]

    @field_validator("train", "val")
    @classmethod
    def _expand_all(cls, paths: list[str] | str) -> list[str] | str:
        if isinstance(paths, str):
            return paths
        return [found for path in paths for found in _matches(_expanded(path))]

    @property
    def last_step(self) -> int:
        """Where the run ends."""
        return min(self.steps, self.stop or self.steps)

    @property
    def folder(self) -> Path:
        """`out`, as a path."""
        return Path(self.out)


class PromptRecipe(Recipe):
    """What methods have in common that prompt the model and compare its masks."""

    objects: int = Field(8, gt=0)
    """Objects prompted a photo."""
    centre_clicks: Probability = 0.0
    """How often a click is drawn near the middle of its region instead of uniformly."""
    pixel_loss: PixelLoss = "focal"


class MaskRecipe(PromptRecipe):
    """What methods have in common that learn masks by rounds of prompts."""

    rounds: int = Field(1, gt=0)
    """Prompts an object: the first, then corrections."""
    mask_feedback: Probability = 1.0
    """How often a correction has the former logits as its mask input; otherwise its points alone correct."""
    lone_corrections: Probability = 0.0
    """How often a correction with a mask input comes alone, without the prompts that led to that mask."""
    centre_corrections: Probability | None = None
    """How often a correction is drawn near the middle of a wrong region, where people put it; by default as often as
    `centre_clicks` says."""
    click_weight: float = Field(0.0, ge=0)
    """The weight of the cross-entropy at the clicks alone, beside the loss of the whole mask, of which a click is a
    pixel: so that a mask ends where the user says that it ends."""
    clicks: list[Annotated[int, Field(gt=0)]] = Field([1, 1, 1, 2, 3], min_length=1)
    """How many clicks the first prompt has (or a box and one fewer), batch by batch; a lone one is the commonest."""

    @model_validator(mode="after")
    def _takes_masks(self) -> Self:
        takes_none = ARCHITECTURES[self.model].variant == "efficient_sam" and not isinstance(
            self, DistillationRecipe
        )
        if takes_none and self.lone_corrections:
            raise ValueError(f"lone_corrections: {self.model} takes no mask input; leave it out")
        return self


class DistillationRecipe(Recipe):
    """What every method has that learns from a teacher, whose decoder the student starts with."""

    teacher: str
    """A model's name, its folder, or a checkpoint."""
    embeddings: str | None = None
    """Where `pocketsam embed` stored the teacher's; without them its encoder runs in the loop."""

    @model_validator(mode="after")
    def _has_photos(self) -> "DistillationRecipe":
        if self.train == DRAWN:
            raise ValueError("a teacher needs photos; give shards to train on")
        return self


class HeadRecipe(Recipe):
    """What every method has that trains an encoder with a head for another task than segment anything."""

    image_size: int = Field(224, multiple_of=32, gt=0)
    """Pixels a side of the model's input."""
    draw: Literal["photos"] = "photos"
    """Every photo once an epoch."""
    augmentation: Augmentation = Augmentation(paste=0)

    @field_validator("augmentation", mode="before")
    @classmethod
    def _without_pasting(cls, given: object) -> object:
        return {"paste": 0, **given} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _can_be_learned(self) -> "HeadRecipe":
        if self.train == DRAWN:
            raise ValueError("drawn shapes have no classes; give photos to train on")
        if self.augmentation.paste:
            raise ValueError("augmentation: paste: a pasted object has no class; set it to 0")
        return self

    @property
    def keeps_statistics(self) -> bool:
        """Whether the encoder starts from trained weights: its batch normalisation then keeps their statistics."""
        return bool(self.init or self.encoder_weights)


class CategoryRecipe(HeadRecipe):
    """What methods have in common that learn the classes of masks: of a COCO JSON or of label maps."""

    photos: str | None = None
    """The folder of a JSON's photos; if it is not given, where COCO has them."""
    leave_out: bool = False
    """Annotations at fault (an unknown category, a box without area, a damaged mask) are left out, instead of
    stopping the run."""


def _expanded(path: str) -> str:
    expanded = os.path.expandvars(os.path.expanduser(path))
    if "$" in expanded:
        raise ValueError(f"{path}: set the environment variable that it names")
    return expanded


def _matches(pattern: str) -> list[str]:
    if not any(c in pattern for c in "*?["):
        return [pattern]
    found = sorted(glob(pattern))
    if not found:
        raise ValueError(f"{pattern}: matches no file")
    return found

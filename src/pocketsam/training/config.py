"""A recipe: everything that determines a training run, in one YAML file, checked before anything starts."""

import os
from glob import glob
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pocketsam.errors import InputError
from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.training.augment import Augmentation
from pocketsam.training.losses import PixelLoss
from pocketsam.training.tasks.full_stage import Stages

DRAWN = "drawn shapes"


class Recipe(BaseModel):
    """The fields of a recipe; unknown ones are refused. Paths may use ~, * and environment variables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """An architecture's name, see `models/architectures.py`."""
    image_size: int = Field(512, multiple_of=64, gt=0)
    out: str
    """The folder of the run: checkpoints, curves, the model that did best."""
    method: Literal["supervised", "coupled", "semi-coupled", "decoupled", "full-stage"] = "supervised"
    """See `methods.py`. All but the first need a teacher, whose decoder the student starts with."""
    teacher: str | None = None
    """A model's name, its folder, or a checkpoint."""
    embeddings: str | None = None
    """Where `pocketsam embed` stored the teacher's; without them its encoder runs in the loop."""
    masks: Literal["people", "teacher"] = "people"
    """Whose masks coupled and semi-coupled training learn: the shards', or those that it finds at clicks."""
    stages: Stages = Stages()
    """How much each part of full-stage distillation counts."""

    train: list[str] | Literal["drawn shapes"]
    """Shards or folders in SA-1B's layout, or "drawn shapes"."""
    draw: Literal["photos", "masks"] = "photos"
    """What is drawn evenly: every photo once an epoch, or photos as often as they have masks."""
    val: list[str] = []
    """What chooses the best weights; without it, the last weights are kept."""
    val_photos: int = Field(60, gt=0)
    licence: str = ""
    """What the weights go out under; stored in every file made of them."""
    init: list[str] = []
    """A model file to start from, or several: their mean. An encoder of another architecture is left out."""
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
    objects: int = Field(8, gt=0)
    """Objects prompted a photo."""
    rounds: int = Field(1, gt=0)
    """Prompts an object: the first, then corrections with the former logits."""
    clicks: list[Annotated[int, Field(gt=0)]] = Field([1, 1, 1, 2, 3], min_length=1)
    """How many clicks the first prompt has (or a box and one fewer), batch by batch; a lone one is the commonest."""
    augmentation: Augmentation = Augmentation()
    pixel_loss: PixelLoss = "focal"

    learning_rate: float = Field(4e-4, gt=0)
    encoder_rate: float = Field(1.0, gt=0)
    """The learning rate of the encoder without its neck, as a fraction of that of the rest."""
    final_fraction: float = Field(0.01, ge=0, le=1)
    """Where the cosine ends, as a fraction of the learning rate."""
    warmup: int = Field(200, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)

    seed: int = 0
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    compile: bool = False
    workers: int = Field(1, ge=0)
    devices: int | Literal["auto"] = "auto"
    validate_every: int = Field(500, gt=0)
    checkpoint_every: int = Field(200, gt=0)

    @field_validator("model")
    @classmethod
    def _is_trainable(cls, name: str) -> str:
        names = [one.name for one in ARCHITECTURES.values() if one.trainable]
        if name not in names:
            raise ValueError(
                f"{name!r} is no architecture that can be trained; choose one of {', '.join(names)}"
            )
        return name

    @field_validator("init", mode="before")
    @classmethod
    def _several(cls, init: object) -> object:
        return [init] if isinstance(init, str) else init or []

    @field_validator("out", "embeddings", "encoder_weights")
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

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.method != "supervised" and self.teacher is None:
            raise ValueError(f"{self.method} distillation needs a teacher; name one")
        if self.method == "supervised" and (self.teacher or self.embeddings):
            raise ValueError(
                "supervised training has no teacher; say which method is meant, such as full-stage"
            )
        if self.embeddings and self.needs_masks and self.method != "full-stage":
            raise ValueError(
                f"{self.method} training on the masks of people needs no embeddings; leave them out"
            )
        if self.masks == "teacher" and self.method not in ("coupled", "semi-coupled"):
            raise ValueError(
                f"{self.method} training does not learn a teacher's masks alone; leave masks out"
            )
        if self.teacher and self.train == DRAWN:
            raise ValueError("a teacher needs photos; give shards to train on")
        return self

    @property
    def decoder_is_frozen(self) -> bool:
        return self.method in ("semi-coupled", "decoupled")

    @property
    def needs_masks(self) -> bool:
        """Whether photos without the masks of people are of no use."""
        return self.method != "decoupled" and self.masks == "people"

    @property
    def last_step(self) -> int:
        return min(self.steps, self.stop or self.steps)

    @property
    def folder(self) -> Path:
        return Path(self.out)


def read_recipe(path: Path, changes: list[str] | None = None) -> Recipe:
    """The recipe in a YAML file, with `key=value` changes on top. Raises InputError naming the field at fault."""
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as a recipe ({_first_line(error)})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: is no recipe; see recipes/ for examples")
    try:
        return Recipe.model_validate(values | dict(_change(c) for c in changes or []))
    except ValidationError as error:
        first = error.errors()[0]
        field = "".join(f"{part}: " for part in first["loc"])
        raise InputError(f"{path}: {field}{first['msg'].removeprefix('Value error, ')}") from error


def _change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {text}: {value} is no YAML ({_first_line(error)})") from error


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


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__

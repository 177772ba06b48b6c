"""A model's config: preprocessing, masks, thresholds, licence; all that the rest of the runtime knows of a model."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias, get_args

from pocketsam.errors import InputError

Resize = Literal["pad", "squash"]
Resampling = Literal["antialiased", "plain"]

METADATA_KEY = "pocketsam"
"""Under this name ONNX and safetensors files carry the config."""
HEAD_KEY = "pocketsam.head"
"""And under this one a `HeadConfig`."""
ENCODER_KEY = "pocketsam.encoder"
"""And under this one the `ModelConfig` of the encoder that a saliency head was trained on."""
FLOATS = ("float32", "float16", "bfloat16", "compact")
"""The numerics of models that are not quantised."""
LARGEST_SIZE = 8192
"""Pixels a side; a file with a larger value is damaged or malicious."""

LARGEST_CHANNELS = 4096
"""Likewise."""

LARGEST_GRID = 1024
"""Points a side of everything mode's grid: a million prompts a photo."""


@dataclass(frozen=True)
class ModelConfig:
    """What a model expects of a photo, and where it comes from; stored inside the model's files as JSON.

    mean and std are per RGB channel on the scale 0 to 255. The defaults are SAM's.
    """

    name: str
    image_size: int = 1024
    resize: Resize = "pad"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    licence: str = ""
    architecture: str = ""
    """The published model whose network it is: "mobile_sam" for TinySAM; "" for one of a shape of its own."""
    resampling: Resampling = "antialiased"
    click_masks: tuple[int, ...] = (1, 2, 3)
    """The masks that a single click may mean: SAM's three or, where mask 0 was trained for clicks too, all four."""
    prompt_masks: tuple[int, ...] = (0,)
    """The masks that any other prompt may mean: SAM's mask 0 or, where only masks 1 to 3 were trained, those."""
    correction_masks: tuple[int, ...] = ()
    """The masks that a correction may mean, which is a background click and an earlier mask: see
    `predict/corrections.py`. (): as `prompt_masks` says, which is SAM's rule."""
    pad_points_to: int = 0
    """0: SAM's rule, one padding point where there is no box. Else points and corners are padded to so many."""
    embedding_channels: int = 256
    """Of the image embedding: SAM's 256 and, for some encoders, finer feature maps."""
    takes_masks: bool = True
    """Whether a mask can be a prompt."""
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    confident_logit: float = 8.5
    points_per_side: int = 32
    """Everything mode's defaults for this model: see `automatic.options.Options`. These are SAM's."""
    box_margin: float | None = None
    """The mask of a box has no pixels outside the box, enlarged by this fraction of its width to the left and right
    and of its height above and below; None leaves masks as they are, as SAM does."""
    min_mask_region_cells: float = 0.0
    """Masks of prompts and of everything mode have no holes and islands of less than so many cells of the mask grid;
    0 leaves masks as they are. In cells, as photos differ in size: a cell is one value of the decoder's logits."""
    weights: str = ""
    """sha256 of the weights' numbers, as float32; "" where nobody has computed it."""
    numerics: str = "float32"
    """How the numbers of large weights were rounded: "float32" (not at all), "float16", "compact" (float16 and INT8,
    see `export/storage.py`), or a kind of quantisation, such as "w7a8-1b2c3d4e"."""

    @property
    def identity(self) -> str:
        """By which files know their model: the weights' digest (without one, the name) and their numerics.

        Whatever is made of one checkpoint in float32, in float16 or quantised has different identities.
        """
        return f"{self.weights or self.name}-{self.numerics}"

    def numerics_in(self, precision: str) -> str:
        """The numerics of an engine that computes floats in `precision`; of a quantised model they are its own."""
        if self.numerics in FLOATS:
            return precision
        return self.numerics if precision == "float32" else f"{self.numerics}-{precision}"

    @property
    def mask_size(self) -> int:
        """The side of the decoder's logits, and of a mask as a prompt, in cells."""
        return self.image_size // 4

    @property
    def embedding_size(self) -> int:
        """The side of the image embedding, in cells."""
        return self.image_size // 16

    def to_json(self) -> str:
        """The config as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """The config that `to_json` wrote; fields of later versions are ignored.

        Raises ValueError when the text is no config.
        """
        try:
            values = json.loads(text)
            return cls(**_checked(values))
        except (RecursionError, OverflowError, TypeError) as error:
            raise ValueError(str(error)) from error

    def with_defaults(self, assignments: Iterable[str]) -> "ModelConfig":
        """The config with other values of `SETTABLE` fields, each NAME=VALUE. Raises InputError for bad ones."""
        values: dict[str, Any] = {}
        for assignment in assignments:
            name, _, value = assignment.partition("=")
            if name not in SETTABLE:
                raise InputError(
                    f"--set {assignment}: give NAME=VALUE, with one of the names {', '.join(SETTABLE)}"
                )
            try:
                values[name] = json.loads(value)
            except ValueError:
                raise InputError(f"--set {assignment}: {value!r} is not a number") from None
        try:
            return ModelConfig.from_json(replace(self, **values).to_json())
        except ValueError as error:
            raise InputError(f"--set: {error}") from error


@dataclass(frozen=True)
class HeadConfig:
    """What a model gives whose encoder has a head for another task; stored beside its `ModelConfig`, as JSON.

    task: "classification", "detection" or "semantic". architecture: whose encoder it has, a name in
    `models/architectures.py`. classes: the names of what it tells apart. arguments: of the head's class.
    """

    task: str
    architecture: str
    classes: tuple[str, ...]
    arguments: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The config as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "HeadConfig":
        """The config that `to_json` wrote. Raises ValueError when the text is none."""
        try:
            values = json.loads(text)
            classes = values["classes"]
            if not classes or not all(isinstance(name, str) for name in classes):
                raise ValueError("classes are no list of names")
            return cls(
                str(values["task"]), str(values["architecture"]), tuple(classes), dict(values["arguments"])
            )
        except (KeyError, RecursionError, TypeError) as error:
            raise ValueError(str(error)) from error


SETTABLE = (
    "points_per_side",
    "pred_iou_thresh",
    "stability_score_thresh",
    "confident_logit",
    "min_mask_region_cells",
    "box_margin",
)
"""The fields that can be set when a model is converted: defaults of everything mode, and what is done to masks."""

PADDING, BACKGROUND, FOREGROUND, BOX_START, BOX_END = -1, 0, 1, 2, 3
"""The labels of the points that a prompt encoder takes: no point; off and on the object; two corners of a box."""

SAM = ModelConfig("sam", licence="Apache-2.0")
"""What the published SAM, MobileSAM and SlimSAM expect."""

TINY_SAM = replace(SAM, name="tinysam", prompt_masks=(1, 2, 3))
"""TinySAM: MobileSAM's network, of which only the three masks were distilled."""

EFFICIENT_SAM = replace(
    SAM,
    name="efficient_sam",
    resize="squash",
    resampling="plain",
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    prompt_masks=(1, 2, 3),
    pad_points_to=6,
    takes_masks=False,
)
"""EfficientSAM. Its published code reads six points at most and drops the rest; here all of them count."""


def _checked(values: object) -> dict[str, Any]:
    """The fields that are known, each of its type and within reason. Raises ValueError for others."""
    if not isinstance(values, dict) or not values.keys() >= _NEEDED:
        raise ValueError(f"{', '.join(sorted(_NEEDED))} are needed")
    known = [one.name for one in fields(ModelConfig) if one.name in values]
    return {name: _CHECKS[name](name, values[name]) for name in known}


Check: TypeAlias = Callable[[str, Any], Any]
"""Takes a field and its value from JSON, and returns it as the config has it. Raises ValueError."""


def _of_type(kind: type) -> Check:
    def check(field: str, value: object) -> object:
        if not isinstance(value, kind):
            raise ValueError(f"{field} is {value!r}, no {kind.__name__}")
        return value

    return check


def _folder_name(field: str, value: object) -> str:
    name: str = _of_type(str)(field, value)
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise ValueError(f"{field} is {name!r}, which could not name a folder")
    return name


def _one_of(allowed: tuple[str, ...]) -> Check:
    def check(field: str, value: object) -> object:
        if value not in allowed:
            raise ValueError(f"{field} is {value!r}, not {' or '.join(map(repr, allowed))}")
        return value

    return check


def _whole(allowed: range) -> Check:
    def check(field: str, value: object) -> object:
        if type(value) is not int or value not in allowed:
            step = f", a multiple of {allowed.step}" if allowed.step > 1 else ""
            raise ValueError(f"{field} is {value!r}, not from {allowed.start} to {allowed.stop - 1}{step}")
        return value

    return check


def _masks(least: int) -> Check:
    def check(field: str, values: object) -> tuple[int, ...]:
        masks = tuple(values) if isinstance(values, list | tuple) else ()
        if len(masks) < least or not set(masks) <= {0, 1, 2, 3}:
            raise ValueError(f"{field} is {values!r}, not at least {least} of the masks 0, 1, 2, 3")
        return masks

    return check


def _number(least: float = -math.inf, most: float = math.inf, optional: bool = False) -> Check:
    def check(field: str, value: Any) -> float | None:
        if value is None and optional:
            return None
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{field} is {value!r}, no number")
        if not least <= value <= most:
            raise ValueError(f"{field} is {value!r}, not from {least:g} to {most:g}")
        return float(value)

    return check


def _channels(above: float = -math.inf) -> Check:
    def check(field: str, values: object) -> tuple[float, float, float]:
        if not isinstance(values, list) or len(values) != 3:
            raise ValueError(f"{field} is {values!r}, not a number for each of red, green and blue")
        red, green, blue = (float(value) for value in values)
        if not all(math.isfinite(value) and value > above for value in (red, green, blue)):
            raise ValueError(f"{field} is {values!r}, which cannot normalise")
        return red, green, blue

    return check


_NEEDED = {"name", "image_size", "resize", "mean", "std"}
_CHECKS: dict[str, Check] = {
    "name": _folder_name,
    "image_size": _whole(range(32, LARGEST_SIZE + 1, 32)),
    "resize": _one_of(get_args(Resize)),
    "mean": _channels(),
    "std": _channels(above=0),
    "licence": _of_type(str),
    "architecture": _of_type(str),
    "resampling": _one_of(get_args(Resampling)),
    "click_masks": _masks(least=3),
    "prompt_masks": _masks(least=1),
    "correction_masks": _masks(least=0),
    "pad_points_to": _whole(range(65)),
    "embedding_channels": _whole(range(1, LARGEST_CHANNELS + 1)),
    "takes_masks": _of_type(bool),
    "pred_iou_thresh": _number(0, 1),
    "stability_score_thresh": _number(0, 1),
    "confident_logit": _number(),
    "points_per_side": _whole(range(1, LARGEST_GRID + 1)),
    "box_margin": _number(0, optional=True),
    "min_mask_region_cells": _number(0),
    "weights": _of_type(str),
    "numerics": _of_type(str),
}
"""Of every field of `ModelConfig`."""

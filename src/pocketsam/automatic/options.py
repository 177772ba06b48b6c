"""The options of everything mode, and what they come to for a model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pocketsam.config import LARGEST_GRID, ModelConfig
from pocketsam.errors import InputError
from pocketsam.utils.options import option

if TYPE_CHECKING:  # numpy stays out of `pocketsam --help`
    from numpy.typing import ArrayLike

T = TypeVar("T")


class ResolvedOptions(NamedTuple):
    """The options that a model has defaults for, with these filled in: see `Options`."""

    points_per_side: int
    pred_iou_thresh: float
    stability_score_thresh: float
    confident_logit: float


@dataclass(frozen=True, eq=False)
class Options:
    """How everything mode works. Names are those of the published SAM; None is the model's own (see `ModelConfig`).

    points_per_side: of the grid on the whole photo, from 1 to 1024; the model's own by default.
    points_per_batch: how many points are decoded at a time.
    pred_iou_thresh: a mask must have a greater predicted IoU, from 0 to 1; at 0 all pass; the model's own by default.
    stability_score_thresh: a mask must have at least this stability, from 0 to 1 (see `filters.stability_score`); the
    model's own by default.
    stability_score_offset: how far from the threshold, in logits, a mask is cut to measure its stability.
    box_nms_thresh, crop_nms_thresh: two masks of one crop, or of two crops, are duplicates when the IoU of their
    boxes is greater than this, from 0 to 1.
    crop_n_layers: layer l adds 2^l × 2^l crops, which overlap by crop_overlap_ratio × the photo's short side × 2/2^l,
    with crop_n_points_downscale_factor^l times fewer points a side.
    point_grids: grids of your own instead of points_per_side, one a layer of crops, each (K, 2) as (x, y) in 0 to 1;
    all their points are prompted.
    min_mask_region_area: smaller holes are filled and smaller islands removed, in pixels; 0 leaves masks as they are.
    By default, the model's own `min_mask_region_cells` does so in the cells of its logits.
    mask_threshold: the logit above which a pixel is in a mask.
    hierarchical: whether points are left out where they would find nothing new (see `schedule`).
    confident_logit: where a mask's logit is above this, the hierarchy prompts no more points; the model's own by
    default.
    Raises InputError when a value is not in its range, or both kinds of grids are given.
    """

    points_per_side: int | None = field(
        default=None,
        metadata=option(
            int, "Points along each side of the grid; the model's own, if not given.", metavar="N"
        ),
    )
    points_per_batch: int = 64
    pred_iou_thresh: float | None = field(
        default=None,
        metadata=option(
            float,
            "The lowest predicted IoU, from 0 to 1; at 0 all masks pass; the model's own, if not given.",
            metavar="T",
        ),
    )
    stability_score_thresh: float | None = field(
        default=None,
        metadata=option(
            float,
            "The lowest stability, from 0 to 1; at 0 all masks pass; the model's own, if not given.",
            metavar="T",
        ),
    )
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = field(
        default=0,
        metadata=option(int, "Also segment crops of the photo: 4^l of them in layer l.", metavar="N"),
    )
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: "Sequence[ArrayLike] | None" = None
    min_mask_region_area: float | None = field(
        default=None,
        metadata=option(
            float,
            "Fill holes and remove islands of fewer pixels; the model's own, if not given.",
            metavar="PIXELS",
        ),
    )
    hierarchical: bool = field(
        default=True,
        metadata=option(
            bool,
            "Prompt a coarse grid first, and further points only where they may find new masks;"
            " or prompt all points.",
        ),
    )
    confident_logit: float | None = field(
        default=None,
        metadata=option(
            float,
            "With --hierarchical, no more points are prompted where a mask's logit is above T;"
            " the model's own, if not given.",
            metavar="T",
        ),
    )
    mask_threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.points_per_side is not None and self.point_grids is not None:
            raise InputError("give either points_per_side or point_grids, not both")
        for name, limits in _LIMITS.items():
            _check(name, vars(self)[name], *limits)
        if self.crop_overlap_ratio >= 1:
            raise InputError(
                f"crop_overlap_ratio is {self.crop_overlap_ratio}; give a number from 0 to below 1"
            )
        if self.point_grids is not None and len(self.point_grids) <= self.crop_n_layers:
            raise InputError(
                f"point_grids has {len(self.point_grids)} grids, but the photo and its {self.crop_n_layers} layers"
                f" of crops need {self.crop_n_layers + 1}"
            )

    @classmethod
    def of(cls, **options: Any) -> "Options":
        """The options given by name. Raises InputError when there is none of a name, and as above."""
        unknown = options.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise InputError(f"everything mode has no option {sorted(unknown)[0]!r}")
        return cls(**options)

    def resolve(self, config: ModelConfig) -> ResolvedOptions:
        """These options and, where they are None, the model's own."""
        return ResolvedOptions(
            points_per_side=_chosen(self.points_per_side, config.points_per_side),
            pred_iou_thresh=_chosen(self.pred_iou_thresh, config.pred_iou_thresh),
            stability_score_thresh=_chosen(self.stability_score_thresh, config.stability_score_thresh),
            confident_logit=_chosen(self.confident_logit, config.confident_logit),
        )


_LIMITS: dict[str, tuple[type[Real], float, float]] = {
    "points_per_side": (Integral, 1, LARGEST_GRID),
    "points_per_batch": (Integral, 1, math.inf),
    "pred_iou_thresh": (Real, 0, 1),
    "stability_score_thresh": (Real, 0, 1),
    "stability_score_offset": (Real, 0, math.inf),
    "box_nms_thresh": (Real, 0, 1),
    "crop_n_layers": (Integral, 0, math.inf),
    "crop_nms_thresh": (Real, 0, 1),
    "crop_overlap_ratio": (Real, 0, math.inf),
    "crop_n_points_downscale_factor": (Integral, 1, math.inf),
    "min_mask_region_area": (Real, 0, math.inf),
    "confident_logit": (Real, -math.inf, math.inf),
    "mask_threshold": (Real, -math.inf, math.inf),
}


def _check(name: str, value: object, kind: type[Real], least: float, most: float) -> None:
    """InputError when the value is not a finite number of its kind from `least` to `most`; None always passes."""
    if value is None or (isinstance(value, kind) and math.isfinite(value) and least <= float(value) <= most):
        return
    number = "a whole number" if kind is Integral else "a number"
    limits = f" from {least:g} to {most:g}" if math.isfinite(most) else f", {least:g} or more"
    raise InputError(f"{name} is {value}; give {number}{limits if math.isfinite(least) else ''}")


def _chosen(value: T | None, default: T) -> T:
    return default if value is None else value

"""`SamAutomaticMaskGenerator`: everything mode with the published options and results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.automatic.generator import segment_everything
from pocketsam.automatic.options import Options
from pocketsam.automatic.schedule import point_grid
from pocketsam.compat.engine_model import EngineModel
from pocketsam.compat.predictor import SamPredictor
from pocketsam.engines import Engine
from pocketsam.predict.image import load_image
from pocketsam.utils.rle import RLE, decode

if TYPE_CHECKING:
    from pocketsam.compat.modeling import Sam

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


class SamAutomaticMaskGenerator:
    """Masks of all objects in a photo. The options are those of `automatic.options.Options`.

    The defaults are SAM's published ones, for every model. A small model is less sure of its masks: for one such as
    `pocket`, pass the thresholds of its own, `model.engine.config.pred_iou_thresh` and `stability_score_thresh`.
    All options are attributes, and what is assigned to them counts for the next photo.

    output_mode: the form of "segmentation": "binary_mask" (H, W) bool; "uncompressed_rle", COCO run lengths as a
    list of numbers; or "coco_rle", as a string.
    point_grids: of every layer of crops, (K, 2) as (x, y) in 0 to 1; made of points_per_side, if not given.
    predictor: has the model, whose `mask_threshold` counts.
    """

    def __init__(
        self,
        model: "Sam | EngineModel",
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[ArrayLike] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        assert (points_per_side is None) != (point_grids is None), (
            "give either points_per_side or point_grids"
        )
        assert output_mode in OUTPUT_MODES, f"output_mode is {output_mode!r}: give one of {OUTPUT_MODES}"
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.crop_n_points_downscale_factor = crop_n_points_downscale_factor
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.point_grids: Sequence[ArrayLike] = (
            point_grids if point_grids is not None else self._grids(points_per_side or 0)
        )
        self.predictor = SamPredictor(model)
        _ = self.options  # are they in their ranges?

    @property
    def options(self) -> Options:
        """The options as they are now. Raises InputError when one is not in its range."""
        return Options(
            points_per_batch=self.points_per_batch,
            pred_iou_thresh=self.pred_iou_thresh,
            stability_score_thresh=self.stability_score_thresh,
            stability_score_offset=self.stability_score_offset,
            box_nms_thresh=self.box_nms_thresh,
            crop_n_layers=self.crop_n_layers,
            crop_nms_thresh=self.crop_nms_thresh,
            crop_overlap_ratio=self.crop_overlap_ratio,
            crop_n_points_downscale_factor=self.crop_n_points_downscale_factor,
            point_grids=self.point_grids,
            min_mask_region_area=self.min_mask_region_area,
            hierarchical=False,
            mask_threshold=float(self.predictor.model.mask_threshold),
        )

    def generate(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """The masks of a photo uint8 (H, W, 3) RGB, a dict each.

        segmentation (see output_mode), area int, bbox XYWH, predicted_iou float, point_coords [[x, y]],
        stability_score float, crop_box XYWH; lists of numbers, in photo pixels.
        """
        found = segment_everything(_engine_of(self.predictor.model), load_image(image), self.options)
        self.predictor.reset_image()
        return [
            {
                "segmentation": _segmentation(found.rle[i], self.output_mode),
                "area": int(found.areas[i]),
                "bbox": _xywh(found.boxes[i]),
                "predicted_iou": float(found.predicted_iou[i]),
                "point_coords": [found.points[i].tolist()],
                "stability_score": float(found.stability[i]),
                "crop_box": _xywh(found.crop_boxes[i]),
            }
            for i in range(len(found))
        ]

    def _grids(self, points_per_side: int) -> list[NDArray[np.float64]]:
        """Of each layer of crops; see `utils.amg.build_all_layer_point_grids`."""
        # Options are checked, so that a number out of range is named, before grids are made.
        options = Options(
            points_per_side,
            crop_n_layers=self.crop_n_layers,
            crop_n_points_downscale_factor=self.crop_n_points_downscale_factor,
        )
        factor = options.crop_n_points_downscale_factor
        sides = [int(points_per_side / factor**layer) for layer in range(options.crop_n_layers + 1)]
        return [point_grid(max(1, side)) for side in sides]


def _engine_of(model: Any) -> Engine:
    if isinstance(model, EngineModel):
        return model.engine
    from pocketsam.compat.module_engine import engine_of

    return engine_of(model)


def _segmentation(rle: RLE, output_mode: str) -> NDArray[np.bool_] | RLE:
    if output_mode == "coco_rle":
        return rle
    mask = decode(rle)
    if output_mode == "binary_mask":
        return mask
    column_by_column = np.concatenate([[False], mask.ravel(order="F")])  # runs begin with one of background
    starts = np.flatnonzero(np.diff(column_by_column))
    counts = np.diff(starts, prepend=0, append=mask.size)
    return {"size": rle["size"], "counts": counts.tolist()}


def _xywh(box: NDArray[np.int64]) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]

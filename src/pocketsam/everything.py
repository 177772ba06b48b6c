"""Everything mode: the masks of all there is in a photo, unprompted (arXiv 2304.02643, section 5 and appendix B).

    grid → prompts → candidates → filters → survivors

A grid of points covers the photo and, if asked for, overlapping crops of it, each encoded by itself. Every point is a
lone click; each of its readings is a candidate. A candidate survives if the model is confident of it, if its outline
hardly moves with the threshold, if no crop cuts through it, and if no better one fills almost the same box.

Masks are kept as COCO run lengths: only one at a time is ever as large as the photo.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.engines import Engine
from pocketsam.errors import InputError
from pocketsam.geometry import Geometry
from pocketsam.photo import preprocess
from pocketsam.prompts import FOREGROUND, Prompts
from pocketsam.rle import RLE, decode
from pocketsam.rle import encode as rle_of

Crop: TypeAlias = tuple[int, int, int, int]
"""x0, y0, x1, y1 in photo pixels; x1 and y1 are outside."""
Row: TypeAlias = tuple[RLE, NDArray[np.int64], int, np.float32, float, NDArray[np.float64], Crop]

EDGE_PIXELS = 20
"""A box that comes this close to the edge of a crop is taken to be cut off by it."""


@dataclass(frozen=True, eq=False)
class Options:
    """How to look for everything; names and defaults are those of the published SAM.

    points_per_side: of the grid on the whole photo. points_per_batch: how many are decoded at a time.
    point_grids: grids of your own instead, one a layer of crops, each (K, 2) as (x, y) in 0 to 1; then
    points_per_side is None.
    pred_iou_thresh: candidates must have a greater predicted IoU; 0 lets all pass.
    stability_score_thresh, stability_score_offset: candidates must have this score (see `stability_score`).
    box_nms_thresh, crop_nms_thresh: the box IoU beyond which two masks of one crop, or of several, are duplicates.
    crop_n_layers: layer l adds 2^l × 2^l crops, which overlap by crop_overlap_ratio × the photo's short side × 2/2^l,
    with crop_n_points_downscale_factor^l times fewer points a side.
    min_mask_region_area: smaller holes are filled and smaller islands removed, in pixels; 0 leaves masks as they are.
    Raises InputError when a value makes no sense.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[ArrayLike] | None = None
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        if (self.points_per_side is None) == (self.point_grids is None):
            raise InputError("give either points_per_side or point_grids, and leave the other None")
        least = {
            "points_per_side": 1,
            "points_per_batch": 1,
            "crop_n_layers": 0,
            "crop_n_points_downscale_factor": 1,
        }
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise InputError(f"{name} is {value}; give {smallest} or more")
        if not 0 <= self.crop_overlap_ratio < 1:
            raise InputError(
                f"crop_overlap_ratio is {self.crop_overlap_ratio}; give a number from 0 to below 1"
            )
        if self.point_grids is not None and len(self.point_grids) <= self.crop_n_layers:
            raise InputError(
                f"point_grids has {len(self.point_grids)} grids, but the photo and its {self.crop_n_layers} layers"
                f" of crops need {self.crop_n_layers + 1}"
            )

    def grid(self, layer: int) -> NDArray[np.float64]:
        """The points of a layer's crops, (K, 2) as (x, y) in 0 to 1."""
        if self.point_grids is not None:
            return np.asarray(self.point_grids[layer], np.float64).reshape(-1, 2)
        scale: int = self.crop_n_points_downscale_factor**layer
        return point_grid(max(1, int((self.points_per_side or 1) / scale)))


@dataclass(frozen=True, eq=False)
class Proposals:
    """N masks of a photo, found without a prompt. len() and selecting by an index array work as on arrays.

    rle: N COCO run lengths {"size": [H, W], "counts": str}.
    boxes: (N, 4) int64 XYXY, the outermost pixels themselves: x1 is the last column. Zeros for an empty mask.
    areas: (N,) int64 pixels. predicted_iou, stability: (N,) float32.
    points: (N, 2) float64, the click each mask answers. crop_boxes: (N, 4) int64 XYXY, the crop it was seen in.
    """

    rle: list[RLE]
    boxes: NDArray[np.int64]
    areas: NDArray[np.int64]
    predicted_iou: NDArray[np.float32]
    stability: NDArray[np.float32]
    points: NDArray[np.float64]
    crop_boxes: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Proposals":
        """One proposal a row: its fields in the order above."""
        columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(7)]
        rle, boxes, areas, predicted_iou, stability, points, crop_boxes = columns
        return cls(
            rle,
            np.array(boxes, np.int64).reshape(-1, 4),
            np.array(areas, np.int64),
            np.array(predicted_iou, np.float32),
            np.array(stability, np.float32),
            np.array(points, np.float64).reshape(-1, 2),
            np.array(crop_boxes, np.int64).reshape(-1, 4),
        )

    @classmethod
    def join(cls, parts: Sequence["Proposals"]) -> "Proposals":
        """All the proposals of `parts`, in order."""
        return cls(
            [rle for part in parts for rle in part.rle],
            *(np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS),
        )

    def __len__(self) -> int:
        return len(self.rle)

    def __getitem__(self, index: NDArray[np.intp]) -> "Proposals":
        return Proposals([self.rle[i] for i in index], *(getattr(self, name)[index] for name in _ARRAYS))


_ARRAYS = ("boxes", "areas", "predicted_iou", "stability", "points", "crop_boxes")


def segment_everything(
    engine: Engine,
    image: NDArray[np.uint8],
    options: Options | None = None,
    embedding: NDArray[np.float32] | None = None,
) -> Proposals:
    """The masks of all there is in a photo uint8 (H, W, 3) RGB; its embedding is made where it is not given.

    Without crops the most confident come first; with them, those of the smallest crops; and where small regions
    are removed, the masks that had none come before the others.
    """
    options = options or Options()
    height, width = image.shape[:2]
    crops = crop_boxes(height, width, options.crop_n_layers, options.crop_overlap_ratio)
    found = Proposals.join(
        [
            # Layer 0 is the whole photo, whose embedding may be at hand.
            _in_crop(engine, image, crop, options.grid(layer), options, None if layer else embedding)
            for layer, crop in crops
        ]
    )
    if len(crops) > 1:
        x0, y0, x1, y1 = found.crop_boxes.T
        smallest_first = 1 / ((x1 - x0) * (y1 - y0))
        found = found[nms(found.boxes, smallest_first, options.crop_nms_thresh)]
    if options.min_mask_region_area > 0:
        same = max(options.box_nms_thresh, options.crop_nms_thresh)
        found = _without_small_regions(found, options.min_mask_region_area, same)
    return found


def point_grid(side: int) -> NDArray[np.float64]:
    """The centres of side × side equal cells, (side², 2) as (x, y) in 0 to 1, row by row."""
    centres = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


def crop_boxes(height: int, width: int, layers: int, overlap_ratio: float) -> list[tuple[int, Crop]]:
    """The whole photo as layer 0, then each layer's crops: (layer, crop).

    A photo with fewer pixels than crops gets one only where there is a pixel.
    """
    found: list[tuple[int, Crop]] = [(0, (0, 0, width, height))]
    for layer in range(1, layers + 1):
        side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / side))
        crop_width = math.ceil((overlap * (side - 1) + width) / side)
        crop_height = math.ceil((overlap * (side - 1) + height) / side)
        for column, row in product(range(side), repeat=2):
            x0, y0 = (crop_width - overlap) * column, (crop_height - overlap) * row
            x1, y1 = min(x0 + crop_width, width), min(y0 + crop_height, height)
            if x0 < x1 and y0 < y1:
                found.append((layer, (x0, y0, x1, y1)))
    return found


def _in_crop(
    engine: Engine,
    image: NDArray[np.uint8],
    crop: Crop,
    grid: NDArray[np.float64],
    options: Options,
    embedding: NDArray[np.float32] | None,
) -> Proposals:
    """What one crop shows, each thing once."""
    x0, y0, x1, y1 = crop
    seen = image[y0:y1, x0:x1]
    if embedding is None:
        embedding = engine.encode(preprocess(seen, engine.description))
    geometry = engine.description.geometry(*seen.shape[:2])
    points = grid * (x1 - x0, y1 - y0)
    rows: list[Row] = []
    for start in range(0, len(points), options.points_per_batch):
        batch = points[start : start + options.points_per_batch]
        rows += _candidates(engine, embedding, geometry, batch, crop, image.shape[:2], options)
    found = Proposals.of(rows)
    return found[nms(found.boxes, found.predicted_iou, options.box_nms_thresh)]


def _candidates(
    engine: Engine,
    embedding: NDArray[np.float32],
    geometry: Geometry,
    points: NDArray[np.float64],
    crop: Crop,
    photo_size: tuple[int, ...],
    options: Options,
) -> list[Row]:
    """The readings of a batch of clicks that pass all filters but NMS; points (K, 2) in pixels of the crop."""
    # Not through Prompts.of: a grid of the user's own may reach the very edge of the photo.
    labels = np.full((len(points), 1), FOREGROUND, np.int32)
    prompts = Prompts(points[:, None].astype(np.float32), labels, boxes=None, mask_input=None)
    tokens = prompts.tokens(geometry, engine.description.pad_points_to)
    logits, predicted_iou = engine.decode(embedding, *tokens, *prompts.mask_tokens(geometry))

    readings = list(engine.description.click_masks)
    logits, predicted_iou = logits[:, readings], predicted_iou[:, readings]
    confident = (predicted_iou > options.pred_iou_thresh) | (options.pred_iou_thresh <= 0)
    corner = np.array(crop[:2])
    rows: list[Row] = []
    for i, reading in np.argwhere(confident):
        full = geometry.logits_to_photo(logits[i, reading])
        stability = stability_score(full, options.stability_score_offset)
        mask = full > 0
        box = mask_box(mask) + np.tile(corner, 2)
        if stability < options.stability_score_thresh or _is_cut_off(box, crop, photo_size):
            continue
        rle = rle_of(_placed(mask, crop, photo_size))
        area = int(np.count_nonzero(mask))
        rows.append((rle, box, area, predicted_iou[i, reading], stability, points[i] + corner, crop))
    return rows


def stability_score(logits: NDArray[np.float32], offset: float) -> float:
    """How little a mask changes with the threshold: the IoU of the masks cut at +offset and -offset. 0 if empty."""
    larger = np.count_nonzero(logits > -offset)
    return float(np.count_nonzero(logits > offset) / larger) if larger else 0.0


def mask_box(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(4,) int64 XYXY, the first and last column and row with a pixel in them; zeros for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return np.zeros(4, np.int64)
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.int64)


def _is_cut_off(box: NDArray[np.int64], crop: Crop, photo_size: tuple[int, ...]) -> bool:
    """Whether the box ends at an edge of the crop that is not the photo's own."""
    height, width = photo_size
    near_crop = abs(box - np.array(crop)) <= EDGE_PIXELS
    near_photo = abs(box - np.array((0, 0, width, height))) <= EDGE_PIXELS
    return bool((near_crop & ~near_photo).any())


def nms(boxes: NDArray[Any], scores: NDArray[Any], threshold: float) -> NDArray[np.intp]:
    """Non-maximum suppression: the indices of the boxes (N, 4) XYXY to keep, best first; scores (N,).

    A box goes if its IoU with a better one that stays is greater than the threshold; of equals the first stays.
    """
    boxes = boxes.astype(np.float64)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting, kept = np.argsort(-np.asarray(scores, np.float64), kind="stable"), []
    while waiting.size:
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[waiting, :2])
        sides = np.minimum(boxes[best, 2:], boxes[waiting, 2:]) - corner
        overlap = sides.clip(min=0).prod(axis=1)
        union = areas[best] + areas[waiting] - overlap
        # Two boxes one pixel wide have no area here, and no IoU: both stay.
        iou = np.divide(overlap, union, out=np.zeros_like(union), where=union > 0)
        waiting = waiting[iou <= threshold]
    return np.array(kept, np.intp)


def _without_small_regions(proposals: Proposals, smallest: int, same: float) -> Proposals:
    """The proposals with holes and islands below `smallest` pixels gone, and what thereby became a duplicate too."""
    rle, boxes, changed = list(proposals.rle), proposals.boxes.copy(), np.zeros(len(proposals), np.bool_)
    areas = proposals.areas.copy()
    for i, encoded in enumerate(proposals.rle):
        mask, filled = fill_small_holes(decode(encoded), smallest)
        mask, removed = remove_small_islands(mask, smallest)
        if filled or removed:
            rle[i], boxes[i], areas[i], changed[i] = (
                rle_of(mask),
                mask_box(mask),
                np.count_nonzero(mask),
                True,
            )
    return replace(proposals, rle=rle, boxes=boxes, areas=areas)[nms(boxes, ~changed, same)]


def fill_small_holes(mask: NDArray[np.bool_], smallest: int) -> tuple[NDArray[np.bool_], bool]:
    """A mask (H, W) without holes of less than `smallest` pixels, and whether it had any.

    As published, whatever is outside the mask and connected to no more than that is a hole, at the photo's edge too.
    """
    regions, areas = _regions(~mask)
    small = np.flatnonzero(areas < smallest) + 1
    return mask | np.isin(regions, small), bool(small.size)


def remove_small_islands(mask: NDArray[np.bool_], smallest: int) -> tuple[NDArray[np.bool_], bool]:
    """A mask (H, W) without islands of less than `smallest` pixels, and whether it had any; the largest one stays."""
    regions, areas = _regions(mask)
    if (areas >= smallest).all():
        return mask, False
    large = np.flatnonzero(areas >= smallest) + 1
    return np.isin(regions, large if large.size else areas.argmax() + 1), True


def _regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The connected regions of a mask, also across corners: their numbers (H, W) from 1 on; the area of each."""
    _, regions, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(regions, np.int32), np.asarray(statistics[1:, cv2.CC_STAT_AREA], np.int32)


def _placed(mask: NDArray[np.bool_], crop: Crop, photo_size: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask of a crop as one of the photo."""
    x0, y0, x1, y1 = crop
    placed = np.zeros(photo_size, np.bool_)
    placed[y0:y1, x0:x1] = mask
    return placed

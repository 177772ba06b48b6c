"""Everything mode: the masks of all there is in a photo, unprompted (arXiv 2304.02643, section 5 and appendix B).

    grid → prompts → candidates → filters → survivors

A grid of points covers the photo and, if asked for, overlapping crops of it, each encoded by itself. Every point is a
lone click; each of its readings is a candidate. A candidate survives if the model is confident of it, if its outline
hardly moves with the threshold, if no crop cuts through it, and if no better one fills almost the same box.

Most points of a dense grid lie in the same few large things. So every fourth point a side goes first, and where its
masks leave no doubt no further point is asked (TinySAM, arXiv 2312.13789, section 3.4). Where there is nothing to be
had, there is no need to look closely either: of every second point's neighbours those are asked that may find more.

Nothing here is as large as the photo but one mask a thread, and no mask is drawn that the model does not believe in:
the cost goes with what is found. Masks are kept as COCO run lengths.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from pocketsam.automatic.proposals import Proposals, Row
from pocketsam.config import ModelConfig
from pocketsam.engines import Engine, PreparedImage, cores
from pocketsam.engines.workers import Workers
from pocketsam.errors import InputError
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import preprocess
from pocketsam.predict.prompts import FOREGROUND, Prompts
from pocketsam.utils.rle import RLE, decode, encode, encode_at

Crop: TypeAlias = tuple[int, int, int, int]
"""x0, y0, x1, y1 in photo pixels; x1 and y1 are outside."""

STRIDES = (4, 2, 1)
"""The hierarchy asks every fourth point a side of the grid, then every second, then all."""
EDGE_PIXELS = 20
"""A box that comes this close to the edge of a crop is taken to be cut off by it."""


@dataclass(frozen=True, eq=False)
class Options:
    """How to look for everything; names are those of the published SAM.

    points_per_side: of the grid on the whole photo. points_per_batch: how many are decoded at a time.
    hierarchical: whether every fourth point a side goes first, then every second, then all; left out are points that
    lie in a mask so far where its logit is above confident_logit and, of the last, those around which nothing came
    near to passing.
    point_grids: grids of your own instead, one a layer of crops, each (K, 2) as (x, y) in 0 to 1; then
    points_per_side is None, and all their points are asked.
    pred_iou_thresh: candidates must have a greater predicted IoU; 0 lets all pass. This one, the next and
    confident_logit are the model's own where they are None (see `ModelConfig`).
    stability_score_thresh, stability_score_offset: candidates must have this score (see `stability_score`).
    box_nms_thresh, crop_nms_thresh: the box IoU beyond which two masks of one crop, or of several, are duplicates.
    crop_n_layers: layer l adds 2^l × 2^l crops, which overlap by crop_overlap_ratio × the photo's short side × 2/2^l,
    with crop_n_points_downscale_factor^l times fewer points a side.
    min_mask_region_area: smaller holes are filled and smaller islands removed, in pixels; 0 leaves masks as they are.
    Raises InputError when a value makes no sense.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[ArrayLike] | None = None
    min_mask_region_area: int = 0
    hierarchical: bool = True
    confident_logit: float | None = None

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

    def thresholds(self, config: ModelConfig) -> "Thresholds":
        """What is asked of a mask: what these options say and, where they say nothing, the model."""
        own = (getattr(self, name) for name in Thresholds._fields)
        return Thresholds(
            *(
                getattr(config, name) if value is None else value
                for name, value in zip(Thresholds._fields, own, strict=True)
            )
        )

    def strides(self, layer: int) -> tuple[int, ...]:
        """The passes over a layer's grid: each asks every so many-th point a side."""
        whole = self.point_grids is not None or not self.hierarchical
        return (1,) if whole or len(self.grid(layer)) < STRIDES[0] ** 2 else STRIDES

    def grid(self, layer: int) -> NDArray[np.float64]:
        """The points of a layer's crops, (K, 2) as (x, y) in 0 to 1."""
        if self.point_grids is not None:
            return np.asarray(self.point_grids[layer], np.float64).reshape(-1, 2)
        scale: int = self.crop_n_points_downscale_factor**layer
        return point_grid(max(1, int((self.points_per_side or 1) / scale)))


def segment_everything(
    engine: Engine,
    image: NDArray[np.uint8],
    options: Options | None = None,
    prepared: PreparedImage | None = None,
) -> Proposals:
    """The masks of all there is in a photo uint8 (H, W, 3) RGB.

    prepared: what the engine prepared of the photo, where that is at hand.

    Without crops the most confident come first; with them, those of the smallest crops; and where small regions
    are removed, the masks that had none come before the others.
    """
    options = options or Options()
    height, width = image.shape[:2]
    crops = crop_boxes(height, width, options.crop_n_layers, options.crop_overlap_ratio)
    found = Proposals.join(
        [
            # Layer 0 is the whole photo.
            _in_crop(engine, image, crop, layer, options, None if layer else prepared)
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


class Thresholds(NamedTuple):
    """See `Options`."""

    pred_iou_thresh: float
    stability_score_thresh: float
    confident_logit: float


@dataclass(frozen=True, eq=False)
class _View:
    """A crop of a photo, encoded, and what is asked of the masks in it."""

    engine: Engine
    prepared: PreparedImage
    geometry: Geometry
    crop: Crop
    photo_size: tuple[int, int]
    options: Options
    thresholds: Thresholds
    workers: Workers


def _in_crop(
    engine: Engine,
    image: NDArray[np.uint8],
    crop: Crop,
    layer: int,
    options: Options,
    prepared: PreparedImage | None,
) -> Proposals:
    """What one crop of a layer shows, each thing once."""
    x0, y0, x1, y1 = crop
    part = image[y0:y1, x0:x1]
    if prepared is None:
        prepared = engine.prepare(engine.encode(preprocess(part, engine.config)))
    geometry = Geometry.of(engine.config, *part.shape[:2])
    height, width = image.shape[:2]
    thresholds = options.thresholds(engine.config)
    view = _View(engine, prepared, geometry, crop, (height, width), options, thresholds, Workers(cores()))
    # NumPy's own threads would go on spinning for a while after a product, on the cores that the engine wants next.
    with threadpool_limits(1, user_api="blas"):
        rows = _ask_all(view, options.grid(layer) * (x1 - x0, y1 - y0), options.strides(layer))
    found = Proposals.of(rows)
    return found[nms(found.boxes, found.predicted_iou, options.box_nms_thresh)]


def _ask_all(view: _View, points: NDArray[np.float64], strides: Sequence[int]) -> list[Row]:
    """The candidates of a grid that pass, asked stride by stride.

    points: (K, 2) in pixels of the crop; where there are several strides, row by row of a square.
    """
    geometry, batch = view.geometry, view.options.points_per_batch
    cells = geometry.to_model(points) * geometry.low_resolution / geometry.size
    x, y = cells.astype(int).clip(max=geometry.low_resolution - 1).T
    rows: list[Row] = []
    certain = np.zeros((geometry.low_resolution,) * 2, np.bool_)
    asked, promising = np.zeros(len(points), np.bool_), np.zeros(len(points), np.bool_)
    for stride in strides:
        wanted = ~asked
        if len(strides) > 1:
            wanted &= _every(stride, len(points)) & ~certain[y, x]
        if stride == 1 and asked.any():
            wanted &= _near(promising | certain[y, x])
        for chosen in _batches(np.flatnonzero(wanted), batch):
            survivors, certain_here, promising[chosen] = _candidates(view, points[chosen])
            rows += survivors
            certain |= certain_here
        asked |= wanted
    return rows


def _every(stride: int, count: int) -> NDArray[np.bool_]:
    """Which of the `count` points of a square grid are every `stride`-th a side; (count,)."""
    line = np.arange(math.isqrt(count)) % stride == 1 % stride
    return np.asarray(line[:, None] & line, np.bool_).ravel()


def _near(points: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which points of a square grid are, or have among their eight neighbours, one of these; (count,)."""
    grid = points.reshape(math.isqrt(len(points)), -1).astype(np.uint8)
    return np.asarray(cv2.dilate(grid, np.ones((3, 3), np.uint8)), np.bool_).ravel()


def _batches(indices: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _candidates(
    view: _View, points: NDArray[np.float64]
) -> tuple[list[Row], NDArray[np.bool_], NDArray[np.bool_]]:
    """The readings of a batch of clicks that pass all filters but NMS; the cells in which one leaves no doubt; which
    clicks found something or were near it, (K,).

    points: (K, 2) in pixels of the crop.
    """
    engine, thresholds = view.engine, view.thresholds
    # Not through Prompts.of: a grid of the user's own may reach the very edge of the photo.
    labels = np.full((len(points), 1), FOREGROUND, np.int32)
    prompts = Prompts(points[:, None].astype(np.float32), labels, boxes=None, mask_input=None)
    prediction = engine.predict_iou(
        view.prepared, *prompts.tokens(view.geometry, engine.config.pad_points_to)
    )

    predicted_iou = prediction.predicted_iou
    confident = (predicted_iou > thresholds.pred_iou_thresh) | (thresholds.pred_iou_thresh <= 0)
    confident &= np.isin(np.arange(predicted_iou.shape[1]), engine.config.click_masks)
    clicks = np.flatnonzero(confident.any(axis=1))
    logits = engine.decode_masks(prediction, clicks)

    drawn = [(i, reading) for i, reading in np.argwhere(confident[clicks]).tolist()]
    hopeless = view.workers.map(lambda which: _is_hopeless(view, logits[which]), drawn)
    worth_it = [which for which, no_hope in zip(drawn, hopeless, strict=True) if not no_hope]
    measured = view.workers.map(lambda which: _measure(view, logits[which]), worth_it)
    rows: list[Row] = []
    certain = np.zeros(logits.shape[2:], np.bool_)
    promising = np.zeros(len(points), np.bool_)
    promising[clicks[[i for i, _ in worth_it]]] = True
    corner = np.array(view.crop[:2])
    for (i, reading), one in zip(worth_it, measured, strict=True):
        if one is None:
            continue
        rle, box, area, stability = one
        click = clicks[i]
        rows.append(
            (rle, box, area, predicted_iou[click, reading], stability, points[click] + corner, view.crop)
        )
        certain |= logits[i, reading] > thresholds.confident_logit
    return rows, certain, promising


def _measure(view: _View, logits: NDArray[np.float32]) -> tuple[RLE, NDArray[np.int64], int, float] | None:
    """The run lengths, the box, the area and the stability of a mask; None if it is not stable, or cut off.

    At the photo's resolution, but only where the mask is.
    """
    offset, (x0, y0) = view.options.stability_score_offset, view.crop[:2]
    part, x, y = view.geometry.part_of_photo(logits, min(0, -offset))
    stability = stability_score(part, offset)
    mask = part > 0
    box = mask_box(mask) + np.tile((x0, y0), 2) + (np.tile((x, y), 2) if mask.any() else 0)
    if stability < view.thresholds.stability_score_thresh or _is_cut_off(box, view.crop, view.photo_size):
        return None
    rle = encode_at(mask, x0 + x, y0 + y, *view.photo_size)
    return rle, box, int(np.count_nonzero(mask)), stability


def _is_hopeless(view: _View, logits: NDArray[np.float32]) -> bool:
    """Whether a mask is so unstable in its cells already that it will not be stable in pixels either.

    Cells are pixels prepared from afar: of a mask of many cells the two scores differ by a few hundredths.
    """
    cells, offset = logits[view.geometry.cells], view.options.stability_score_offset
    enough = bool(np.count_nonzero(cells > -offset) >= 100)
    return enough and stability_score(cells, offset) < view.thresholds.stability_score_thresh - 0.1


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
                encode(mask),
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

"""Everything mode: masks of all objects in a photo, without a prompt (arXiv 2304.02643, section 5 and appendix B).

    crops → points of a grid → predicted IoU → masks of confident predictions → filters → proposals

Every point of the schedule is a single click, for which the model predicts several masks and the IoU of each. Masks
are decoded only where the predicted IoU passes its threshold, and enlarged to the photo's resolution only where they
are, one a thread, so that time and memory go with what is found. What passes the filters is kept as COCO run lengths.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pocketsam.automatic.filters import (
    is_clearly_unstable,
    is_cut_off,
    stability_score,
    without_small_regions,
)
from pocketsam.automatic.options import Options, ResolvedOptions
from pocketsam.automatic.proposals import Proposals, Row
from pocketsam.automatic.schedule import Crop, Schedule, crop_boxes, layer_grid
from pocketsam.config import FOREGROUND
from pocketsam.engines import Engine, PreparedImage
from pocketsam.engines.workers import Workers
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import preprocess
from pocketsam.predict.prompts import Prompts
from pocketsam.predict.regions import clean_logits
from pocketsam.utils.blas import one_blas_thread
from pocketsam.utils.boxes import nms, outermost_pixels
from pocketsam.utils.rle import RLE, encode_at

Report: TypeAlias = Callable[[float], None]
"""Gets the fraction of the points that were prompted or left out so far, 0 to 1. An error that it raises ends it."""


def segment_everything(
    engine: Engine,
    image: NDArray[np.uint8],
    options: Options | None = None,
    prepared: PreparedImage | None = None,
    report: Report = lambda fraction: None,
) -> Proposals:
    """The masks of all objects in a photo uint8 (H, W, 3) RGB.

    prepared: what the engine prepared of the photo, where that is at hand.
    report: is called after each batch of points; see `Report`.

    Without crops the most confident come first; with them, those of the smallest crops; and where
    `min_mask_region_area` is given, the masks that had no small region come before the others.
    """
    options = options or Options()
    height, width = image.shape[:2]
    crops = crop_boxes(height, width, options.crop_n_layers, options.crop_overlap_ratio)
    found = Proposals.join(
        [
            # Layer 0 is the whole photo.
            _segment_crop(
                engine, image, crop, layer, options, None if layer else prepared, _share(report, i, crops)
            )
            for i, (layer, crop) in enumerate(crops)
        ]
    )
    if len(crops) > 1:
        x0, y0, x1, y1 = found.crop_boxes.T
        smallest_first = 1 / ((x1 - x0) * (y1 - y0))
        found = found[nms(found.boxes, smallest_first, options.crop_nms_thresh)]
    if options.min_mask_region_area:
        same = max(options.box_nms_thresh, options.crop_nms_thresh)
        found = without_small_regions(found, options.min_mask_region_area, same)
    return found


@dataclass(frozen=True, eq=False)
class _View:
    """A crop of a photo as the model sees it, and how masks in it are found."""

    engine: Engine
    prepared: PreparedImage
    geometry: Geometry
    crop: Crop
    photo_size: tuple[int, int]
    options: Options
    settings: ResolvedOptions
    workers: Workers


def _segment_crop(
    engine: Engine,
    image: NDArray[np.uint8],
    crop: Crop,
    layer: int,
    options: Options,
    prepared: PreparedImage | None,
    report: Report,
) -> Proposals:
    """The masks of one crop of a layer, without duplicates."""
    x0, y0, x1, y1 = crop
    part, config = image[y0:y1, x0:x1], engine.config
    if prepared is None:
        prepared = engine.prepare(engine.encode(preprocess(part, config)))
    geometry = Geometry.of(config, *part.shape[:2])
    height, width = image.shape[:2]
    settings, workers = options.resolve(config), Workers(engine.info.threads)
    view = _View(engine, prepared, geometry, crop, (height, width), options, settings, workers)
    points = layer_grid(options, config, layer) * (x1 - x0, y1 - y0)
    schedule = Schedule(points, geometry, options.hierarchical and options.point_grids is None)
    # NumPy's own threads would go on spinning for a while after a product, on the cores that the engine wants next.
    with one_blas_thread():
        found = Proposals.of(_prompt_all(view, points, schedule, report))
    return found[nms(found.boxes, found.predicted_iou, options.box_nms_thresh)]


def _share(report: Report, i: int, crops: Sequence[object]) -> Report:
    """What the i-th crop reports: its share of the whole, as if all took equally long."""
    return lambda fraction: report((i + fraction) / len(crops))


def _prompt_all(
    view: _View, points: NDArray[np.float64], schedule: Schedule, report: Report
) -> Iterator[Row]:
    """The masks that pass all filters but NMS, of the points (K, 2), in pixels of the crop, that are scheduled."""
    for batch in schedule.batches(view.options.points_per_batch):
        candidates = _candidates(view, points[batch])
        schedule.note(batch, candidates.promising, candidates.certain)
        yield from candidates.rows
        report(schedule.settled / len(points))
    report(1.0)  # the last points may have been settled by leaving them out


@dataclass(frozen=True, eq=False)
class _Candidates:
    """What a batch of K points found.

    rows: the masks that pass. promising: (K,) which points found a mask that passes, or nearly does.
    certain: (h, w) the cells in which a mask that passes has a logit above `confident_logit`.
    """

    rows: list[Row]
    promising: NDArray[np.bool_]
    certain: NDArray[np.bool_]


def _candidates(view: _View, points: NDArray[np.float64]) -> _Candidates:
    """The masks of a batch of single clicks (K, 2), in pixels of the crop."""
    engine, settings = view.engine, view.settings
    # Not through Prompts.of: a grid of the user's own may reach the very edge of the photo.
    labels = np.full((len(points), 1), FOREGROUND, np.int32)
    prompts = Prompts(points[:, None].astype(np.float32), labels, boxes=None, mask_input=None)
    prediction = engine.predict_iou(
        view.prepared, *prompts.tokens(view.geometry, engine.config.pad_points_to)
    )

    predicted_iou = prediction.predicted_iou
    confident = (predicted_iou > settings.pred_iou_thresh) | (settings.pred_iou_thresh <= 0)
    confident &= np.isin(np.arange(predicted_iou.shape[1]), engine.config.click_masks)
    clicks = np.flatnonzero(confident.any(axis=1))
    logits = engine.decode_masks(prediction, clicks)

    decoded = [(i, mask) for i, mask in np.argwhere(confident[clicks]).tolist()]
    unstable = view.workers.map(lambda which: _is_clearly_unstable(view, logits[which]), decoded)
    likely = [which for which, is_unstable in zip(decoded, unstable, strict=True) if not is_unstable]
    measured = view.workers.map(lambda which: _measure(view, logits[which]), likely)
    rows: list[Row] = []
    certain = np.zeros(logits.shape[2:], np.bool_)
    promising = np.zeros(len(points), np.bool_)
    promising[clicks[[i for i, _ in likely]]] = True
    corner = np.array(view.crop[:2])
    for (i, mask), one in zip(likely, measured, strict=True):
        if one is None:
            continue
        rle, box, area, stability = one
        click = clicks[i]
        rows.append(
            (rle, box, area, predicted_iou[click, mask], stability, points[click] + corner, view.crop)
        )
        certain |= logits[i, mask] > settings.confident_logit
    return _Candidates(rows, promising, certain)


def _is_clearly_unstable(view: _View, logits: NDArray[np.float32]) -> bool:
    cells, options = logits[view.geometry.cells], view.options
    threshold = view.settings.stability_score_thresh
    return is_clearly_unstable(cells, options.stability_score_offset, threshold, options.mask_threshold)


def _measure(view: _View, logits: NDArray[np.float32]) -> tuple[RLE, NDArray[np.int64], int, float] | None:
    """The run lengths, the box, the area and the stability of a mask; None if it is not stable, or cut off.

    At the photo's resolution, but only where the mask is.
    """
    offset, cut = view.options.stability_score_offset, view.options.mask_threshold
    x0, y0 = view.crop[:2]
    if view.options.min_mask_region_area is None:
        logits = clean_logits(logits, view.engine.config.min_mask_region_cells)
    part, x, y = view.geometry.part_of_photo(logits, cut + min(0, -offset))
    stability = stability_score(part, offset, cut)
    mask = part > cut
    box = outermost_pixels(mask) + np.tile((x0, y0), 2) + (np.tile((x, y), 2) if mask.any() else 0)
    if stability < view.settings.stability_score_thresh or is_cut_off(box, view.crop, view.photo_size):
        return None
    rle = encode_at(mask, x0 + x, y0 + y, *view.photo_size)
    return rle, box, int(np.count_nonzero(mask)), stability

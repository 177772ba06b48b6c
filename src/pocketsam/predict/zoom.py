"""A second look at small objects: the part of the photo around each is given to the model by itself.

A model sees every photo at one resolution, where an object of a hundredth of the photo spans a tenth of each side. In
a window around it, the same model sees it several times as large: zoom-in, as in f-BRS (Sofiiuk et al. 2020, arXiv
2001.10331) and RITM (arXiv 2102.06583). A window alone shows too little of what is around the object, and a click in
it is often taken for a part of the object. So both looks count: their logits are averaged.
"""

from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.config import FOREGROUND
from pocketsam.errors import InputError
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.masks import Masks
from pocketsam.predict.prompts import Prompts
from pocketsam.utils.rle import RLE, decode, encode_at

Window: TypeAlias = tuple[int, int, int, int]
"""A part of a photo: XYXY in pixels, x1 and y1 exclusive."""

SIDES = 3.0
"""The sides of a window, in sides of its object."""
LONGEST_TO_SHORTEST = 2.0
"""Sides of a window: a long and thin one would be distorted by models that scale both sides to a square."""
FEWEST_PIXELS = 32
"""Windows have no shorter side, unless the photo has."""
LARGEST = 0.7
"""Of the photo: a larger window would show hardly more than the first look."""


def windows(masks: Masks) -> dict[int, Window]:
    """The windows of the objects that are worth a second look, by the number of the mask.

    Not worth it are large objects, those that were not found by their clicks, and corrections of an earlier mask,
    which take nothing away but what is clicked on. Raises InputError for masks without prompts, or several of one
    object.
    """
    prompts = masks.prompts
    if prompts is None or len(np.unique(masks.objects)) < len(masks):
        raise InputError("zoom takes the masks of prompts, one for each object, as segment gives them")
    height, width = masks.size
    empty, found = masks.empty, {}
    for i, number in enumerate(masks.objects.tolist()):
        extent = None if prompts.corrections[number] else _extent(masks, prompts, i, bool(empty[i]))
        if extent is None:
            continue
        x0, y0, x1, y1 = _window(extent, masks.size)
        if (x1 - x0) * (y1 - y0) <= LARGEST * height * width:
            found[i] = x0, y0, x1, y1
    return found


def prompt_in(window: Window, masks: Masks, i: int, geometry: Geometry) -> dict[str, Any]:
    """The prompt of mask i as arguments of `Photo.segment` for the photo in the window, whose geometry is given.

    Background clicks outside the window move to its edge. A click is on the middle of its pixel, which the window
    enlarges; SAM's own half pixel is one of the model.
    """
    assert masks.prompts is not None
    prompts, number = masks.prompts, int(masks.objects[i])
    corner = np.array(window[:2], np.float32)
    given: dict[str, Any] = {}
    labels = prompts.labels[number]
    if (kept := labels >= 0).any():  # no padding
        middles = prompts.points[number][kept] - corner + 0.5 - 0.5 / geometry.scale
        last = np.array([geometry.width, geometry.height]) - 0.5
        given = {"points": middles.clip(0, last), "labels": labels[kept]}
    if (box := _box(prompts, number)) is not None:
        given["boxes"] = box - np.tile(corner, 2)
    if prompts.mask_input is not None:
        given["mask_input"] = logits_in(window, prompts.mask_input[number], masks.geometry, geometry)
    return given


def averaged(window: Window, masks: Masks, i: int, second: Masks) -> Masks:
    """The mask of the second look, in the window, with the mean of both looks' logits and predicted IoU.

    Logits are weighted by the square of their predicted IoU: the look that the model is surer of counts more.
    """
    first = logits_in(window, masks.logits[i], masks.geometry, second.geometry)
    predicted_iou = np.array([masks.predicted_iou[i], second.predicted_iou[0]])
    weights = predicted_iou.clip(1e-3) ** 2
    logits = np.average([first, second.logits[0]], axis=0, weights=weights).astype(np.float32)
    return second.with_logits(logits[None], predicted_iou.mean(keepdims=True))


def in_photo(window: Window, look: Masks, size: tuple[int, int]) -> RLE:
    """The run lengths, in a photo of `size` (H, W), of the only mask of a window."""
    return encode_at(decode(look.rle[0]), *window[:2], *size)


def logits_in(
    window: Window, logits: NDArray[np.float32], photo: Geometry, inside: Geometry
) -> NDArray[np.float32]:
    """Logits (h, w) of the whole photo, bilinearly in the cells that a model has of the window alone: (h, w)."""
    middles = np.arange(inside.low_resolution, dtype=np.float32) + 0.5
    (across, down), (scale_x, scale_y) = 4 / inside.scale, photo.scale / 4
    x = (window[0] + middles * across) * scale_x - 0.5
    y = (window[1] + middles * down) * scale_y - 0.5
    columns, rows = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    values = cv2.remap(logits, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float32)


def _extent(masks: Masks, prompts: Prompts, i: int, empty: bool) -> NDArray[np.float32] | None:
    """The box (4,) XYXY that object i is in, as far as the first look knows; None where that does not.

    It is the object's own box, if its mask ends there; else what its mask and the clicks on it span.
    """
    number = int(masks.objects[i])
    box = _box(prompts, number)
    if box is not None and (empty or masks.ends_at_box(i)):
        return box
    clicks = prompts.points[number][prompts.labels[number] == FOREGROUND]
    if empty or (box is None and prompts.mask_input is None and not len(clicks)):
        return None
    corners = [masks.boxes[i].reshape(2, 2), clicks, clicks + 1]
    corners += [] if box is None else [box.reshape(2, 2)]
    spanned = np.concatenate(corners)
    return np.concatenate([spanned.min(axis=0), spanned.max(axis=0)])


def _window(extent: NDArray[np.float32], size: tuple[int, int]) -> Window:
    """The pixels around an object, as far as the photo of `size` (H, W) reaches."""
    sides = extent[2:] - extent[:2]
    half = np.maximum(np.maximum(SIDES * sides, SIDES / LONGEST_TO_SHORTEST * sides[::-1]), FEWEST_PIXELS) / 2
    middle, (height, width) = (extent[:2] + extent[2:]) / 2, size
    x0, y0 = np.floor(middle - half).clip(0).astype(int).tolist()
    x1, y1 = np.ceil(middle + half).clip(max=(width, height)).astype(int).tolist()
    return x0, y0, x1, y1


def _box(prompts: Prompts, number: int) -> NDArray[np.float32] | None:
    if prompts.boxes is None:
        return None
    box: NDArray[np.float32] = prompts.boxes[number]
    return None if np.isnan(box).any() else box

"""A second look at small objects: the part of the photo around each is given to the model by itself.

A model sees every photo at one resolution, where an object of a hundredth of the photo is a few cells wide. In a
window around it, the same model sees it several times as large: zoom-in, as in f-BRS (Sofiiuk et al. 2020, arXiv
2001.10331) and RITM (arXiv 2102.06583). A window alone shows too little of what is around the object, and a click in
it is often taken for a part of the object. So both looks count: their logits are averaged.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.config import FOREGROUND, PADDING
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.masks import Masks
from pocketsam.predict.prompts import Prompts
from pocketsam.utils.rle import decode, encode_at

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
    """The windows of the objects that are small enough, by the number of the mask.

    An object reaches as far as its box or, without one, as its mask and the clicks on it.
    """
    height, width = masks.size
    extents = (_extent(masks, i) for i in range(len(masks)))
    found = {i: _window(extent, masks.size) for i, extent in enumerate(extents) if extent is not None}
    return {
        i: (x0, y0, x1, y1)
        for i, (x0, y0, x1, y1) in found.items()
        if (x1 - x0) * (y1 - y0) <= LARGEST * height * width
    }


def prompt_in(window: Window, masks: Masks, i: int, geometry: Geometry) -> dict[str, Any]:
    """The prompt of mask i as arguments of `Photo.segment` for the photo in the window, whose geometry is given.

    Clicks outside the window, which can only be background, are left out.
    """
    prompts, number = _prompts(masks), int(masks.objects[i])
    corner, given = np.array(window[:2], np.float32), {}
    points, labels = prompts.points[number] - corner, prompts.labels[number]
    if len(points):
        outside = ((points < 0) | (points >= (geometry.width, geometry.height))).any(axis=1)
        given = {"points": points, "labels": np.where(outside, PADDING, labels)}
    if (box := _box(prompts, number)) is not None:
        given["boxes"] = box - np.tile(corner, 2)
    if prompts.mask_input is not None:
        given["mask_input"] = logits_in(window, prompts.mask_input[number], masks.geometry, geometry)
    return given


def averaged(window: Window, masks: Masks, i: int, second: Masks) -> Masks:
    """The mask of the second look, in the window, with the mean of both looks' logits and predicted IoU."""
    first = logits_in(window, masks.logits[i], masks.geometry, second.geometry)
    predicted_iou = masks.predicted_iou[i : i + 1] + second.predicted_iou
    return second.with_logits(
        np.asarray((first + second.logits) / 2, np.float32), np.asarray(predicted_iou / 2, np.float32)
    )


def placed(masks: Masks, looks: Mapping[int, tuple[Window, Masks]]) -> Masks:
    """The masks of the whole photo, with those of some windows in place of theirs."""
    if not looks:
        return masks
    logits, predicted_iou, rle = masks.logits.copy(), masks.predicted_iou.copy(), list(masks.rle)
    for i, (window, look) in looks.items():
        rle[i] = encode_at(decode(look.rle[0]), *window[:2], *masks.size)
        logits[i] = masks.geometry.mask_to_model(decode(rle[i]))
        predicted_iou[i] = look.predicted_iou[0]
    return masks.with_logits(logits, predicted_iou, rle)


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


def _extent(masks: Masks, i: int) -> NDArray[np.float32] | None:
    """The box (4,) XYXY that object i is in, as far as the first look knows; None where nothing was found."""
    prompts, number = _prompts(masks), int(masks.objects[i])
    if (box := _box(prompts, number)) is not None:
        return box
    if masks.empty[i]:
        return None
    clicks = prompts.points[number][prompts.labels[number] == FOREGROUND]
    corners = np.concatenate([masks.boxes[i].reshape(2, 2), clicks, clicks + 1])
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def _window(extent: NDArray[np.float32], size: tuple[int, int]) -> Window:
    """The pixels around an object, as far as the photo of `size` (H, W) reaches."""
    sides = extent[2:] - extent[:2]
    half = np.maximum(np.maximum(SIDES * sides, SIDES / LONGEST_TO_SHORTEST * sides[::-1]), FEWEST_PIXELS) / 2
    middle, (height, width) = (extent[:2] + extent[2:]) / 2, size
    x0, y0 = np.floor(middle - half).clip(0).astype(int).tolist()
    x1, y1 = np.ceil(middle + half).clip(max=(width, height)).astype(int).tolist()
    return x0, y0, x1, y1


def _prompts(masks: Masks) -> Prompts:
    assert masks.prompts is not None  # those of prompts have them
    return masks.prompts


def _box(prompts: Prompts, number: int) -> NDArray[np.float32] | None:
    if prompts.boxes is None:
        return None
    box: NDArray[np.float32] = prompts.boxes[number]
    return None if np.isnan(box).any() else box

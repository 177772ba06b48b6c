"""Masks: the one result, and every file it can become.

A result keeps the decoder's low-resolution logits, which are small. Masks at the photo's resolution, boxes,
areas, COCO run lengths and polygons are made from them when they are first asked for.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pocketsam.predict import formats
from pocketsam.predict.drawing import draw_masks, draw_prompts, find_contours
from pocketsam.predict.formats import (
    OVERLAYS,
    coco_annotations,
    coco_of_one,
    encode_image,
    label_map,
    photo_of,
)
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.prompts import Prompts
from pocketsam.utils.rle import RLE, areas, boxes, encode

Index: TypeAlias = int | slice | list[int] | NDArray[Any]


class Masks:
    """N masks of one photo of H × W pixels. len(), indexing and slicing work as on a list and give Masks.

    logits: (N, h, w) float32 at low resolution, above 0 inside; they can be passed back as `mask_input`.
    predicted_iou: (N,) float32, the model's own estimate of each mask's quality.
    geometry: the photo's pixels against the model's.
    image: uint8 (H, W, 3) RGB, for overlays and cut-outs. file_name: the photo's, for COCO.
    objects: (N,) int, the prompted object each mask belongs to. prompts: what was asked, drawn on overlays.
    """

    def __init__(
        self,
        logits: NDArray[np.float32],
        predicted_iou: NDArray[np.float32],
        geometry: Geometry,
        image: NDArray[np.uint8] | None = None,
        file_name: str = "photo",
        objects: NDArray[np.intp] | None = None,
        prompts: Prompts | None = None,
    ) -> None:
        self.logits = logits
        self.predicted_iou = predicted_iou
        self.geometry = geometry
        self.image = image
        self.file_name = file_name
        self.objects = np.arange(len(logits)) if objects is None else objects
        self.prompts = prompts

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, index: Index) -> "Masks":
        kept = np.atleast_1d(np.arange(len(self))[index])
        return Masks(
            self.logits[kept],
            self.predicted_iou[kept],
            self.geometry,
            self.image,
            self.file_name,
            self.objects[kept],
            self.prompts,
        )

    def __iter__(self) -> Iterator["Masks"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        iou = ", ".join(f"{value:.2f}" for value in self.predicted_iou)
        size = f"{self.geometry.width} × {self.geometry.height}"
        return f"Masks({len(self)} of {self.file_name}, {size}, predicted IoU {iou})"

    @cached_property
    def binary(self) -> NDArray[np.bool_]:
        """(N, H, W) bool at the photo's resolution."""
        size = (self.geometry.height, self.geometry.width)
        return np.array([self._binary(i) for i in range(len(self))], np.bool_).reshape(-1, *size)

    def _binary(self, i: int) -> NDArray[np.bool_]:
        if "binary" in self.__dict__:
            return np.asarray(self.binary[i])
        return self.geometry.logits_to_photo(self.logits[i]) > 0

    @cached_property
    def rle(self) -> list[RLE]:
        """N COCO run-length encodings: {"size": [H, W], "counts": str}."""
        # One mask at a time: all of them at the resolution of a large photo may not fit into memory.
        return [encode(self._binary(i)) for i in range(len(self))]

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """(N,) int64, in photo pixels."""
        return areas(self.rle)

    @cached_property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) float32 XYXY, the pixels' edges: x1 is the last column plus one. Zeros for an empty mask."""
        return boxes(self.rle)

    @cached_property
    def polygons(self) -> list[list[NDArray[np.float32]]]:
        """The outer outlines of each mask, (K, 2) float32 (x, y) in photo pixels.

        They run through the centres of the outermost pixels. What is thinner than two pixels has no outline.
        """
        contours = [find_contours(self._binary(i), holes=False) for i in range(len(self))]
        return [[np.float32(0.5) + c[:, 0].astype(np.float32) for c in one if len(c) > 2] for one in contours]

    def overlay(self) -> NDArray[np.uint8]:
        """The photo uint8 (H, W, 3) with the masks and their prompts drawn on it.

        Raises InputError when the masks were made without the photo.
        """
        canvas = draw_masks(photo_of(self.image, self.file_name), self.rle)
        if self.prompts is not None:
            objects, first_masks = np.unique(self.objects, return_index=True)
            draw_prompts(canvas, self.prompts[objects], first_masks)
        return canvas

    def save(self, path: str | Path) -> list[Path]:
        """Writes the masks to `path`, whose ending says how, and returns the paths written.

        .json           COCO: the photo, one annotation a mask
        .cutout.png     the photo with all else transparent; several masks give NAME.0.cutout.png and so on
        .labels.png     16-bit label map: 0 is background, i + 1 is mask i, small masks above large ones
        .npy, .npz      the low-resolution logits; .npz has the predicted IoU and the objects too
        .png .jpg .webp the overlay

        A file is written whole or not at all. Raises InputError for other endings and unwritable paths.
        """
        return formats.save(self, path, _ENCODERS)


def ending(path: str | Path) -> str:
    """The ending of `path` that `Masks.save` goes by. Raises InputError when it knows none."""
    return formats.ending(path, ENDINGS)


def _coco(masks: Masks) -> list[bytes]:
    objects = ({"object": int(number)} for number in masks.objects)
    annotations = coco_annotations(masks.rle, masks.predicted_iou, objects)
    return [coco_of_one(masks.file_name, _size(masks), annotations)]


def _cutouts(masks: Masks) -> list[bytes]:
    photo = photo_of(masks.image, masks.file_name)
    alphas = (masks._binary(i)[..., None] * np.uint8(255) for i in range(len(masks)))
    return [encode_image(np.concatenate([photo, alpha], axis=2), "PNG") for alpha in alphas]


def _labels(masks: Masks) -> list[bytes]:
    return [label_map(masks.rle, _size(masks))]


def _size(masks: Masks) -> tuple[int, int]:
    return masks.geometry.height, masks.geometry.width


def _npy(masks: Masks) -> list[bytes]:
    file = BytesIO()
    np.save(file, masks.logits)
    return [file.getvalue()]


def _npz(masks: Masks) -> list[bytes]:
    file = BytesIO()
    np.savez_compressed(file, logits=masks.logits, predicted_iou=masks.predicted_iou, objects=masks.objects)
    return [file.getvalue()]


# The first ending that fits decides, so the longer ones come first.
_ENCODERS: dict[str, Callable[[Masks], list[bytes]]] = {
    ".json": _coco,
    ".cutout.png": _cutouts,
    ".labels.png": _labels,
    ".npy": _npy,
    ".npz": _npz,
    **OVERLAYS,
}
ENDINGS = tuple(_ENCODERS)

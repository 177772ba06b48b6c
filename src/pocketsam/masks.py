"""Masks: the one result, and every file it can become.

A result keeps the decoder's low-resolution logits, which are small. Masks at the photo's resolution, boxes,
areas, COCO run lengths and polygons are made from them when they are first asked for.
"""

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketsam.drawing import draw_masks, draw_prompts, find_contours
from pocketsam.errors import InputError
from pocketsam.files import write
from pocketsam.geometry import Geometry
from pocketsam.prompts import Prompts
from pocketsam.rle import RLE, areas, boxes, encode

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
        canvas = draw_masks(self._photo(), self.binary)
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
        path, suffix = Path(path), ending(path)
        files = _ENCODERS[suffix](self)
        stem, suffix = path.name[: -len(suffix)], path.name[-len(suffix) :]
        paths = [path]
        if len(files) != 1:
            paths = [path.with_name(f"{stem}.{i}{suffix}") for i in range(len(files))]
        for file, content in zip(paths, files, strict=True):
            write(file, content)
        return paths

    def _photo(self) -> NDArray[np.uint8]:
        if self.image is None:
            raise InputError(
                f"{self.file_name}: these masks carry no photo; open the photo itself, with its embedding if you like"
            )
        return self.image


def ending(path: str | Path) -> str:
    """The ending of `path` that `Masks.save` goes by. Raises InputError when it knows none."""
    for suffix in _ENCODERS:
        if Path(path).name.lower().endswith(suffix):
            return suffix
    raise InputError(f"{path}: the ending says what to write; use one of {' '.join(_ENCODERS)}")


def _coco(masks: Masks) -> list[bytes]:
    size = {"width": masks.geometry.width, "height": masks.geometry.height}
    annotations = [
        {
            "id": i + 1,
            "image_id": 1,
            "category_id": 1,
            "segmentation": masks.rle[i],
            "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
            "area": int(masks.areas[i]),
            "iscrowd": 0,
            "predicted_iou": round(float(masks.predicted_iou[i]), 4),
            "object": int(masks.objects[i]),
        }
        for i, (x0, y0, x1, y1) in enumerate(masks.boxes)
    ]
    document = {
        "images": [{"id": 1, "file_name": masks.file_name, **size}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }
    return [json.dumps(document, ensure_ascii=False).encode()]


def _cutouts(masks: Masks) -> list[bytes]:
    photo = masks._photo()
    alphas = (mask[..., None] * np.uint8(255) for mask in masks.binary)
    return [_image(np.concatenate([photo, alpha], axis=2), "PNG") for alpha in alphas]


def _labels(masks: Masks) -> list[bytes]:
    labels = np.zeros((masks.geometry.height, masks.geometry.width), np.uint16)
    for i in np.argsort(-masks.areas, kind="stable"):
        labels[masks.binary[i]] = i + 1
    return [_image(labels, "PNG")]


def _npy(masks: Masks) -> list[bytes]:
    file = BytesIO()
    np.save(file, masks.logits)
    return [file.getvalue()]


def _npz(masks: Masks) -> list[bytes]:
    file = BytesIO()
    np.savez_compressed(file, logits=masks.logits, predicted_iou=masks.predicted_iou, objects=masks.objects)
    return [file.getvalue()]


def _overlay(format: str) -> Callable[[Masks], list[bytes]]:
    return lambda masks: [_image(masks.overlay(), format)]


# The first ending that fits decides, so the longer ones come first.
_ENCODERS: dict[str, Callable[[Masks], list[bytes]]] = {
    ".json": _coco,
    ".cutout.png": _cutouts,
    ".labels.png": _labels,
    ".npy": _npy,
    ".npz": _npz,
    ".png": _overlay("PNG"),
    ".jpg": _overlay("JPEG"),
    ".jpeg": _overlay("JPEG"),
    ".webp": _overlay("WEBP"),
}
ENDINGS = tuple(_ENCODERS)

# A photo shrinks little further above PNG level 2, for three times the time. JPEG keeps full resolution of
# colours, as thin outlines would smear.
_OPTIONS: dict[str, dict[str, int]] = {
    "PNG": {"compress_level": 2},
    "JPEG": {"quality": 92, "subsampling": 0},
    "WEBP": {"quality": 90},
}


def _image(pixels: NDArray[Any], format: str) -> bytes:
    file = BytesIO()
    try:
        Image.fromarray(pixels).save(file, format, **_OPTIONS[format])
    except (OSError, ValueError) as error:  # JPEG and WebP have a largest side
        raise InputError(f"a {format} cannot hold this photo ({error}); choose .png") from error
    return file.getvalue()

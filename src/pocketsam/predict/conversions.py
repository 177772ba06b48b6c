"""What the masks of a photo can be turned into: files, COCO, polygons, cut-outs, a picture in a notebook.

The formats are imported where they are used, as in `pocketsam.predict.formats`: masks are made without them.
"""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.errors import InputError
from pocketsam.predict import formats
from pocketsam.predict.formats import cutout
from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.formats.result import Result
from pocketsam.predict.outlines import Polygon, polygons
from pocketsam.utils.rle import areas, boxes, decode

FEWEST_PIXELS = 4
"""A mask of fewer pixels shows no object: nothing was found. In a photo of fewer pixels, all of them are enough."""
NOTEBOOK_SIDE = 1024
"""Pixels of the longest side of the picture that a notebook shows."""


class Conversions:
    """The methods that `Masks` and `Proposals` share; what they are made from is a `Result`."""

    @property
    def empty(self: Result) -> NDArray[np.bool_]:
        """(N,) bool: whether a mask has fewer than 4 pixels, which means that no object was found."""
        height, width = self.size
        return np.asarray(areas(self.rle) < min(FEWEST_PIXELS, height * width))

    @property
    def polygons(self: Result) -> list[list[Polygon]]:
        """The outer outlines of each mask, (K, 2) float32 (x, y) in photo pixels, along the edges of pixels."""
        return [polygons(rle) for rle in self.rle]

    def cutouts(self: Result) -> Iterator[NDArray[np.uint8]]:
        """Of each mask, the photo uint8 (H, W, 4) RGBA with alpha 0 outside the mask.

        Raises InputError when the masks were made without the photo.
        """
        return cutout.cutouts(self)

    def coco(self: Result) -> dict[str, Any]:
        """The COCO document that `save` writes to a .json file, as Python values."""
        from pocketsam.predict.formats import coco

        document: dict[str, Any] = json.loads(coco.encode(self, ".json")[0])
        return document

    def coco_annotations(self: Result) -> list[dict[str, Any]]:
        """An annotation for each mask as COCO has it, but for `id` and `image_id`, which the whole file decides."""
        from pocketsam.predict.formats import coco
        from pocketsam.predict.formats.labelled import Classes, labelled

        return coco.annotations(labelled(self), {one.name: one.id for one in Classes.of(self.names)})

    def to_supervision(self: Result) -> Any:
        """The masks as `supervision.Detections`: xyxy, mask, confidence, class_id and the class names.

        Boxes are pixel edges: x1 is the last column plus one. Raises InputError where supervision is not installed.
        """
        try:
            supervision = import_module("supervision")
        except ModuleNotFoundError as error:
            raise InputError(
                f"to_supervision needs {error.name}; install it with: pip install supervision"
            ) from error
        from pocketsam.predict.formats.labelled import Classes

        classes = [one.name for one in Classes.of(self.names)]
        return supervision.Detections(
            xyxy=boxes(self.rle),
            mask=np.array([decode(rle) for rle in self.rle], np.bool_).reshape(-1, *self.size),
            confidence=np.asarray(self.predicted_iou),
            class_id=np.array([classes.index(name) for name in self.names], int),
            data={"class_name": np.array(self.names, np.str_)},
        )

    def save(self: Result, path: str | Path) -> list[Path]:
        """Write the masks to `path`, whose suffix says how, and return the paths written.

        .json              COCO with run lengths; .polygons.json with polygons
        .labelme.json      LabelMe
        .cvat.xml          CVAT with masks; .polygons.cvat.xml with polygons
        .labelstudio.json  Label Studio with brush strokes; .polygons.labelstudio.json with polygons
        .yolo.zip          YOLO segmentation labels and data.yaml
        .voc.zip           Pascal VOC's pictures of classes and of objects
        .geojson, .svg     outlines
        .labels.png        16-bit label map: 0 is background, i + 1 is mask i, small masks above large ones
        .cutout.png        the photo, transparent outside the mask; several masks give NAME.0.cutout.png and so on
        .png .jpg .webp    overlay: the masks drawn on the photo
        .npy, .npz         low-resolution logits (not of proposals); .npz has all that is known of each mask

        A file is written whole or not at all. Raises InputError for other suffixes and unwritable paths.
        """
        return formats.save(self, path)

    def _repr_png_(self: Result) -> bytes | None:
        """The overlay, which a notebook shows instead of the text; None, and so the text, without the photo."""
        if self.image is None:
            return None
        overlay = self.overlay()
        scale = NOTEBOOK_SIDE / max(overlay.shape[:2])
        if scale < 1:
            size = [max(1, round(scale * side)) for side in overlay.shape[1::-1]]
            overlay = np.asarray(cv2.resize(overlay, size, interpolation=cv2.INTER_AREA), np.uint8)
        return encode_image(overlay, ".png")

"""LabelMe (https://github.com/wkentaro/labelme): a JSON file for a photo, with a polygon for each part of a mask.

A polygon of LabelMe has no holes: they are joined to it by cuts of no width. The parts of one mask share a group_id.
A mask without pixels has no polygon, and is lost.
"""

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from pocketsam.predict.filling import ellipse, fill, rectangle
from pocketsam.predict.formats.labelled import (
    Classes,
    LabelledObject,
    LabelledPhoto,
    LabelSet,
    file_in,
    labelled,
)
from pocketsam.predict.formats.photos import Photos
from pocketsam.predict.formats.result import Result
from pocketsam.predict.outlines import parts_without_holes
from pocketsam.utils.rle import RLE, union
from pocketsam.utils.rle import encode as encode_mask

VERSION = "5.4.1"
"""Of LabelMe, whose layout this is."""
_SCORE = re.compile(r"predicted IoU ([0-9.e+-]+)")


def encode(result: Result, suffix: str) -> list[bytes]:
    """The LabelMe file of a photo, which refers to the photo by its name and does not contain it."""
    photo = labelled(result)
    shapes = [
        {
            "label": one.name,
            "points": polygon.tolist(),
            "group_id": one.id,
            "description": "" if one.score is None else f"predicted IoU {one.score}",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for one in photo.objects
        for polygon in parts_without_holes(one.rle)
    ]
    document: dict[str, Any] = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": PurePosixPath(photo.file_name).name,
        "imageData": None,
        "imageHeight": photo.size[0],
        "imageWidth": photo.size[1],
    }
    return [json.dumps(document, ensure_ascii=False).encode()]


def matches(document: Any) -> bool:
    """Whether a JSON document is LabelMe's."""
    return isinstance(document, dict) and "shapes" in document and "imagePath" in document


def decode(content: bytes, name: str, photos: Photos) -> LabelSet:
    """The photo of a LabelMe file: polygons, rectangles, circles and masks; lines and points are left out."""
    document = json.loads(content)
    file_name = str(PurePosixPath(name).with_name(file_in(document["imagePath"])))
    height, width = document.get("imageHeight"), document.get("imageWidth")
    size = (int(height), int(width)) if height and width else photos.size(file_name)
    parts: dict[Any, list[tuple[Mapping[str, Any], RLE]]] = {}
    left_out = []
    for i, shape in enumerate(document["shapes"]):
        group = shape.get("group_id")
        try:
            mask = _mask(shape, size)
        except ValueError as error:
            left_out.append(f"shape {i} {error}")
            continue
        parts.setdefault((shape["label"], i if group is None else None, group), []).append((shape, mask))
    objects = tuple(_object(of_one) for of_one in parts.values())
    photo = LabelledPhoto(file_name, size, objects, left_out=tuple(left_out))
    return LabelSet([photo], Classes(), 1)


def _object(parts: list[tuple[Mapping[str, Any], RLE]]) -> LabelledObject:
    shape = parts[0][0]
    score = _SCORE.fullmatch(shape.get("description") or "")
    group = shape.get("group_id")
    return LabelledObject(
        union([mask for _, mask in parts]),
        str(shape["label"]),
        float(score[1]) if score else None,
        group if isinstance(group, int) else None,
    )


def _mask(shape: Mapping[str, Any], size: tuple[int, int]) -> RLE:
    kind, points = shape.get("shape_type", "polygon"), shape["points"]
    if kind == "polygon":
        return fill([points], size)
    if kind == "rectangle" and len(points) == 2:
        return fill([rectangle(*points[0], *points[1])], size)
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = float(np.hypot(edge[0] - x, edge[1] - y))
        return fill([ellipse(x, y, radius, radius)], size)
    if kind == "mask" and shape.get("mask"):
        return _pasted(shape["mask"], points[0], size)
    raise ValueError(f"is a {kind}, which is no area")


def _pasted(png: str, corner: tuple[float, float], size: tuple[int, int]) -> RLE:
    """A mask that is a PNG of its box."""
    with Image.open(BytesIO(b64decode(png))) as image:
        pixels = np.asarray(image) > 0
    x, y = (round(value) for value in corner)
    if pixels.ndim != 2 or min(x, y) < 0 or y + pixels.shape[0] > size[0] or x + pixels.shape[1] > size[1]:
        raise ValueError("has a mask that lies outside its photo")
    mask = np.zeros(size, np.bool_)
    mask[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return encode_mask(mask)

"""LabelMe (https://github.com/wkentaro/labelme): a JSON file for a photo, with a polygon for each part of a mask.

A polygon has no holes, so those of a mask are lost. The parts of one mask share a group_id. A mask that is empty, or
thinner than two pixels, has no polygon.
"""

import json
from typing import Any

from pocketsam.predict.formats.result import Result
from pocketsam.predict.outlines import polygons

VERSION = "5.4.1"
"""Of LabelMe, whose layout this is."""


def encode(result: Result, suffix: str) -> list[bytes]:
    """The LabelMe file of a photo, which refers to the photo by its name and does not contain it."""
    height, width = result.size
    columns = zip(result.rle, result.names, result.predicted_iou, strict=True)
    shapes = [
        {
            "label": name,
            "points": polygon.tolist(),
            "group_id": i,
            "description": f"predicted IoU {iou:.2f}",
            "shape_type": "polygon",
            "flags": {},
        }
        for i, (rle, name, iou) in enumerate(columns)
        for polygon in polygons(rle)
    ]
    document: dict[str, Any] = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": result.file_name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return [json.dumps(document, ensure_ascii=False).encode()]

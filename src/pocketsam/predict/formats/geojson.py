"""GeoJSON (RFC 7946), as microscopy and mapping tools read it for images: coordinates are pixels, y pointing down."""

import json
from typing import Any

from numpy.typing import NDArray

from pocketsam.predict.formats.result import Result
from pocketsam.predict.outlines import polygons_with_holes
from pocketsam.utils.rle import RLE


def encode(result: Result, suffix: str) -> list[bytes]:
    """A feature for each mask; one without an outline has no geometry."""
    columns = zip(result.rle, result.names, result.predicted_iou, result.empty, result.details(), strict=True)
    features = [
        {
            "type": "Feature",
            "geometry": _geometry(rle),
            "properties": {
                "name": name,
                "predicted_iou": round(float(iou), 4),
                "empty": bool(empty),
                **more,
            },
        }
        for rle, name, iou, empty, more in columns
    ]
    height, width = result.size
    document = {
        "type": "FeatureCollection",
        "image": {"file_name": result.file_name, "width": width, "height": height},
        "features": features,
    }
    return [json.dumps(document, ensure_ascii=False).encode()]


def _geometry(rle: RLE) -> dict[str, Any] | None:
    parts = [[_ring(outline) for outline in part] for part in polygons_with_holes(rle)]
    return {"type": "MultiPolygon", "coordinates": parts} if parts else None


def _ring(outline: NDArray[Any]) -> list[list[float]]:
    """A ring ends where it starts."""
    points: list[list[float]] = outline.tolist()
    return [*points, points[0]]

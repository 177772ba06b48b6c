"""GeoJSON (RFC 7946), as microscopy and mapping tools read it for images: coordinates are pixels, y pointing down."""

import json
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from pocketsam.predict.filling import fill
from pocketsam.predict.formats.labelled import Classes, LabelledObject, LabelledPhoto, LabelSet, labelled
from pocketsam.predict.formats.photos import Photos
from pocketsam.predict.formats.result import DEFAULT_NAME, Result
from pocketsam.predict.outlines import polygons_with_holes
from pocketsam.utils.rle import RLE, union


def encode(result: Result, suffix: str) -> list[bytes]:
    """A feature for each mask; one without pixels has no geometry."""
    photo = labelled(result)
    height, width = photo.size
    document = {
        "type": "FeatureCollection",
        "image": {"file_name": photo.file_name, "width": width, "height": height},
        "features": [_feature(one) for one in photo.objects],
    }
    return [json.dumps(document, ensure_ascii=False).encode()]


def matches(document: Any) -> bool:
    """Whether a JSON document is GeoJSON."""
    return isinstance(document, dict) and document.get("type") == "FeatureCollection"


def decode(content: bytes, name: str, photos: Photos) -> LabelSet:
    """The photo of a GeoJSON file. Its class is `name` or, as QuPath has it, that of the `classification`."""
    document = json.loads(content)
    image = document.get("image") or {}
    file_name = image["file_name"] if "file_name" in image else photos.name(name)
    size = (int(image["height"]), int(image["width"])) if "height" in image else photos.size(file_name)
    objects, left_out = [], []
    for i, feature in enumerate(document["features"]):
        try:
            objects.append(_object(feature, size))
        except ValueError as error:
            left_out.append(f"feature {i} {error}")
    return LabelSet([LabelledPhoto(file_name, size, tuple(objects), left_out=tuple(left_out))], Classes(), 1)


def _feature(one: LabelledObject) -> dict[str, Any]:
    parts = [[_ring(outline) for outline in part] for part in polygons_with_holes(one.rle)]
    score = {} if one.score is None else {"predicted_iou": one.score}
    return {
        "type": "Feature",
        "id": one.id,
        "geometry": {"type": "MultiPolygon", "coordinates": parts} if parts else None,
        "properties": {"name": one.name, **score, **one.extra},
    }


def _object(feature: Mapping[str, Any], size: tuple[int, int]) -> LabelledObject:
    properties = dict(feature.get("properties") or {})
    classification = properties.get("classification")
    known = classification.get("name") if isinstance(classification, dict) else None
    name = properties.pop("name", known) or DEFAULT_NAME
    score = properties.pop("predicted_iou", None)
    id = feature.get("id")
    return LabelledObject(
        _mask(feature.get("geometry"), size),
        str(name),
        None if score is None else float(score),
        id if isinstance(id, int) else None,
        properties,
    )


def _mask(geometry: Mapping[str, Any] | None, size: tuple[int, int]) -> RLE:
    if geometry is None:
        return fill([], size)
    if geometry["type"] == "Polygon":
        return fill(geometry["coordinates"], size)
    if geometry["type"] == "MultiPolygon":
        return union([fill(rings, size) for rings in geometry["coordinates"]] or [fill([], size)])
    raise ValueError(f"is a {geometry['type']}, which is no area")


def _ring(outline: NDArray[Any]) -> list[list[float]]:
    """A ring ends where it starts."""
    points: list[list[float]] = outline.tolist()
    return [*points, points[0]]

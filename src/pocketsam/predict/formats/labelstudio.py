"""Label Studio (https://labelstud.io): a JSON list of tasks, one for each photo, with brush strokes or polygons.

`.labelstudio.json` has brush strokes, which hold any mask; `.polygons.labelstudio.json` has a polygon for each part
of a mask, its holes joined to it by cuts of no width; further parts name the first as their parent. Masks with a
score are predictions, others annotations. The labelling configuration calls the photo `image`, the labels `label`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from pocketsam.predict.filling import ellipse, fill, rectangle
from pocketsam.predict.formats.brush import from_brush, to_brush
from pocketsam.predict.formats.labelled import (
    Classes,
    LabelledObject,
    LabelledPhoto,
    LabelSet,
    labelled,
)
from pocketsam.predict.formats.photos import Photos
from pocketsam.predict.formats.result import DEFAULT_NAME, Result
from pocketsam.predict.outlines import parts_without_holes
from pocketsam.utils.rle import RLE, union

STORAGE = "/data/local-files/?d="
"""Where Label Studio has the photos of its local storage."""
_KINDS = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels", "labels")


def encode(result: Result, suffix: str) -> list[bytes]:
    """The list with the task of a single photo."""
    return [b"".join(encode_all([result], suffix, Classes.of(result.names)))]


def encode_all(photos: Iterable[Result], suffix: str, classes: Classes) -> Iterator[bytes]:
    """The list of tasks in pieces, so that the masks of many photos need not fit into memory."""
    separator = b"["
    for i, photo in enumerate(photos, 1):
        task = _task(i, labelled(photo), suffix.startswith(".polygons"))
        yield separator + json.dumps(task, ensure_ascii=False).encode()
        separator = b",\n"
    yield b"]" if separator != b"[" else b"[]"


def _task(i: int, photo: LabelledPhoto, as_polygons: bool) -> dict[str, Any]:
    height, width = photo.size
    regions = [region for one in photo.objects for region in results_of(one, photo.size, as_polygons)]
    scores = [one.score for one in photo.objects if one.score is not None]
    found = {"id": 1, "result": regions}
    of_model = {"model_version": "pocketsam", "score": sum(scores) / max(1, len(scores)), **found}
    return {
        "id": i,
        "data": {"image": STORAGE + quote(photo.file_name), "width": width, "height": height},
        "annotations": [] if scores else [found],
        "predictions": [of_model] if scores else [],
    }


def results_of(one: LabelledObject, size: tuple[int, int], as_polygons: bool) -> list[dict[str, Any]]:
    """The regions of an object in a photo of `size` (H, W): one with brush strokes, or a polygon for each part."""
    height, width = size
    common: dict[str, Any] = {
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        **({} if one.score is None else {"score": one.score}),
    }
    if not as_polygons:
        value = {"format": "rle", "rle": to_brush(one.rle), "brushlabels": [one.name]}
        return [{"id": str(one.id), **common, "type": "brushlabels", "value": value}]
    regions = []
    for i, polygon in enumerate(parts_without_holes(one.rle)):
        points = [[100 * x / width, 100 * y / height] for x, y in polygon.tolist()]
        outline: dict[str, Any] = {"points": points, "closed": True, "polygonlabels": [one.name]}
        names = {"id": f"{one.id}.{i}", "parentID": str(one.id)} if i else {"id": str(one.id)}
        regions.append({**names, **common, "type": "polygonlabels", "value": outline})
    return regions


def matches(document: Any) -> bool:
    """Whether a JSON document is Label Studio's."""
    return isinstance(document, list) and all(isinstance(task, dict) and "data" in task for task in document)


def decode(content: bytes, name: str, photos: Photos) -> LabelSet:
    """The photos of an export in the format JSON: the annotations of each or, if there are none, the predictions."""
    tasks = json.loads(content)
    return LabelSet((_photo(task, photos) for task in tasks), Classes(), len(tasks))


def _photo(task: Mapping[str, Any], photos: Photos) -> LabelledPhoto:
    data = task["data"]
    file_name = file_name_of(str(data["image"] if "image" in data else next(iter(data.values()))))
    done = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
    chosen = (done or task.get("predictions") or [{"result": []}])[-1]
    regions = [region for region in chosen["result"] if "value" in region]
    size = _size(data, regions) or photos.size(file_name)
    objects, left_out = _objects(regions, size)
    return LabelledPhoto(file_name, size, objects, left_out=tuple(left_out))


def _objects(
    regions: list[Mapping[str, Any]], size: tuple[int, int]
) -> tuple[tuple[LabelledObject, ...], list[str]]:
    """Regions of one id are one object, and so are a region and those that name it as their parent."""
    masks: dict[str, list[RLE]] = {}
    names: dict[str, str] = {}
    scores: dict[str, float] = {}
    left_out = []
    for i, region in enumerate(regions):
        id = str(region.get("parentID") or region.get("id") or f"region {i}")
        value = region["value"]
        label = next((value[kind][0] for kind in _KINDS if value.get(kind)), None)
        if label is not None:
            names.setdefault(id, str(label))
        if region.get("score") is not None:
            scores[id] = float(region["score"])
        try:
            masks.setdefault(id, []).append(mask_of(region, size))
        except ValueError as error:
            left_out.append(f"region {id} {error}")
    objects = tuple(
        LabelledObject(
            union(parts),
            names.get(id, DEFAULT_NAME),
            scores.get(id),
            int(id) if re.fullmatch(r"[1-9]\d{0,15}", id) else None,
        )
        for id, parts in masks.items()
        if parts
    )
    return objects, left_out


def mask_of(region: Mapping[str, Any], size: tuple[int, int]) -> RLE:
    """The mask of a region. Raises ValueError, which says why, where there is none."""
    value, (height, width) = region["value"], size
    scale = width / 100, height / 100
    if "rle" in value:
        return from_brush(value["rle"], size)
    if "points" in value:
        return fill([[(x * scale[0], y * scale[1]) for x, y in value["points"]]], size)
    if "radiusX" in value:
        radii = value["radiusX"] * scale[0], value["radiusY"] * scale[1]
        return fill(
            [ellipse(value["x"] * scale[0], value["y"] * scale[1], *radii, value.get("rotation", 0))], size
        )
    if "width" in value and not value.get("rotation"):
        x, y = value["x"] * scale[0], value["y"] * scale[1]
        return fill([rectangle(x, y, x + value["width"] * scale[0], y + value["height"] * scale[1])], size)
    raise ValueError(f"is a {region.get('type')}, which is not read")


def _size(data: Mapping[str, Any], regions: list[Mapping[str, Any]]) -> tuple[int, int] | None:
    for region in regions:
        if "original_height" in region:
            return int(region["original_height"]), int(region["original_width"])
    return (int(data["height"]), int(data["width"])) if "height" in data and "width" in data else None


def file_name_of(address: str) -> str:
    """The photo that a task's address is of: in local storage, uploaded, or anywhere."""
    parts = urlsplit(address)
    if stored := parse_qs(parts.query).get("d"):
        return stored[0].lstrip("/")
    name = PurePosixPath(unquote(parts.path)).name
    return re.sub(r"^[0-9a-f]{8}-", "", name) if "/upload/" in parts.path else name

"""An ML backend for Label Studio: clicks, boxes and brush strokes there become masks here.

The protocol is Label Studio's own (https://labelstud.io/guide/ml_create): /health, /setup and /predict, which gets a
task, the labelling configuration, and the regions that were just drawn, with `is_positive` for clicks.
Photos are those that this server shows, found by their names, or come from the Label Studio that the environment
variable LABEL_STUDIO_URL names, with LABEL_STUDIO_API_KEY; no request can name another server.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree.ElementTree import Element

import cv2
import numpy as np
import requests
from anyio.to_thread import run_sync
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from pocketsam.errors import InputError
from pocketsam.predict.formats.labelled import LabelledObject
from pocketsam.predict.formats.labelstudio import file_name_of, mask_of, results_of
from pocketsam.predict.formats.result import DEFAULT_NAME
from pocketsam.predict.formats.xml import parse
from pocketsam.server.album import Album, Entry
from pocketsam.server.limits import RequestError
from pocketsam.server.messages import Mask, MasksRequest, Prompt
from pocketsam.server.routes import User
from pocketsam.server.service import Service
from pocketsam.utils.rle import decode

PREFIX = "/label-studio"
STROKE_POINTS = 5
"""Clicks that stand for a brush stroke."""
SECONDS = 30
"""For Label Studio to send a photo."""


class Control(BaseModel):
    """Where results go. name: of the control in the configuration. photo: of the photo's. key: in a task's data."""

    name: str
    photo: str
    key: str
    as_polygons: bool


class PredictRequest(BaseModel):
    """What Label Studio sends; it has more fields than are used here."""

    tasks: list[dict[str, Any]] = []
    label_config: str = ""
    params: dict[str, Any] | None = None


def router(service: Service) -> APIRouter:
    """The routes under /label-studio, which is the address to give Label Studio."""
    routes = APIRouter(prefix=PREFIX, include_in_schema=False)
    version = service.segmenter.engine.config.name
    photos: dict[str, str] = {}

    @routes.get("/health")
    @routes.get("/")
    def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "PocketSAM"}

    @routes.post("/setup")
    def setup() -> dict[str, str]:
        return {"model_version": version}

    @routes.post("/versions")
    def versions() -> dict[str, list[str]]:
        return {"versions": [version]}

    @routes.post("/webhook", status_code=201)
    def webhook() -> dict[str, str]:
        return {}

    @routes.post("/predict")
    async def predict(asked: PredictRequest, user: User) -> dict[str, Any]:
        control = _control(asked.label_config)
        context = (asked.params or {}).get("context") or {}
        regions = context.get("result") or [] if isinstance(context, dict) else []
        results = [await _predict(service, task, control, regions, photos, user) for task in asked.tasks]
        return {"results": [{"model_version": version, **one} for one in results], "model_version": version}

    return routes


async def _predict(
    service: Service,
    task: Mapping[str, Any],
    control: Control,
    regions: Sequence[Mapping[str, Any]],
    photos: dict[str, str],
    user: str,
) -> dict[str, Any]:
    """The prediction for a task: nothing without a prompt, as a model of objects has no names for them."""
    if not regions:
        return {"result": [], "score": 0.0}
    address = task.get("data", {}).get(control.key)
    if not isinstance(address, str):
        raise RequestError(400, f"the task has no photo under `{control.key}`")
    id = await _photo(service, address, photos)
    photo = await service.open(id, user)
    size = photo.geometry.height, photo.geometry.width
    request = await run_sync(_request, regions, size)
    found = [one for one in await service.segment(id, request, user) if not one.empty]
    results = [result for one in found for result in _results(one, size, control)]
    scores = [one.predicted_iou for one in found]
    return {"result": results, "score": sum(scores) / max(1, len(scores))}


def _control(config: str) -> Control:
    """The brush control of a configuration or, without one, the polygon control. RequestError (400) without both."""
    try:
        root = parse(config.encode())
    except ValueError as error:
        raise RequestError(400, f"the labelling configuration {error}") from error
    for tags, as_polygons in ((("BrushLabels", "Brush"), False), (("PolygonLabels", "Polygon"), True)):
        for one in root.iter():
            if one.tag in tags and one.get("name") and one.get("toName"):
                photo = one.get("toName", "")
                return Control(
                    name=one.get("name", ""), photo=photo, key=_key(root, photo), as_polygons=as_polygons
                )
    raise RequestError(400, "the labelling configuration has no BrushLabels and no PolygonLabels; add one")


def _key(root: Element, photo: str) -> str:
    value = next((one.get("value", "") for one in root.iter("Image") if one.get("name") == photo), "$image")
    return value.lstrip("$")


async def _photo(service: Service, address: str, photos: dict[str, str]) -> str:
    """The id of a task's photo: one that the server shows, or one that Label Studio sends."""
    name = file_name_of(address).rpartition("/")[2]
    if photos.get(address) in {entry.id for entry in service.album}:
        return photos[address]
    found = _shown(service.album, file_name_of(address))
    if found is not None:
        return found.id
    content = await run_sync(_download, address, name, service.limits.body)
    photos[address] = (await service.add(name, content)).id
    return photos[address]


def _shown(album: Album, address: str) -> Entry | None:
    """The photo on this disk whose path ends as the address does; of several of one name, only the best fit."""
    wanted = PurePath(address).parts[::-1] or ("",)
    fits: dict[int, list[Entry]] = {}
    for entry in album:
        if isinstance(entry.source, Path) and entry.name == wanted[0]:
            shared = zip(wanted, entry.source.resolve().parts[::-1], strict=False)
            fits.setdefault(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], shared)), []).append(
                entry
            )
    best = fits[max(fits)] if fits else []
    return best[0] if len(best) == 1 else None


def _download(address: str, name: str, most: int) -> bytes:
    """A photo from Label Studio. RequestError (404) where none is known, or it does not send the photo."""
    home = os.environ.get("LABEL_STUDIO_URL", "")
    url = urljoin(home if home.endswith("/") else f"{home}/", address)
    if not home or urlsplit(url)[:2] != urlsplit(home)[:2]:
        raise RequestError(
            404,
            f"there is no photo {name} here; name it when the server starts, or set LABEL_STUDIO_URL and"
            " LABEL_STUDIO_API_KEY",
        )
    key = os.environ.get("LABEL_STUDIO_API_KEY")
    headers = {"Authorization": f"Token {key}"} if key else {}
    try:
        with requests.get(
            url, headers=headers, timeout=SECONDS, stream=True, allow_redirects=False
        ) as answer:
            answer.raise_for_status()
            content = answer.raw.read(most + 1, decode_content=True)
    except (requests.RequestException, OSError) as error:
        raise RequestError(
            404, f"Label Studio does not send the photo {name} ({type(error).__name__})"
        ) from error
    if len(content) > most:
        raise RequestError(413, f"the photo {name} is larger than {most // 2**20} MiB")
    return bytes(content)


def _request(regions: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> MasksRequest:
    """Clicks and strokes are of one object, with the box if there is only one; of several boxes each is an object."""
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    boxes: list[tuple[float, float, float, float]] = []
    name = DEFAULT_NAME
    height, width = size
    try:
        for region in regions:
            value, kind = region["value"], region["type"]
            name = (value.get(kind) or value.get("labels") or [name])[0]
            inside = int(bool(region.get("is_positive", True)))
            if "rle" in value:
                stroke = _clicks(decode(mask_of(region, size)))
                points, labels = points + stroke, labels + [inside] * len(stroke)
            elif "width" in value and kind.startswith("rectangle"):
                x, y = value["x"] * width / 100, value["y"] * height / 100
                boxes.append((x, y, x + value["width"] * width / 100, y + value["height"] * height / 100))
            elif kind.startswith("keypoint"):
                points.append((value["x"] * width / 100, value["y"] * height / 100))
                labels.append(inside)
        return _objects(points, labels, boxes, name)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RequestError(400, f"the regions cannot be used as prompts ({error!r})"[:300]) from error


def _objects(
    points: list[tuple[float, float]],
    labels: list[int],
    boxes: list[tuple[float, float, float, float]],
    name: str,
) -> MasksRequest:
    prompts: list[dict[str, Any]]
    if points and len(boxes) < 2:
        prompts = [{"points": points, "labels": labels, "box": boxes[0] if boxes else None, "name": name}]
    else:
        prompts = [{"box": box, "name": name} for box in boxes]
        prompts += [{"points": points, "labels": labels, "name": name}] if points else []
    if not prompts:
        raise InputError("there is no click, no box and no brush stroke to start from")
    try:
        return MasksRequest(objects=[Prompt(**one) for one in prompts])
    except ValidationError as error:
        raise RequestError(
            422, f"the regions cannot be used as prompts ({error.errors()[0]['msg']})"
        ) from error


def _clicks(stroke: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Up to 5 pixels (x, y) along a brush stroke, each in the middle of its part of the stroke."""
    rows, columns = np.nonzero(stroke)
    if not len(rows):
        return []
    depth = cv2.distanceTransform(np.pad(stroke, 1).view(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    along = columns if np.ptp(columns) >= np.ptp(rows) else rows
    clicks = []
    for part in np.array_split(np.argsort(along, kind="stable"), min(STROKE_POINTS, len(rows))):
        deepest = part[depth[rows[part], columns[part]].argmax()]
        clicks.append((float(columns[deepest]) + 0.5, float(rows[deepest]) + 0.5))
    return clicks


def _results(mask: Mask, size: tuple[int, int], control: Control) -> list[dict[str, Any]]:
    rle = mask.rle.model_dump() if mask.rle is not None else {}
    one = LabelledObject(rle, mask.name, mask.predicted_iou, secrets.randbelow(10**12) + 1)
    results = results_of(one, size, control.as_polygons)
    return [{**result, "from_name": control.name, "to_name": control.photo} for result in results]

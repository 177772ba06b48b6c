"""An interactor for CVAT (https://docs.cvat.ai): clicks and a box there become a mask here. It needs no server.

CVAT calls interactors in two ways:
- as an agent, `cvat-cli function run-agent ID --function-module pocketsam.server.cvat`, which calls `create`
  (cvat_sdk.auto_annotation.InteractionFunction);
- as a serverless function of Nuclio, which calls `init_context` once, and `handler` for each request: a photo in
  base64, `pos_points`, `neg_points` and `obj_bbox`.
"""

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
from PIL import Image

from pocketsam.errors import InputError
from pocketsam.predict.formats.cvat import runs_of
from pocketsam.predict.masks import Masks
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.predict.outlines import parts_without_holes
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.server.album import OpenPhotos
from pocketsam.server.limits import Limits

Point: TypeAlias = Sequence[float]


class Interactor:
    """The functions that CVAT's agent calls. spec: which prompts it takes: any clicks, and a box or none."""

    def __init__(self, segmenter: Segmenter) -> None:
        import cvat_sdk.auto_annotation as cvat

        self._cvat, self._segmenter = cvat, segmenter
        self.spec = cvat.InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def preprocess_image(self, context: object, image: Image.Image) -> Photo:
        """The photo, encoded; CVAT's agent keeps it for further prompts."""
        return self._segmenter.open(image)

    def detect(self, context: object, pp_image: Photo, prompts: Any) -> list[Any]:
        """The mask of a prompt as CVAT's shape, or none where no object is found."""
        from cvat_sdk.models import AttributeValRequest

        masks = _segment(pp_image, prompts.pos_points, prompts.neg_points, prompts.bounding_box)
        if masks.empty[0]:
            return []
        runs, (x0, y0, width, height) = runs_of(masks.rle[0])
        iou = AttributeValRequest(
            spec_id=int(self._cvat.InteractionResultAttributes.CONFIDENCE),
            value=f"{np.clip(masks.predicted_iou[0], 0, 1):.4f}",
        )
        points = [*runs, x0, y0, x0 + width - 1, y0 + height - 1]
        return [self._cvat.InteractionResultShape(type="mask", points=points, attributes=[iou])]


def create(model: str = "pocket", engine: str = "auto", threads: int | None = None) -> Interactor:
    """The interactor that CVAT's agent runs. model, engine, threads: as those of `Segmenter`."""
    return Interactor(Segmenter(model, engine, threads=threads))


def init_context(context: Any) -> None:
    """Loads the model of a Nuclio worker, whose name or path is in the environment variable POCKETSAM_MODEL."""
    context.user_data.segmenter = Segmenter(os.environ.get("POCKETSAM_MODEL", "pocket"))
    context.user_data.photos = OpenPhotos(Limits().cache)


def handler(context: Any, event: Any) -> Any:
    """The answer to a request: `mask`, rows of 0 and 1, and `points`, the outline of its largest part.

    Bad requests get the status 400, and `error`.
    """
    try:
        answer, status = _answer(context.user_data, event.body), 200
    except (InputError, KeyError, TypeError, ValueError) as error:
        answer, status = {"error": " ".join(str(error).split())}, 400
    body = json.dumps(answer)
    return context.Response(body=body, headers={}, content_type="application/json", status_code=status)


def _answer(worker: Any, request: dict[str, Any]) -> dict[str, Any]:
    photo = _photo(worker, request["image"])
    box = request.get("obj_bbox") or None
    masks = _segment(photo, request["pos_points"], request.get("neg_points") or [], box)
    outlines = parts_without_holes(masks.rle[0])
    largest = max(outlines, key=lambda outline: cv2.contourArea(outline.astype(np.float32)), default=None)
    return {
        "mask": masks.binary[0].astype(int).tolist(),
        "points": [] if largest is None else largest.tolist(),
    }


def _photo(worker: Any, encoded: str) -> Photo:
    """The photo of a request, which CVAT sends with every click; it is encoded once."""
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise InputError(f"the photo is not in base64 ({error})") from error
    id = hashlib.sha256(content).hexdigest()
    photo: Photo | None = worker.photos.get(id)
    if photo is None:
        photo = worker.segmenter.open(content)
        worker.photos.put(id, photo)
    return photo


def _segment(
    photo: Photo, on_object: Sequence[Point], off_object: Sequence[Point], box: Sequence[Point] | None
) -> Masks:
    """The mask of one object. box: its upper left and its lower right corner."""
    clicks = [*on_object, *off_object]
    labels = [1] * len(on_object) + [0] * len(off_object)
    corners = [float(number) for corner in box or () for number in corner]
    pixels = [float(number) for click in clicks for number in click]
    objects = ObjectPrompt.several(pixels, labels, corners)
    if not objects:
        raise InputError("there is no click and no box; click on an object")
    return photo.segment_objects(objects[:1])

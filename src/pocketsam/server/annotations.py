"""The annotations of a photo: saved as a COCO file that the page can read again, and exported in every format.

Beside COCO's fields, each annotation keeps `prompt`: its points, labels and box, the strokes of the
brush, its colour, and whether it is shown.
"""

import hashlib
import io
import json
import zipfile
from base64 import b64encode
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pocketsam.errors import InputError
from pocketsam.predict.conversions import Conversions
from pocketsam.predict.drawing import draw_masks
from pocketsam.predict.formats import Format, format_of
from pocketsam.predict.formats import save as write_files
from pocketsam.predict.formats.archive import zipped
from pocketsam.predict.formats.labelled import Classes
from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.formats.result import Result, photo_of
from pocketsam.predict.formats.writing import write_labels
from pocketsam.predict.outlines import polygons_with_holes
from pocketsam.server.limits import RequestError
from pocketsam.server.messages import Annotation, Mask, Part, RunLengths
from pocketsam.utils.rle import RLE, areas, boxes, decode, run_lengths


@dataclass(frozen=True, eq=False)
class Annotations(Conversions):
    """The objects of one photo of `size` (H, W), as a `Result` that every format can be written from."""

    objects: Sequence[Annotation]
    size: tuple[int, int]
    file_name: str
    image: NDArray[np.uint8] | None = None
    logits: NDArray[np.float32] | None = None
    photo: str = ""
    """The digest of the photo's file, to tell it from others of the same name; it is saved where it is given."""

    def __len__(self) -> int:
        return len(self.objects)

    @cached_property
    def rle(self) -> list[RLE]:
        """N run lengths."""
        return [one.rle.model_dump() for one in self.objects]

    @property
    def names(self) -> tuple[str, ...]:
        """N class names."""
        return tuple(one.name for one in self.objects)

    @property
    def predicted_iou(self) -> NDArray[np.float32]:
        """(N,) float32."""
        return np.array([one.predicted_iou for one in self.objects], np.float32)

    def overlay(self) -> NDArray[np.uint8]:
        """The photo uint8 (H, W, 3) with the masks drawn on it."""
        return draw_masks(photo_of(self.image, self.file_name), self.rle)

    def details(self) -> list[dict[str, Any]]:
        """The number of each object, the prompt that it was made from, and the photo's digest."""
        photo = {"photo": self.photo} if self.photo else {}
        prompts = [
            one.model_dump(include={"points", "labels", "box", "strokes", "colour", "visible"})
            for one in self.objects
        ]
        return [{"object": i, "prompt": prompt, **photo} for i, prompt in enumerate(prompts)]

    @property
    def prompted(self) -> bool:
        """Whether each object comes from points or a box alone, and its logits can be computed again."""
        return all((one.points or one.box) and not one.strokes for one in self.objects)


def describe(result: Result, include: Container[Part] = ("rle", "polygons")) -> list[Mask]:
    """The masks of a result as the API gives them."""
    details = result.details()
    columns = zip(
        result.rle, result.names, areas(result.rle), boxes(result.rle), result.predicted_iou, strict=True
    )
    return [
        Mask(
            object=details[i].get("object", i),
            name=name,
            rle=RunLengths(**rle) if "rle" in include else None,
            polygons=outlines(rle) if "polygons" in include else None,
            png=_png(rle) if "png" in include else None,
            box=tuple(box.tolist()),
            area=int(area),
            predicted_iou=round(float(iou), 4),
            empty=bool(empty),
        )
        for i, ((rle, name, area, box, iou), empty) in enumerate(zip(columns, result.empty, strict=True))
    ]


def _png(rle: RLE) -> str:
    return b64encode(encode_image(decode(rle).view(np.uint8) * np.uint8(255), ".png")).decode()


def outlines(rle: RLE) -> list[list[list[tuple[float, float]]]]:
    """Of each part of a mask, its outer outline and those of its holes, as (x, y) in photo pixels."""
    return [[ring.tolist() for ring in part] for part in polygons_with_holes(rle)]


def check_run_lengths(objects: Sequence[Annotation], size: tuple[int, int]) -> None:
    """RequestError (422) when a mask is not one of a photo of `size` (H, W); pycocotools would read past its end."""
    for i, one in enumerate(objects):
        if tuple(one.rle.size) != size:
            height, width = size
            raise RequestError(
                422, f"the mask of object {i} is not of this photo of {width} × {height} pixels"
            )
        try:
            counts = run_lengths(one.rle.counts.encode())
        except ValueError as error:
            raise RequestError(422, f"the mask of object {i} is damaged: {error}") from error
        if (counts < 0).any() or counts.sum() != size[0] * size[1]:
            raise RequestError(422, f"the mask of object {i} is damaged: its runs do not fill the photo")


def save(path: Path, annotations: Annotations) -> None:
    """Write the file, or remove it when there are no objects. Raises InputError when that cannot be done."""
    if annotations.objects:
        annotations.save(path)
        return
    path.unlink(missing_ok=True)


def version(path: Path) -> str:
    """Which annotations the file holds: two files of one version are the same. "none" without a file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        return "none"


def read(path: Path, size: tuple[int, int] | None, photo: str = "") -> list[Annotation]:
    """The objects that a COCO file holds, which `save` or `pocketsam segment` wrote; none without a file.

    size: (H, W) of the photo; None where only the file says it. photo: the digest of the photo's file, if it matters.
    Raises RequestError (409) when the file is of another photo, or holds no annotations.
    """
    if not path.exists():
        return []
    try:
        document = json.loads(path.read_bytes())
        size = size or (document["images"][0]["height"], document["images"][0]["width"])
        names = {one["id"]: one["name"] for one in document["categories"]}
        objects = [_annotation(one, names) for one in document["annotations"]]
        check_run_lengths(objects, size)
    except (OSError, ValueError, LookupError, TypeError, ValidationError, RequestError) as error:
        raise RequestError(
            409, f"{path.name} exists, but does not hold annotations of this photo; move it elsewhere"
        ) from error
    if photo and any(one.get("photo", photo) != photo for one in document["annotations"]):
        raise RequestError(
            409,
            f"{path.name} holds the annotations of another photo with this name, or of this one before it was"
            " changed; move it elsewhere, or name another folder with -o",
        )
    return objects


def _annotation(entry: dict[str, Any], names: dict[int, str]) -> Annotation:
    return Annotation(
        rle=entry["segmentation"],
        name=names[entry["category_id"]],
        predicted_iou=entry.get("predicted_iou", 0.0),
        **entry.get("prompt", {}),
    )


def export(annotations: Annotations, suffix: str) -> tuple[str, bytes]:
    """The name and the content of the file in the format of a suffix; a ZIP file where the format makes several.

    Raises InputError when there is no such format, or it cannot hold the annotations.
    """
    format, suffix = format_of(f"masks{suffix}")
    if not annotations.objects:
        raise InputError("this photo has no annotations to export; make one first")
    stem = Path(annotations.file_name).stem
    contents = format.encode(annotations, suffix)
    if not format.a_file_each or len(annotations) == 1:
        return f"{stem}{_ending(format, suffix)}", next(contents)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # PNG does not shrink
        for i, content in enumerate(contents):
            file.writestr(f"{stem}.{i}{suffix}", content)
    return f"{stem}{suffix.rpartition('.')[0]}.zip", archive.getvalue()


def export_all(photos: Iterable[Annotations], suffix: str) -> tuple[str, bytes]:
    """The name and the content of one file for all photos; a ZIP file where the format has a file for each.

    Raises InputError when there is no such format, or it cannot hold the annotations of many photos.
    """
    format, suffix = format_of(f"masks{suffix}")
    if format.needs == "logits":
        raise InputError(f"{suffix} is for one photo; choose another format for all photos")
    with TemporaryDirectory() as name:
        folder = Path(name)
        if format.many == "files":
            for photo in photos:
                write_files(photo, folder / f"{Path(photo.file_name).stem}{_ending(format, suffix)}")
            files = [(file.name, file.read_bytes()) for file in sorted(folder.iterdir())]
            return f"annotations{suffix.rpartition('.')[0]}.zip", zipped(files)
        [file] = write_labels(photos, Classes(), folder / f"annotations{suffix}")
        return file.name, file.read_bytes()


def _ending(format: Format, suffix: str) -> str:
    """So that a download does not take the photo's own name."""
    return {".json": ".masks.json"}.get(suffix, f".overlay{suffix}" if format.name == "overlay" else suffix)

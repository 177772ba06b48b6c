"""COCO's layout, and LVIS's: one JSON with the masks of all photos, and the photos in a folder.

COCO: arXiv 1405.0312. LVIS v1: arXiv 1908.03195; its photos are COCO's, named by `coco_url`, and each image says
which categories it was searched for, which `CocoSet.truth` keeps.
"""

import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.sample import Dataset, Sample, read_photo
from pocketsam.errors import DataError
from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.formats.segmentation import to_rle
from pocketsam.utils.files import relative_path, write
from pocketsam.utils.rle import RLE, areas, boxes

KEYS = ("images", "annotations", "categories")
CROWD = "is a crowd, not one object"
"""Why such an annotation is left out, unlike others that are at fault."""


class CocoSet:
    """The photos of a COCO or LVIS JSON, in the order of their image ids.

    Args:
        annotations: the JSON.
        photos: the folder of the photos. If not given: beside the JSON, in `images/` there, or where COCO has it,
            such as `../val2017` for `annotations/instances_val2017.json`.

    path: the JSON. lvis: whether it is LVIS's. image_ids: the id of each sample's photo. names: the name of each
    sample. categories: as in the JSON.

    Raises:
        DataError: the JSON is not COCO's, or gives an id twice.
    """

    def __init__(self, annotations: str | Path, photos: str | Path | None = None) -> None:
        self.path = Path(annotations)
        self.photos = None if photos is None else Path(photos)
        if self.photos is not None and not self.photos.is_dir():
            raise DataError(f"{self.photos}: no such folder; give the one with the photos of {self.path}")
        document = _read(self.path)
        images = _by_id(document["images"], "image", self.path)
        self.image_ids = sorted(images)
        if not images:
            raise DataError(f"{self.path}: has no images")
        self.categories = list(_by_id(document["categories"], "category", self.path).values())
        self.lvis = any("neg_category_ids" in image for image in images.values())
        self._images = [images[id] for id in self.image_ids]
        self._files = [_file(image, self.path) for image in self._images]
        self.names = _names(self._files, self.image_ids)
        self._annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._strays = []
        for annotation in _by_id(document["annotations"], "annotation", self.path).values():
            image = annotation.get("image_id")
            if isinstance(image, int) and image in images:
                self._annotations[image].append(annotation)
            else:
                self._strays.append(
                    f"{self.path}: annotation {annotation['id']} is of image {image}, which is not in the file"
                )

    def __len__(self) -> int:
        return len(self.image_ids)

    def read(self, i: int) -> Sample:
        """Sample number i, decoded. Annotations of no photo at all are named in the `left_out` of sample 0.

        Raises DataError when its photo is missing, broken, or not of the size that the JSON says.
        """
        location, photo = f"{self.path}: {self.names[i]}", self._photo(i)
        rles, ids, categories = [], [], []
        left_out = [] if i else list(self._strays)
        for annotation in self._annotations.get(self.image_ids[i], []):
            if annotation.get("iscrowd"):
                left_out.append(f"{location}: annotation {annotation['id']} {CROWD}")
                continue
            try:
                rles.append(to_rle(annotation.get("segmentation"), *photo.shape[:2]))
            except ValueError as error:
                left_out.append(f"{location}: annotation {annotation['id']} {error}")
                continue
            ids.append(annotation["id"])
            categories.append(annotation.get("category_id", 0))
        return Sample(
            self.names[i],
            photo,
            rles,
            ids,
            location=location,
            left_out=tuple(left_out),
            categories=categories,
        )

    def mask_count(self, i: int) -> int:
        """See `Dataset.mask_count`; crowds do not count."""
        return sum(
            not annotation.get("iscrowd") for annotation in self._annotations.get(self.image_ids[i], [])
        )

    def faults(self) -> dict[int, str]:
        """Why annotations cannot teach what and where an object is, by their ids; no photo or mask is read.

        They are of a category that the file does not have, or their `bbox` has no area. Crowds are not objects.
        """
        known = {category["id"] for category in self.categories}
        found = {}
        for i, image in enumerate(self.image_ids):
            for annotation in self._annotations.get(image, []):
                why = "" if annotation.get("iscrowd") else _fault(annotation, known)
                if why:
                    location = f"{self.path}: {self.names[i]}: annotation {annotation['id']}"
                    found[annotation["id"]] = f"{location} {why}"
        return found

    def truth(self, photos: Sequence[int]) -> tuple[dict[str, Any], list[str]]:
        """The document of the photos numbered so, as COCO's and LVIS's evaluation count with it; no photo is read.

        Masks are compressed run lengths; `area`, `bbox` and `iscrowd` are the file's, or the mask's where they are
        missing. Crowds stay, as detections on them do not count.
        Also what had to be left out, a line each.
        """
        known = {category["id"] for category in self.categories}
        annotations, left_out = [], list(self._strays)
        for i in photos:
            image = self._images[i]
            for annotation in self._annotations.get(self.image_ids[i], []):
                try:
                    annotations.append(_true_annotation(annotation, image["height"], image["width"], known))
                except ValueError as error:
                    left_out.append(f"{self.path}: {self.names[i]}: annotation {annotation['id']} {error}")
        images = [self._images[i] for i in photos]
        document = {"images": images, "annotations": annotations, "categories": self.categories}
        return document, left_out

    def _photo(self, i: int) -> NDArray[np.uint8]:
        file, image = self._find(i), self._images[i]
        photo = read_photo(file)
        height, width = photo.shape[:2]
        if (height, width) != (image["height"], image["width"]):
            raise DataError(
                f"{file}: is {width} × {height} pixels, but {image['width']} × {image['height']} in {self.path}"
            )
        return photo

    def _find(self, i: int) -> Path:
        file = self._files[i]
        # LVIS's addresses have COCO's folder, which a folder of one split lacks.
        names = [file] if "file_name" in self._images[i] else [file, Path(file.name)]
        folders = self._folders() if self.photos is None else [self.photos]
        tried = [folder / name for folder in folders for name in names]
        for path in tried:
            if os.path.isfile(path):
                return path
        raise DataError(
            f"{self.path}: the photo {file} is missing; looked for {', '.join(map(str, tried))};"
            " give the folder of the photos"
        )

    def _folders(self) -> Iterator[Path]:
        """Where the photos may lie when nobody says where."""
        roots = [self.path.parent]
        if self.path.absolute().parent.name == "annotations":
            roots.append(self.path.absolute().parent.parent)
        split = self.path.stem.rpartition("_")[2]
        for root in roots:
            yield from (root, root / "images", root / split, root / "images" / split)


def write_coco(dataset: Dataset, folder: Path, photos: Iterable[int] | None = None) -> Path:
    """Write samples (all, or those numbered `photos`) as a COCO set of one category; the JSON's path.

    folder/images/NAME.png has the very pixels, folder/instances.json the masks; what a sample left out is listed in
    its `info`. Raises DataError when a sample cannot be read, InputError when nothing can be written.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    left_out: list[str] = []
    files: set[Path] = set()
    for i in range(len(dataset)) if photos is None else photos:
        sample = dataset.read(i)
        file = folder / "images" / _inside(f"{sample.name}.png", sample.location or sample.name)
        if file in files:
            raise DataError(
                f"{sample.location}: another photo is called {sample.name}, too; write them apart"
            )
        files.add(file)
        write(file, encode_image(sample.image, ".png"))
        height, width = sample.image.shape[:2]
        image = {"id": i + 1, "file_name": f"{sample.name}.png", "width": width, "height": height}
        images.append(image)
        left_out += sample.left_out
        for rle in sample.rles:
            # ids from 1: COCO's evaluation takes a match with annotation 0 for none
            ids = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": 1}
            annotations.append({**ids, **_measured(rle)})
    document = {
        "info": {"left_out": left_out},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }
    path = folder / "instances.json"
    write(path, json.dumps(document, ensure_ascii=False).encode())
    return path


def _read(path: Path) -> dict[str, Any]:
    document = _load(path)
    missing = [f"`{key}`" for key in KEYS if not isinstance(document.get(key), list)]
    if missing:
        raise DataError(f"{path}: is no COCO JSON, as it has no list {' and no list '.join(missing)}")
    for key in KEYS:
        if not all(isinstance(entry, dict) for entry in document[key]):
            raise DataError(f"{path}: is no COCO JSON, as `{key}` holds something else than objects")
    return document


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not whole, or no JSON ({error}); fetch it again") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: is no COCO JSON, which is an object with {', '.join(KEYS)}")
    return document


def _by_id(entries: list[dict[str, Any]], kind: str, path: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for index, entry in enumerate(entries):
        number = entry.get("id")
        if not isinstance(number, int):
            raise DataError(f"{path}: {kind} number {index} has no `id` that is an integer")
        if number in found:
            raise DataError(f"{path}: gives {kind} id {number} twice; ids must be unique")
        found[number] = entry
    return found


def _file(image: dict[str, Any], path: Path) -> Path:
    """The photo's path in the folder of photos: its `file_name` or, in LVIS, the folder and name of its address.

    Raises DataError where the image says neither this nor its size.
    """
    location = f"{path}: image {image['id']}"
    for side in ("width", "height"):
        if not isinstance(image.get(side), int) or image[side] < 1:
            raise DataError(f"{location} has no `{side}` in pixels")
    name = image.get("file_name", image.get("coco_url"))
    if not isinstance(name, str):
        raise DataError(f"{location} has neither `file_name` nor `coco_url`")
    return _inside(name if "file_name" in image else "/".join(name.split("/")[-2:]), location)


def _inside(name: str, location: str) -> Path:
    """`name` as a path within a folder, whichever system it was written on. Raises DataError if it leads out."""
    try:
        return Path(relative_path(name))
    except ValueError as error:
        raise DataError(f"{location}: {error}") from error


def _names(files: list[Path], ids: list[int]) -> list[str]:
    """The names of files without their endings; where these are not unique, with the image's id."""
    names = [file.with_suffix("").as_posix() for file in files]
    count = Counter(names)
    return [name if count[name] == 1 else f"{name}#{id}" for name, id in zip(names, ids, strict=True)]


def _true_annotation(
    annotation: dict[str, Any], height: int, width: int, categories: set[int]
) -> dict[str, Any]:
    """The annotation with a checked mask. Raises ValueError where evaluation cannot use it."""
    if stray := _stray_category(annotation, categories):
        raise ValueError(stray)
    found = _measured(to_rle(annotation.get("segmentation"), height, width))
    if not found["area"]:
        raise ValueError("has no pixels")
    given = {key: value for key, value in annotation.items() if value is not None}
    area = given.get("area")
    if not isinstance(area, int | float) or not 0 < area < math.inf:  # some converters write 0
        given["area"] = found["area"]
    return {**found, **given, "segmentation": found["segmentation"]}


def _stray_category(annotation: dict[str, Any], categories: set[int]) -> str:
    """What is wrong with an annotation's category, or ""."""
    category = annotation.get("category_id")
    known = isinstance(category, int) and category in categories
    return "" if known else f"is of category {category}, which is not in the file"


def _fault(annotation: dict[str, Any], categories: set[int]) -> str:
    """What is wrong with an annotation's category or box, or ""."""
    if stray := _stray_category(annotation, categories):
        return stray
    box = annotation.get("bbox")
    try:
        has_area = box is None or (len(box) == 4 and box[2] > 0 and box[3] > 0)
    except TypeError:
        has_area = False
    return "" if has_area else f"has the box {box}, which has no area"


def _measured(rle: RLE) -> dict[str, Any]:
    """What COCO's annotations say of a mask that is one object."""
    x0, y0, x1, y1 = boxes([rle])[0].tolist()
    area = int(areas([rle])[0])
    return {"segmentation": rle, "area": area, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}

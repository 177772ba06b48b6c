"""Do the annotation tools' own readers accept our label files? Run: python benchmarks/label_readers.py

    pip install . datumaro label-studio-sdk labelme supervision shapely pycocotools

Masks of two sample photos, one of them with a hole and an island, are written in every format of labels. Each file is
opened with programs that others wrote: Datumaro (CVAT's own library for datasets), pycocotools, LabelMe, Label
Studio's converter, supervision, Shapely. Prints what each found: objects, classes, and the lowest IoU of
a mask as that program fills it with the mask that was written. Polygons are filled by another rule in each program,
so their IoU is a little below 1.
"""

import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from shutil import copy
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pocketsam import Segmenter
from pocketsam.predict.formats import format_named
from pocketsam.predict.formats.labelled import Classes, LabelledObject, LabelledPhoto
from pocketsam.predict.formats.writing import write_labels
from pocketsam.utils.rle import decode, encode

SAMPLES = Path(__file__).parent.parent / "samples"
BOXES = {"sneakers.jpg": [(20, 130, 342, 371), (195, 0, 413, 193)], "cap.jpg": [(40, 60, 360, 460)]}
NAMES = {"sneakers.jpg": ["shoe", "shoe"], "cap.jpg": ["cap"]}

Mask = NDArray[np.bool_]
Found = Iterator[tuple[str, str, Mask]]
"""Of each object: its photo, without suffix, its class, its mask."""


class Reader(NamedTuple):
    """A program, the format of labels, the suffix to write (or None for a folder), and how the program reads it."""

    program: str
    format: str
    suffix: str | None
    read: Callable[[Path], Found]


def main() -> None:
    warnings.filterwarnings("ignore")
    photos = labelled_photos()
    table = Table("format", "read by", "objects", "classes", "lowest IoU")
    for reader in READERS:
        with tempfile.TemporaryDirectory() as folder:
            target = write(photos, reader, Path(folder))
            row = report(photos, reader.read(target))
            table.add_row(f"{reader.format} {reader.suffix or '(folder)'}", reader.program, *row)
    Console(width=120).print(table)


def labelled_photos() -> list[LabelledPhoto]:
    """The masks of the samples' boxes; the cap's gets a hole, and an island in a corner of the photo."""
    segmenter = Segmenter("pocket")
    photos = []
    for name, boxes in BOXES.items():
        masks = segmenter.open(SAMPLES / name).segment(boxes=boxes).binary
        if name == "cap.jpg":
            y, x = (int(i.mean()) for i in np.nonzero(masks[0]))
            masks[0, y - 20 : y + 20, x - 30 : x + 30] = False
            masks[0, 2:30, 2:40] = True
        objects = [
            LabelledObject(encode(mask), which) for mask, which in zip(masks, NAMES[name], strict=True)
        ]
        image = cv2.cvtColor(cv2.imread(str(SAMPLES / name)), cv2.COLOR_BGR2RGB)
        photos.append(LabelledPhoto(name, masks.shape[1:], tuple(objects), image=image))
    return photos


def write(photos: list[LabelledPhoto], reader: Reader, folder: Path) -> Path:
    """Where the labels are; the photos lie in each place in which one of the programs looks for them."""
    (folder / "annotations").mkdir()  # Datumaro's name for it
    target = folder / "annotations" / ("labels" if reader.suffix is None else f"labels{reader.suffix}")
    write_labels(photos, Classes(), target, None if reader.suffix else format_named(reader.format))
    for place in (folder / "images", target if target.is_dir() else target.parent / "images"):
        place.mkdir(exist_ok=True)
        for photo in photos:
            copy(SAMPLES / photo.file_name, place)
    return target


def report(photos: list[LabelledPhoto], found: Found) -> tuple[str, str, str]:
    """The columns of a row: objects found of those written, their classes, the lowest IoU."""
    left = [(Path(p.file_name).stem, one.name, decode(one.rle)) for p in photos for one in p.objects]
    total, classes, lowest, count = len(left), set(), 1.0, 0
    for stem, name, mask in found:
        overlaps = [iou(mask, truth) if stem == photo else 0.0 for photo, _, truth in left]
        best = int(np.argmax(overlaps))
        lowest, count = min(lowest, overlaps[best]), count + 1
        classes.add(name)
    return f"{count} of {total}", ", ".join(sorted(classes)), f"{lowest:.4f}"


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / max(1, (a | b).sum())) if a.shape == b.shape else 0.0


def by_datumaro(importer: str) -> Callable[[Path], Found]:
    """Masks of Datumaro's importer; an object's polygons and masks of one group are one mask."""

    def read(target: Path) -> Found:
        import datumaro

        source = target
        if target.suffix == ".zip":
            source = target.with_suffix("")
            zipfile.ZipFile(target).extractall(source)
        dataset = datumaro.Dataset.import_from(str(source), importer)
        labels = dataset.categories()[datumaro.AnnotationType.label]
        for item in dataset:
            stem = Path(item.id).stem
            size = photo_size(stem)
            parts: dict[tuple[int, int], Mask] = {}
            for number, one in enumerate(item.annotations):
                if one.type not in (datumaro.AnnotationType.mask, datumaro.AnnotationType.polygon):
                    continue
                is_mask = one.type == datumaro.AnnotationType.mask
                mask = one.image.astype(bool) if is_mask else filled([one.points], size)
                key = (one.group, one.label) if one.group else (-number - 1, one.label)
                parts[key] = parts.get(key, np.zeros(size, bool)) | mask
            for (_, label), mask in parts.items():
                yield stem, labels[label].name, mask

    return read


def photo_size(stem: str) -> tuple[int, int]:
    """(H, W) of a sample photo."""
    height, width = cv2.imread(str(SAMPLES / f"{stem}.jpg")).shape[:2]
    return height, width


def filled(polygons: list[Any], size: tuple[int, int]) -> Mask:
    """Polygons of (x, y), filled by pycocotools, as Datumaro and Detectron2 fill them."""
    from pycocotools import mask as coco

    rles = coco.frPyObjects([np.asarray(p, float).ravel().tolist() for p in polygons], *size)
    return coco.decode(coco.merge(rles)).astype(bool)


def by_pycocotools(target: Path) -> Found:
    from pycocotools.coco import COCO

    with redirect_stdout(StringIO()):
        coco = COCO(str(target))
    for one in coco.loadAnns(coco.getAnnIds()):
        stem = Path(coco.imgs[one["image_id"]]["file_name"]).stem
        yield stem, coco.cats[one["category_id"]]["name"], coco.annToMask(one).astype(bool)


def by_labelme(target: Path) -> Found:
    from labelme import LabelFile, utils

    for file in sorted(target.glob("*.json")):
        label = LabelFile(str(file))
        stem = file.name.partition(".")[0]
        size = photo_size(stem)
        groups: dict[Any, Mask] = {}
        for number, shape in enumerate(label.shapes):
            group = shape.get("group_id")
            key = shape["label"], -number - 1 if group is None else group
            mask = np.asarray(utils.shape_to_mask(size, shape["points"], shape["shape_type"]), bool)
            groups[key] = groups.get(key, np.zeros(size, bool)) | mask
        for (name, _), mask in groups.items():
            yield stem, name, mask


def by_label_studio(target: Path) -> Found:
    from label_studio_sdk.converter import brush

    for task in json.loads(target.read_text()):
        stem = Path(task["data"]["image"].rpartition("=")[2]).stem  # /data/local-files/?d=NAME
        for one in (task.get("annotations") or task["predictions"])[0]["result"]:
            height, width = one["original_height"], one["original_width"]
            rgba = brush.decode_rle(one["value"]["rle"]).reshape(height, width, 4)
            yield stem, one["value"]["brushlabels"][0], rgba[..., 3] > 127


def by_supervision(target: Path) -> Found:
    import supervision as sv

    labels, classes = next(target.rglob("labels")), next(target.rglob("data.yaml"))
    photos = target.parent.parent / "images"
    data = sv.DetectionDataset.from_yolo(str(photos), str(labels), str(classes), force_masks=True)
    for path, _, detections in data:
        for mask, label in zip(detections.mask, detections.class_id, strict=True):
            yield Path(path).stem, data.classes[label], mask.astype(bool)


def by_shapely(target: Path) -> Found:
    from shapely import contains_xy
    from shapely.geometry import shape

    for file in sorted(target.glob("*.geojson")):
        size = photo_size(file.stem)
        y, x = np.mgrid[: size[0], : size[1]] + 0.5
        for feature in json.loads(file.read_text())["features"]:
            yield file.stem, feature["properties"]["name"], contains_xy(shape(feature["geometry"]), x, y)


READERS = [
    Reader("pycocotools", "coco", ".json", by_pycocotools),
    Reader("pycocotools", "coco", ".polygons.json", by_pycocotools),
    Reader("Datumaro", "coco", ".json", by_datumaro("coco_instances")),
    Reader("Datumaro", "cvat", ".cvat.xml", by_datumaro("cvat")),
    Reader("Datumaro", "cvat", ".polygons.cvat.xml", by_datumaro("cvat")),
    Reader("Datumaro", "voc", ".voc.zip", by_datumaro("voc_instance_segmentation")),
    Reader("LabelMe", "labelme", None, by_labelme),
    Reader("Label Studio's SDK", "labelstudio", ".labelstudio.json", by_label_studio),
    Reader("supervision", "yolo", None, by_supervision),
    Reader("Shapely", "geojson", None, by_shapely),
]

if __name__ == "__main__":
    main()

"""CVAT for images 1.1 (https://docs.cvat.ai): an XML file with photos and their masks or polygons.

`.cvat.xml` has masks, which CVAT has known since version 2.3; `.polygons.cvat.xml` has a polygon for each part of a
mask, its holes joined to it by cuts of no width. The polygons of one mask share a group_id. Masks without pixels are
lost.
"""

from collections.abc import Callable, Iterable, Iterator
from xml.etree.ElementTree import Element, tostring

import numpy as np

from pocketsam.predict.filling import ellipse, fill, rectangle
from pocketsam.predict.formats.labelled import Classes, LabelledObject, LabelledPhoto, LabelSet, labelled
from pocketsam.predict.formats.photos import Photos
from pocketsam.predict.formats.result import Result
from pocketsam.predict.formats.xml import element, parse
from pocketsam.predict.outlines import parts_without_holes
from pocketsam.utils.rle import RLE, areas, decode_box, encode_at, union


def encode(result: Result, suffix: str) -> list[bytes]:
    """The CVAT file of a single photo."""
    return [b"".join(encode_all([result], suffix, Classes.of(result.names)))]


def encode_all(photos: Iterable[Result], suffix: str, classes: Classes) -> Iterator[bytes]:
    """A CVAT file in pieces. The classes come first, so that all photos are read before the first piece."""
    shapes = _polygons if suffix.startswith(".polygons") else _masks
    images = [_image(i, labelled(photo), shapes, classes) for i, photo in enumerate(photos)]
    task = element("task")
    task.append(element("size", text=str(len(images))))
    labels = element("labels")
    for category in classes:
        label = element("label")
        label.extend([element("name", text=category.name), element("attributes")])
        labels.append(label)
    task.append(labels)
    meta = element("meta")
    meta.append(task)
    yield b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    yield tostring(meta, "utf-8") + b"\n"
    yield from images
    yield b"</annotations>\n"


def _image(
    i: int, photo: LabelledPhoto, shapes: Callable[[LabelledObject], list[Element]], classes: Classes
) -> bytes:
    height, width = photo.size
    image = element("image", {"id": i, "name": photo.file_name, "width": width, "height": height})
    for one in photo.objects:
        classes.add(one.name)
        image.extend(shapes(one))
    return bytes(tostring(image, "utf-8")) + b"\n"


def _masks(one: LabelledObject) -> list[Element]:
    if not areas([one.rle])[0]:
        return []
    runs, (x0, y0, width, height) = runs_of(one.rle)
    box = {"left": x0, "top": y0, "width": width, "height": height}
    return [element("mask", {"label": one.name, **_common(one), "rle": ", ".join(map(str, runs)), **box})]


def runs_of(rle: RLE) -> tuple[list[int], tuple[int, int, int, int]]:
    """A mask as CVAT keeps it: the run lengths of its box, row by row, and the box as left, top, width, height."""
    mask, x0, y0 = decode_box(rle)
    height, width = mask.shape
    ends = np.flatnonzero(np.diff(mask.ravel().astype(np.int8), prepend=0))
    return np.diff(ends, prepend=0, append=mask.size).tolist(), (x0, y0, width, height)


def _polygons(one: LabelledObject) -> list[Element]:
    outlines = (
        ";".join(f"{x:g},{y:g}" for x, y in polygon.tolist()) for polygon in parts_without_holes(one.rle)
    )
    common = {"label": one.name, **_common(one), "group_id": one.id}
    return [element("polygon", {**common, "points": points}) for points in outlines]


def _common(one: LabelledObject) -> dict[str, object]:
    return {"source": "manual" if one.score is None else "auto", "occluded": 0, "z_order": 0}


def matches(root: Element) -> bool:
    """Whether an XML document is CVAT's."""
    return root.tag == "annotations"


def decode(content: bytes, name: str, photos: Photos) -> LabelSet:
    """The photos of a CVAT file: masks, polygons, boxes and ellipses; lines, points and tags are left out."""
    root = parse(content)
    classes = Classes(label.findtext("name", "") for label in root.iterfind("meta//labels/label"))
    images = root.findall("image")
    return LabelSet((_photo(image) for image in images), classes, len(images))


def _photo(image: Element) -> LabelledPhoto:
    size = int(image.attrib["height"]), int(image.attrib["width"])
    parts: dict[tuple[str, int, int], list[RLE]] = {}
    left_out = []
    for i, shape in enumerate(image):
        label, group = shape.get("label", ""), int(shape.get("group_id") or 0)
        try:
            parts.setdefault((label, group, 0 if group else i), []).append(_mask(shape, size))
        except ValueError as error:
            left_out.append(f"shape {i} {error}")
    objects = tuple(
        LabelledObject(union(masks), label, id=group or None)
        for (label, group, _), masks in parts.items()
        if masks
    )
    return LabelledPhoto(image.attrib["name"], size, objects, left_out=tuple(left_out))


def _mask(shape: Element, size: tuple[int, int]) -> RLE:
    given = shape.attrib
    if shape.tag == "mask":
        return _pasted(given, size)
    if shape.tag == "polygon":
        return fill([[point.split(",") for point in given["points"].split(";")]], size)
    if shape.tag == "box":
        if float(given.get("rotation", 0)):
            raise ValueError("is a box that is turned, which is not read")
        return fill([rectangle(*(float(given[side]) for side in ("xtl", "ytl", "xbr", "ybr")))], size)
    if shape.tag == "ellipse":
        numbers = (float(given.get(side, 0)) for side in ("cx", "cy", "rx", "ry", "rotation"))
        return fill([ellipse(*numbers)], size)
    raise ValueError(f"is a {shape.tag}, which is no area")


def _pasted(given: dict[str, str], size: tuple[int, int]) -> RLE:
    """A mask that is the run lengths of its box, row by row."""
    x0, y0, width, height = (int(given[side]) for side in ("left", "top", "width", "height"))
    runs = np.array(given["rle"].split(","), np.int64)
    if min(x0, y0, width, height, *runs) < 0 or y0 + height > size[0] or x0 + width > size[1]:
        raise ValueError("has a mask that lies outside its photo")
    if runs.max() > width * height or runs.sum() != width * height:
        raise ValueError("has a damaged mask: its run lengths do not fill its box")
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return encode_at(mask, x0, y0, *size)

"""SVG: the photo with the outline of each mask as a path, to be looked at in a browser and edited in Inkscape.

Coordinates are pixels. A path has all parts and holes of a mask (`fill-rule="evenodd"`); its class, score and number
are its attributes `data-name`, `data-score` and `data-id`.
"""

import re
from pathlib import PurePosixPath
from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element

from pocketsam.predict.drawing import PALETTE
from pocketsam.predict.filling import fill
from pocketsam.predict.formats.labelled import (
    Classes,
    LabelledObject,
    LabelledPhoto,
    LabelSet,
    file_in,
    labelled,
)
from pocketsam.predict.formats.photos import Photos
from pocketsam.predict.formats.result import DEFAULT_NAME, Result
from pocketsam.predict.formats.xml import element, parse, to_bytes
from pocketsam.predict.outlines import polygons_with_holes
from pocketsam.utils.rle import RLE

_XMLNS = "http://www.w3.org/2000/svg"
_TOKEN = re.compile(r"[A-Za-z]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def encode(result: Result, suffix: str) -> list[bytes]:
    """The picture of a photo, which refers to the photo by its name."""
    photo = labelled(result)
    height, width = photo.size
    sides = {"width": width, "height": height}
    root = element("svg", {"xmlns": _XMLNS, **sides, "viewBox": f"0 0 {width} {height}"})
    root.append(element("image", {"href": quote(PurePosixPath(photo.file_name).name), **sides}))
    root.extend(_path(i, one) for i, one in enumerate(photo.objects))
    return [to_bytes(root)]


def matches(root: Element) -> bool:
    """Whether an XML document is SVG."""
    return root.tag in ("svg", f"{{{_XMLNS}}}svg")


def decode(content: bytes, name: str, photos: Photos) -> LabelSet:
    """The photo of an SVG file: paths of straight lines, which have not been moved by a `transform`."""
    root = parse(content)
    for one in root.iter():
        one.tag = str(one.tag).rpartition("}")[2]
    image = root.find("image")
    file_name = photos.name(name)
    if image is not None:
        file_name = str(PurePosixPath(name).with_name(file_in(unquote(image.attrib["href"]))))
    _, _, width, height = (float(side) for side in root.attrib["viewBox"].split())
    size = round(height), round(width)
    objects, left_out = [], []
    for i, path in enumerate(root.iter("path")):
        try:
            objects.append(_object(path, size))
        except ValueError as error:
            left_out.append(f"path {i} {error}")
    return LabelSet([LabelledPhoto(file_name, size, tuple(objects), left_out=tuple(left_out))], Classes(), 1)


def _path(i: int, one: LabelledObject) -> Element:
    colour = "#{:02x}{:02x}{:02x}".format(*PALETTE[i % len(PALETTE)])
    style = {"fill": colour, "fill-opacity": 0.4, "stroke": colour, "fill-rule": "evenodd"}
    score = {} if one.score is None else {"data-score": one.score}
    path = element("path", {"d": _lines(one.rle), "data-id": one.id, "data-name": one.name, **score, **style})
    path.append(element("title", text=one.name))  # which browsers show under the pointer
    return path


def _lines(rle: RLE) -> str:
    rings = [ring for part in polygons_with_holes(rle) for ring in part]
    return " ".join("M" + " ".join(f"{x:g},{y:g}" for x, y in ring.tolist()) + "Z" for ring in rings)


def _object(path: Element, size: tuple[int, int]) -> LabelledObject:
    if path.get("transform"):
        raise ValueError("has a transform, which is not read; apply it to the path first")
    score, id = path.get("data-score"), path.get("data-id", "")
    return LabelledObject(
        fill(_rings(path.get("d", "")), size),
        path.get("data-name") or path.findtext("title") or DEFAULT_NAME,
        None if score is None else float(score),
        int(id) if id.isdecimal() else None,
    )


def _rings(d: str) -> list[list[tuple[float, float]]]:
    """The outlines of a path's data, which may have the commands M, L, H, V and Z, and small letters."""
    tokens = _TOKEN.findall(d)[::-1]
    rings: list[list[tuple[float, float]]] = []
    command, x, y = "", 0.0, 0.0
    while tokens:
        if tokens[-1].isalpha():
            command = tokens.pop()
        if command in ("Z", "z"):
            x, y = rings[-1][0]
            command = ""
            continue
        if command not in ("M", "m", "L", "l", "H", "h", "V", "v"):
            raise ValueError(
                f"has the command {command or tokens[-1]!r} in its outline, which is no straight line"
            )
        origin = (x, y) if command.islower() else (0.0, 0.0)
        if command not in ("V", "v"):
            x = origin[0] + float(tokens.pop())
        if command not in ("H", "h"):
            y = origin[1] + float(tokens.pop())
        if command in ("M", "m"):
            rings.append([])
            command = "L" if command == "M" else "l"
        rings[-1].append((x, y))
    return rings

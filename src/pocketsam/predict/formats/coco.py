"""COCO (Lin et al. 2014, arXiv:1405.0312): a JSON file with the photos, the masks as run lengths, and the classes."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pocketsam.predict.formats.result import Result
from pocketsam.utils.rle import areas, boxes

DEFAULT_NAME = "object"
"""The class of a mask that nobody named."""


def encode(result: Result, suffix: str) -> list[bytes]:
    """The COCO file of a single photo."""
    names = class_names(result.names)
    annotations = ((1, one) for one in coco_annotations(result, names))
    return [b"".join(coco_file([coco_image(1, result.file_name, result.size)], annotations, names))]


def class_names(names: Iterable[str]) -> list[str]:
    """The classes among the names of masks, each once, in alphabetical order: class i + 1 of the file is number i."""
    return sorted(set(names)) or [DEFAULT_NAME]


def coco_annotations(result: Result, names: Sequence[str]) -> list[dict[str, Any]]:
    """An annotation for each of N masks, but for the `id` and `image_id` that whoever writes the file gives them.

    names: the classes of the file, which the category ids count from 1 on.
    """
    numbers = {name: i for i, name in enumerate(names, 1)}
    columns = (
        result.rle,
        result.names,
        areas(result.rle),
        boxes(result.rle),
        result.predicted_iou,
        result.empty,
    )
    return [
        {
            "category_id": numbers[name],
            "segmentation": rle,
            "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
            "area": int(area),
            "iscrowd": 0,
            "predicted_iou": round(float(iou), 4),
            "empty": bool(empty),
            **more,
        }
        for rle, name, area, (x0, y0, x1, y1), iou, empty, more in zip(
            *columns, result.details(), strict=True
        )
    ]


def coco_file(
    images: Iterable[dict[str, Any]],
    annotations: Iterable[tuple[int, dict[str, Any]]],
    names: Sequence[str] = (DEFAULT_NAME,),
) -> Iterator[bytes]:
    """A COCO file in pieces, so that the masks of many photos need not fit into memory.

    images: `coco_image` of each. annotations: each with the id of its image; they are numbered from 1 on.
    names: the classes.
    """
    numbered = ({"id": i, "image_id": image, **one} for i, (image, one) in enumerate(annotations, 1))
    yield b'{"images": ['
    yield from _separated(images)
    yield b'], "annotations": ['
    yield from _separated(numbered)
    yield b'], "categories": ' + _json(categories(names)) + b"}"


def categories(names: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of the classes, numbered from 1 on."""
    return [{"id": i, "name": name} for i, name in enumerate(names, 1)]


def coco_image(id: int, file_name: str, size: tuple[int, int]) -> dict[str, Any]:
    """The entry of a photo of `size` (H, W)."""
    return {"id": id, "file_name": file_name, "width": size[1], "height": size[0]}


def _separated(values: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for i, value in enumerate(values):
        yield (b", " if i else b"") + _json(value)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()

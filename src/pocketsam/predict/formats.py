"""Files that hold the masks of a photo: COCO, label maps, overlays. All are made from run lengths, mask by mask."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pocketsam.errors import InputError
from pocketsam.utils.files import write
from pocketsam.utils.rle import RLE, areas, boxes, decode_box

CATEGORIES = [{"id": 1, "name": "object"}]
MOST_LABELS = np.iinfo(np.uint16).max

T = TypeVar("T")


class HasOverlay(Protocol):
    """What can be drawn on its photo, uint8 (H, W, 3)."""

    def overlay(self) -> NDArray[np.uint8]: ...


def ending(path: str | Path, endings: Iterable[str]) -> str:
    """The first of `endings` that `path` ends in. Raises InputError when there is none."""
    for suffix in endings:
        if Path(path).name.lower().endswith(suffix):
            return suffix
    raise InputError(f"{path}: the ending says what to write; use one of {' '.join(endings)}")


def save(result: T, path: str | Path, encoders: Mapping[str, Callable[[T], list[bytes]]]) -> list[Path]:
    """Write `result` to `path` by the encoder of its ending, and return the paths written.

    An encoder that makes not one file but several gives NAME.0.ending, NAME.1.ending and so on. Each is written whole
    or not at all. Raises InputError for other endings and unwritable paths.
    """
    path, suffix = Path(path), ending(path, encoders)
    files = encoders[suffix](result)
    stem, suffix = path.name[: -len(suffix)], path.name[-len(suffix) :]
    paths = [path]
    if len(files) != 1:
        paths = [path.with_name(f"{stem}.{i}{suffix}") for i in range(len(files))]
    for file, content in zip(paths, files, strict=True):
        write(file, content)
    return paths


def coco_annotations(
    rles: Sequence[RLE], predicted_iou: ArrayLike, more: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """An annotation for each of N masks, but for the `id` and `image_id` that whoever writes the file gives them.

    more: for each mask, what is known of it beside its predicted IoU.
    """
    fields = zip(rles, areas(rles), boxes(rles), np.asarray(predicted_iou), more, strict=True)
    return [
        {
            "category_id": CATEGORIES[0]["id"],
            "segmentation": rle,
            "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
            "area": int(area),
            "iscrowd": 0,
            "predicted_iou": round(float(iou), 4),
            **others,
        }
        for rle, area, (x0, y0, x1, y1), iou, others in fields
    ]


def coco_file(
    images: Iterable[dict[str, Any]], annotations: Iterable[tuple[int, dict[str, Any]]]
) -> Iterator[bytes]:
    """A COCO file in pieces, so that the masks of many photos need not fit into memory.

    images: `coco_image` of each. annotations: each with the id of its image; they are numbered from 1 on.
    """
    numbered = ({"id": i, "image_id": image, **one} for i, (image, one) in enumerate(annotations, 1))
    yield b'{"images": ['
    yield from _separated(images)
    yield b'], "annotations": ['
    yield from _separated(numbered)
    yield b'], "categories": ' + _json(CATEGORIES) + b"}"


def coco_image(id: int, file_name: str, size: tuple[int, int]) -> dict[str, Any]:
    """The entry of a photo of `size` (H, W)."""
    return {"id": id, "file_name": file_name, "width": size[1], "height": size[0]}


def _separated(values: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for i, value in enumerate(values):
        yield (b", " if i else b"") + _json(value)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def coco_of_one(file_name: str, size: tuple[int, int], annotations: Iterable[dict[str, Any]]) -> bytes:
    """The COCO file of a single photo of `size` (H, W)."""
    return b"".join(coco_file([coco_image(1, file_name, size)], ((1, one) for one in annotations)))


def label_map(rles: Sequence[RLE], size: tuple[int, int]) -> bytes:
    """A 16-bit PNG of `size` (H, W): 0 is background, i + 1 is mask i, small masks above large ones."""
    if len(rles) > MOST_LABELS:
        raise InputError(f"a label map holds {MOST_LABELS} masks, but there are {len(rles)}; choose .json")
    labels = np.zeros(size, np.uint16)
    for i in np.argsort(-areas(rles), kind="stable"):
        mask, x0, y0 = decode_box(rles[i])
        labels[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]][mask] = i + 1
    return encode_image(labels, "PNG")


def photo_of(image: NDArray[np.uint8] | None, file_name: str) -> NDArray[np.uint8]:
    """The photo that masks were found in. Raises InputError when they carry none."""
    if image is None:
        raise InputError(
            f"{file_name}: these masks carry no photo; open the photo itself, with its embedding if you like"
        )
    return image


# A photo shrinks little further above PNG level 2, for three times the time. JPEG keeps full resolution of
# colours, as thin outlines would smear.
_OPTIONS: dict[str, dict[str, int]] = {
    "PNG": {"compress_level": 2},
    "JPEG": {"quality": 92, "subsampling": 0},
    "WEBP": {"quality": 90},
}


def encode_image(pixels: NDArray[Any], format: str) -> bytes:
    """The bytes of an image file: PNG, JPEG or WEBP. Raises InputError when the photo is too large for it."""
    file = BytesIO()
    try:
        Image.fromarray(pixels).save(file, format, **_OPTIONS[format])
    except (OSError, ValueError) as error:  # JPEG and WebP have a largest side
        raise InputError(f"a {format} cannot hold this photo ({error}); choose .png") from error
    return file.getvalue()


def _overlay(format: str) -> Callable[[HasOverlay], list[bytes]]:
    return lambda result: [encode_image(result.overlay(), format)]


OVERLAYS = {
    ".png": _overlay("PNG"),
    ".jpg": _overlay("JPEG"),
    ".jpeg": _overlay("JPEG"),
    ".webp": _overlay("WEBP"),
}
"""How to write an overlay, by the ending."""

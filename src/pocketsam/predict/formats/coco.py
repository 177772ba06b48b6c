"""COCO (Lin et al. 2014, arXiv:1405.0312): a JSON file with photos, their masks, and the classes.

`.json` has masks as run lengths, `.polygons.json` as polygons: one for each part, its holes joined to it by cuts of
no width, which COCO's own reader (pycocotools) turns into the same mask. What else COCO says of a photo, an
annotation or a class is kept when a file is read, and written again. SA-1B's files, of one photo each, are read, too.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pocketsam.predict.formats.labelled import (
    Classes,
    LabelledObject,
    LabelledPhoto,
    LabelSet,
    Numbers,
    labelled,
)
from pocketsam.predict.formats.photos import Photos
from pocketsam.predict.formats.result import DEFAULT_NAME, Result
from pocketsam.predict.formats.segmentation import to_rle
from pocketsam.predict.outlines import parts_without_holes
from pocketsam.utils.rle import RLE, areas, boxes, encode_empty

_OURS = {"id", "image_id", "category_id", "segmentation", "bbox", "area", "predicted_iou", "score"}
"""What an annotation says that a `LabelledObject` has fields for, or that follows from its mask."""


def encode(result: Result, suffix: str) -> list[bytes]:
    """The COCO file of a single photo."""
    return [b"".join(encode_all([result], suffix, Classes.of(result.names)))]


def encode_all(photos: Iterable[Result], suffix: str, classes: Classes) -> Iterator[bytes]:
    """A COCO file in pieces, so that the masks of many photos need not fit into memory.

    Photos and annotations keep the ids that they have, as long as each occurs once, and no annotation has 0.
    """
    photo_ids, ids, images = Numbers(least=0), Numbers(), []  # COCO's evaluation takes annotation 0 for none
    separator = b""
    yield b'{"annotations": ['
    for photo in map(labelled, photos):
        images.append({**photo.extra, **coco_image(photo_ids.take(photo.id), photo.file_name, photo.size)})
        numbers = {name: classes.add(name).id for name in photo.names}
        for one, annotation in zip(
            photo.objects, annotations(photo, numbers, suffix == ".polygons.json"), strict=True
        ):
            yield separator + _json({"id": ids.take(one.id), "image_id": images[-1]["id"], **annotation})
            separator = b", "
    categories = [{**one.extra, "id": one.id, "name": one.name} for one in classes]
    yield b'], "images": ' + _json(images) + b', "categories": ' + _json(categories) + b"}"


def annotations(
    photo: LabelledPhoto, numbers: Mapping[str, int], as_polygons: bool = False
) -> list[dict[str, Any]]:
    """An annotation for each of N masks, but for the `id` and `image_id` that whoever writes the file gives them.

    numbers: the category id of each class name.
    """
    columns = zip(photo.objects, areas(photo.rle), boxes(photo.rle), strict=True)
    return [
        {
            "category_id": numbers[one.name],
            "segmentation": _polygons(one.rle) if as_polygons else one.rle,
            "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
            "area": int(area),
            "iscrowd": 0,
            **({} if one.score is None else {"predicted_iou": one.score}),
            **one.extra,
        }
        for one, area, (x0, y0, x1, y1) in columns
    ]


def coco_image(id: int, file_name: str, size: tuple[int, int]) -> dict[str, Any]:
    """The entry of a photo of `size` (H, W)."""
    return {"id": id, "file_name": file_name, "width": size[1], "height": size[0]}


def matches(document: Any) -> bool:
    """Whether a JSON document is COCO's or SA-1B's."""
    return (
        isinstance(document, dict) and "annotations" in document and bool({"image", "images"} & {*document})
    )


def decode(content: bytes, name: str, photos: Photos) -> LabelSet:
    """The photos of a COCO file, in its order. Crowds keep their `iscrowd`."""
    document = json.loads(content)
    classes, names = Classes(), {}
    for category in document.get("categories", []):
        extra = {key: value for key, value in category.items() if key not in ("id", "name")}
        names[category["id"]] = classes.add(str(category["name"]), category["id"], extra).name
    images = document["images"] if "images" in document else [document["image"]]
    of_image: dict[Any, list[dict[str, Any]]] = {_image_id(image): [] for image in images}
    first = _image_id(images[0]) if images else None
    for annotation in document["annotations"]:
        image = annotation.get("image_id", first)
        if image not in of_image:
            raise ValueError(
                f"annotation {annotation.get('id')} is of image {image}, which is not in the file"
            )
        of_image[image].append(annotation)
    read = (_photo(image, of_image.pop(_image_id(image)), names) for image in images)
    return LabelSet(read, classes, len(images))


def object_of(
    annotation: Mapping[str, Any], names: Callable[[Any], str], size: tuple[int, int]
) -> LabelledObject:
    """The object of an annotation. Raises ValueError, which says why, where its mask cannot be read."""
    score = annotation.get("predicted_iou", annotation.get("score"))
    extra = {key: value for key, value in annotation.items() if key not in _OURS}
    if not extra.get("iscrowd"):
        extra.pop("iscrowd", None)
    number = annotation.get("id")
    return LabelledObject(
        _mask(annotation, size),
        names(annotation.get("category_id")),
        None if score is None else float(score),
        number if isinstance(number, int) else None,
        extra,
    )


def _photo(
    image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]], names: Mapping[Any, str]
) -> LabelledPhoto:
    size = int(image["height"]), int(image["width"])
    file_name = str(
        image["file_name"] if "file_name" in image else "/".join(image["coco_url"].split("/")[-2:])
    )
    objects, left_out = [], []
    for annotation in annotations:
        try:
            objects.append(object_of(annotation, lambda number: _name(number, names), size))
        except ValueError as error:
            left_out.append(f"annotation {annotation.get('id')} {error}")
    known = ("id", "image_id", "file_name", "width", "height")
    extra = {key: value for key, value in image.items() if key not in known}
    number = _image_id(image)
    id = number if isinstance(number, int) else None
    return LabelledPhoto(file_name, size, tuple(objects), None, id, extra, tuple(left_out))


def _image_id(image: Mapping[str, Any]) -> Any:
    return image["id"] if "id" in image else image["image_id"]  # SA-1B's


def _name(number: Any, names: Mapping[Any, str]) -> str:
    if number is None:
        return DEFAULT_NAME
    if number not in names:
        raise ValueError(f"is of category {number}, which is not in the file")
    return names[number]


def _mask(annotation: Mapping[str, Any], size: tuple[int, int]) -> RLE:
    segmentation = annotation.get("segmentation")
    if segmentation == [] and not annotation.get("area"):
        return encode_empty(size)
    return to_rle(segmentation, *size)


def _polygons(rle: RLE) -> list[list[float]]:
    return [polygon.ravel().tolist() for polygon in parts_without_holes(rle)]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()

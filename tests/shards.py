"""Tiny shards for tests, drawn rather than photographed: flat grey shapes, and the masks that are these."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco

STEP = 50  # object k is painted in the grey 50 (k + 1), far enough apart to survive JPEG


def blocks(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (40, 60)) -> np.ndarray:
    """Masks (K, H, W) bool, each a filled box x0, y0, x1, y1; one without area is a mask without pixels."""
    masks = np.zeros((len(boxes), *size), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def paint(masks: np.ndarray) -> np.ndarray:
    """The photo (H, W, 3) uint8 whose objects are `masks`, black elsewhere."""
    image = np.zeros(masks.shape[1:], np.uint8)
    for index, mask in enumerate(masks):
        image[mask] = STEP * (index + 1)
    return np.repeat(image[..., None], 3, axis=-1)


def jpeg(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def annotation_file(name: str, masks: np.ndarray, source: str) -> bytes:
    height, width = masks.shape[1:]
    annotations = []
    for index, mask in enumerate(masks):
        rle = coco.encode(np.asfortranarray(mask, np.uint8))
        counts = rle["counts"].decode()
        annotations.append({"id": index, "segmentation": {"size": [height, width], "counts": counts}})
    image = {"image_id": 0, "width": width, "height": height, "file_name": f"{name}.jpg", "source": source}
    return json.dumps({"image": image, "annotations": annotations}).encode()


def write_tar(path: Path, files: Sequence[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as shard:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    return path


def write_shard(path: Path, photos: dict[str, np.ndarray], source: str = "drawn") -> Path:
    """A shard with one drawn photo for each name and its masks (K, H, W)."""
    files = []
    for name, masks in photos.items():
        files += [(f"{name}.jpg", jpeg(paint(masks))), (f"{name}.json", annotation_file(name, masks, source))]
    return write_tar(path, files)

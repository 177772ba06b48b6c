"""What the tests of heads share: tiny sets of photos whose colours tell everything, and recipes."""

import json
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric
from PIL import Image

from pocketsam.training.config import Recipe
from pocketsam.training.recipe import parse_recipe
from pocketsam.utils.rle import encode
from shards import jpeg, write_tar

COLOURS = {"blue": (40, 40, 220), "green": (40, 200, 40), "red": (220, 40, 40)}


def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1, precision="32-true")


def recipe(folder: Path, method: str, out: str = "run", **changes: object) -> Recipe:
    values: dict[str, object] = {
        "method": method,
        "model": "patches",
        "licence": "CC0-1.0",
        "image_size": 64,
        "out": str(folder / out),
        "steps": 4,
        "batch": 4,
        "warmup": 0,
        "ema": 0.5,
        "workers": 0,
        "precision": "32-true",
        "checkpoint_every": 100,
        "augmentation": {"colour": 0},
    }
    return parse_recipe({name: value for name, value in (values | changes).items() if value is not None})


def class_tar(folder: Path) -> Path:
    """Four photos of each of three classes, which are colours with some noise."""
    rng = np.random.default_rng(0)
    files = []
    for name, colour in COLOURS.items():
        for i in range(4):
            image = np.clip(np.array(colour) + rng.normal(0, 20, (48, 64, 3)), 0, 255).astype(np.uint8)
            files.append((f"{name}/{i}.jpg", jpeg(image)))
    return write_tar(folder / "classes.tar", files)


def coco_set(folder: Path, photos: int = 6, **changes: object) -> Path:
    """A COCO JSON of photos with one or two coloured boxes each, on grey; changes: to the first annotation."""
    rng = np.random.default_rng(1)
    categories = [{"id": 10 * (i + 1), "name": name} for i, name in enumerate(COLOURS)]
    images, annotations = [], []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(photos):
        image = rng.normal(110, 8, (64, 64, 3))
        for k in range(1 + number % 2):
            name = list(COLOURS)[(number + k) % 3]
            x, y = 4 + 32 * k, 4 * int(rng.integers(1, 9))  # where cells at stride 4 begin
            w, h = (4 * int(side) for side in rng.integers(4, 7, 2))
            image[y : y + h, x : x + w] = np.array(COLOURS[name]) + rng.normal(0, 8, (h, w, 3))
            mask = np.zeros((64, 64), bool)
            mask[y : y + h, x : x + w] = True
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 10 * (1 + list(COLOURS).index(name)),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "segmentation": encode(mask),
                }
            )
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
    annotations[0] |= changes
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path

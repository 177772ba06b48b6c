"""What the tests of heads share: tiny sets of photos whose colours tell everything, and recipes."""

from pathlib import Path

import numpy as np
from lightning_fabric import Fabric

from pocketsam.training.config import Recipe
from pocketsam.training.recipe import parse_recipe
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
        "augmentation": {"paste": 0, "colour": 0},
    }
    return parse_recipe(values | changes)


def class_tar(folder: Path) -> Path:
    """Four photos of each of three classes, which are colours with some noise."""
    rng = np.random.default_rng(0)
    files = []
    for name, colour in COLOURS.items():
        for i in range(4):
            image = np.clip(np.array(colour) + rng.normal(0, 20, (48, 64, 3)), 0, 255).astype(np.uint8)
            files.append((f"{name}/{i}.jpg", jpeg(image)))
    return write_tar(folder / "classes.tar", files)

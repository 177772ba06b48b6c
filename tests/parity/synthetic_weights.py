"""Deterministic weights and images behind the golden outputs in this folder.

The published checkpoints of SAM, MobileSAM, TinySAM and EfficientSAM are too large to keep here, so
parity is proven on weights that anyone can regenerate: every tensor of a state dict is drawn from
its own name. A model loaded with `state_dict(manifest)` must give the numbers in the `.npz` of the
same name (see README.md).
"""

import json
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


def tensor(name: str, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """The synthetic tensor called `name`. RandomState is used because numpy froze its stream."""
    if dtype.startswith("int"):
        return np.zeros(shape, dtype)
    draw = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype("float32")
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        return 1 + 0.1 * np.abs(draw)
    if last == "positional_encoding_gaussian_matrix" or (
        "_embed" in name and len(shape) == 2 and shape[0] == 1
    ):
        return draw
    if len(shape) >= 2 and last not in ("pos_embed", "rel_pos_h", "rel_pos_w", "attention_biases"):
        return draw / np.float32(np.sqrt(np.prod(shape[1:])))
    if last == "weight":  # the scale of a normalisation layer
        return 1 + 0.1 * draw
    return 0.05 * draw


def state_dict(manifest_path: str) -> dict[str, np.ndarray]:
    """All tensors that `manifest_path` (JSON: name -> [shape, dtype]) lists."""
    with open(manifest_path) as f:
        manifest = json.load(f)
    return {name: tensor(name, tuple(shape), dtype) for name, (shape, dtype) in manifest.items()}


def image(height: int, width: int) -> np.ndarray:
    """A smooth uint8 RGB test image of shape (height, width, 3) with a few hard-edged objects."""
    y, x = np.mgrid[0:height, 0:width].astype("float64")
    u, v = x / width, y / height
    rgb = np.stack([0.5 + 0.4 * np.sin(7 * u + 3 * v), 0.5 + 0.4 * np.cos(5 * v - 2 * u), u * v + 0.2], -1)
    rgb[(u - 0.3) ** 2 + (v - 0.4) ** 2 < 0.02] = (0.9, 0.1, 0.1)
    rgb[(abs(u - 0.7) < 0.12) & (abs(v - 0.6) < 0.2)] = (0.1, 0.2, 0.9)
    rgb[(u + v > 1.55) & (u + v < 1.7)] = (0.1, 0.8, 0.3)
    return np.clip(np.floor(rgb * 255 + 0.5), 0, 255).astype("uint8")


def unit_input(size: int) -> np.ndarray:
    """A float32 array (1, 3, size, size), roughly standard normal: an encoder's input."""
    return np.random.RandomState(20).standard_normal((1, 3, size, size)).astype("float32")

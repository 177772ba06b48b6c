"""Drawn scenes: overlapping coloured shapes on a coloured ground, for teaching the decoder geometry.

What a box or a click means needs no photo. A scene costs a fraction of a millisecond, and its masks are exact.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.training.samples.augment import Target, make_target

SHAPES = (4, 11)
"""Fewest and most shapes of a scene."""


def draw_scene(size: int, objects: int, rng: np.random.Generator) -> Target:
    """A scene of `size` x `size` pixels and `objects` masks of its visible shapes (and of unions of two)."""
    ids = np.zeros((size, size), np.uint8)
    count = int(rng.integers(*SHAPES, endpoint=True))
    for i in range(1, count + 1):
        cv2.fillPoly(ids, [_outline(size, rng)], i)
    colours = rng.uniform(0, 255, (count + 1, 3)).astype(np.float32)
    image = colours[ids] + _shade(size, rng)[..., None]
    image += rng.normal(0, rng.uniform(0, 14), image.shape).astype(np.float32)
    a, b = rng.integers(1, count + 1, 2)
    shapes = [ids == i for i in range(count + 1)]
    masks = np.stack([*shapes, shapes[a] | shapes[b]]).astype(np.uint8)
    target = make_target(np.clip(image, 0, 255).astype(np.uint8), masks, objects, rng)
    assert target is not None, "the ground, or a shape that hides it, is always large enough"
    return target


def _outline(size: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """A closed curve: few corners make a polygon, many a blob, equal radii an ellipse."""
    corners = int(rng.choice([3, 4, 5, 7, 24]))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if corners < 24 else np.linspace(0, 2 * np.pi, 24)
    wobble = rng.uniform(0, 0.5)
    radii = 1 + wobble * np.sin(angles * rng.integers(1, 5) + rng.uniform(0, 6.3))
    scale = size * np.exp(rng.uniform(np.log(0.04), np.log(0.45), 2))
    turn = rng.uniform(0, np.pi)
    x, y = radii * np.cos(angles) * scale[0], radii * np.sin(angles) * scale[1]
    centre = rng.uniform(0, size, 2)
    turned = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], -1)
    return np.round(turned + centre).astype(np.int32)


def _shade(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A soft light across the scene: a coarse random map, enlarged."""
    coarse = rng.normal(0, rng.uniform(0, 30), (3, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)

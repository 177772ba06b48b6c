"""Prompts as the protocols make them: boxes and clicks from ground-truth masks, and random points of an image."""

import numpy as np
from numpy.typing import NDArray

from pocketsam.config import BACKGROUND, FOREGROUND
from pocketsam.predict.regions import deepest_pixel

TRIES = 200
"""How many pairs of points are sampled for a mask before it is taken to have none."""


def sample_clicks(
    mask: NDArray[np.bool_], count: int, seed: int, name: str, number: int
) -> NDArray[np.int64]:
    """`count` independent uniform samples of the pixels of a mask (H, W) that has some: (count, 2) x, y.

    The generator is seeded by (seed, the mask's number, the image's name), so that a mask gets the same clicks
    whatever is measured before it. Pixel indices: the model adds the half pixel to a pixel's centre itself.
    """
    rows, columns = np.nonzero(mask)
    unsigned = number % 2**64  # some datasets' ids are negative
    generator = np.random.default_rng([seed, unsigned, *name.encode()])
    chosen = generator.integers(len(rows), size=count)
    return np.stack([columns[chosen], rows[chosen]], axis=-1)


def corrective_click(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, int, int] | None:
    """x, y and label of the click that corrects a predicted mask (H, W) most; None if it equals the truth (H, W).

    It is on the deepest pixel of what the mask lacks (label 1) or of what it has too much (label 0), whichever lies
    deeper; of equals, on what it lacks. So do the evaluations of interactive segmentation (RITM, arXiv 2102.06583).
    """
    x, y, lacking = deepest_pixel(truth & ~predicted)
    beyond_x, beyond_y, beyond = deepest_pixel(predicted & ~truth)
    if not lacking and not beyond:
        return None
    return (x, y, FOREGROUND) if lacking >= beyond else (beyond_x, beyond_y, BACKGROUND)


def sample_points(size: tuple[int, int], count: int, seed: int, name: str) -> NDArray[np.float64]:
    """`count` independent uniform samples of an image of `size` (height, width): (count, 2) x, y.

    They lie between the centres of its outermost pixels, not on whole ones: 0 to width - 1, and 0 to height - 1. The
    generator is seeded by (seed, the image's name).
    """
    height, width = size
    generator = np.random.default_rng([seed, 0, *name.encode()])
    return generator.uniform(0, (width - 1, height - 1), (count, 2))


def sample_pair(size: tuple[int, int], distance: int, seed: int, name: str) -> NDArray[np.float64] | None:
    """Two points of an image of `size` (height, width), `distance` > 0 pixels apart: (2, 2) x, y. None if none fit.

    The direction from the first to the second is sampled uniformly among those in which the image is large enough,
    then the first point among the pixels that leave room for the second. The range is that of `sample_points`; the
    generator is seeded by (seed, the distance, the image's name), so that other distances change nothing.
    """
    height, width = size
    room = np.array([width - 1, height - 1])
    if distance > np.hypot(*room):
        return None
    # Angles between the line and the x axis: below the least it is too wide for the image, above the most too high.
    least, most = np.arccos(min(1, room[0] / distance)), np.arcsin(min(1, room[1] / distance))
    generator = np.random.default_rng([seed, distance, *name.encode()])
    angle, signs = generator.uniform(least, max(least, most)), generator.choice([-1, 1], 2)
    # Rounding must not push the longest lines out of the image.
    step = signs * np.minimum(distance * np.array([np.cos(angle), np.sin(angle)]), room)
    first = generator.uniform(np.maximum(0, -step), np.minimum(room, room - step))
    return np.stack([first, first + step])


def sample_pair_of_mask(
    mask: NDArray[np.bool_], distance: int, seed: int, name: str, number: int
) -> NDArray[np.float64] | None:
    """A pixel of a mask (H, W) and one outside it, `distance` > 0 pixels apart: (2, 2) x, y. None if none is found.

    Pixels of the mask and directions are sampled uniformly until the second point lies in the image and not on the
    mask, at most TRIES times. The generator is seeded as that of `sample_clicks`, and by the distance.
    """
    rows, columns = np.nonzero(mask)
    generator = np.random.default_rng([seed, distance, number % 2**64, *name.encode()])
    chosen = generator.integers(len(rows), size=TRIES)
    angles = generator.uniform(0, 2 * np.pi, TRIES)
    first = np.stack([columns[chosen], rows[chosen]], axis=-1)
    second = np.rint(first + distance * np.stack([np.cos(angles), np.sin(angles)], axis=-1)).astype(int)
    inside = ((second >= 0) & (second < mask.shape[::-1])).all(axis=1)
    inside[inside] = ~mask[second[inside, 1], second[inside, 0]]
    found = np.flatnonzero(inside)
    return np.stack([first[found[0]], second[found[0]]]).astype(np.float64) if found.size else None


def click_name(count: int) -> str:
    """What a score after so many clicks is called."""
    return "1 click" if count == 1 else f"{count} clicks"

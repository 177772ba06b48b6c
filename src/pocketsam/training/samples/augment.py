"""One training sample: a photo, cropped, shrunk, flipped, recoloured and pasted into, with N of its masks.

Everything is drawn from the generator that is passed in, so a sample is a function of its seed alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.config import Resize
from pocketsam.data.sample import Sample
from pocketsam.training.config import Augmentation

Image = NDArray[np.uint8]
CROP_TRIES = 3
WINDOW_TRIES = 10
WINDOW_ASPECT = 4 / 3
"""Of a random window the longer side over the shorter one, at most."""
PADDING = (124, 116, 104)
"""SAM's mean colour, which normalisation turns into the zeros that it pads with."""
NO_MASKS, NO_BOXES = np.zeros((0, 0, 0), np.uint8), np.zeros((0, 4), np.float32)
MIN_CELLS = 2
"""Masks that fill fewer cells of the mask grid cannot be learned at this resolution."""


@dataclass(frozen=True)
class Target:
    """The arrays of one training sample."""

    image: Image
    """(3, S, S)."""
    masks: Image
    """(N, S/4, S/4): coverage of each mask-grid cell, 0 to 255."""
    boxes: NDArray[np.float32]
    """(N, 4): the tight boxes, XYXY in input pixels."""


def augment(
    sample: Sample,
    other: Sample | None,
    size: int,
    objects: int,
    how: Augmentation,
    rng: np.random.Generator,
) -> Target | None:
    """A crop of `sample` at `size` x `size` with `objects` of its masks (some twice where it has fewer).

    `other` lends an object to be pasted in. None where no mask of the sample is large enough to learn from.
    """
    chosen = rng.permutation(len(sample.rles))[: 2 * objects]
    image, masks = sample.image, sample.masks([int(i) for i in chosen]).astype(np.uint8)
    if other is not None and other.rles:
        image, masks = paste(image, masks, other, rng)
    for _ in range(CROP_TRIES):
        target = _resize(*reframe(image, masks, how, rng), size, objects, rng)
        if target is not None:
            return vary(flip(target, size, how, rng), how, rng)
    return None


def whole_photo(
    sample: Sample, size: int, objects: int, resize: Resize, how: Augmentation, rng: np.random.Generator
) -> Target | None:
    """The photo as at inference, in front of a model that pads or squashes: only its colours and sharpness vary.

    Its masks as `augment` gives them, or none where `objects` is 0. None where no mask of the sample is
    large enough to learn from.
    """
    image = square(sample.image) if resize == "pad" else sample.image
    if not objects:
        return vary(Target(scaled(image, size).transpose(2, 0, 1), NO_MASKS, NO_BOXES), how, rng)
    chosen = rng.permutation(len(sample.rles))[: 2 * objects]
    masks = [mask.astype(np.uint8) for mask in sample.masks([int(i) for i in chosen])]
    if not masks:
        return None
    found = _resize(image, np.stack([square(m) if resize == "pad" else m for m in masks]), size, objects, rng)
    return found and vary(found, how, rng)


def square(image: Image) -> Image:
    """A photo (H, W, 3) or mask (H, W), padded to a square, right and below: with SAM's mean colour, or zero."""
    side, colour = max(image.shape[:2]), PADDING if image.ndim == 3 else 0
    padded = np.empty((side, side, *image.shape[2:]), np.uint8)
    padded[:] = colour
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def reframe(image: Image, masks: Image, how: Augmentation, rng: np.random.Generator) -> tuple[Image, Image]:
    """A photo (H, W, 3) and its masks (K, H, W): shrunk, or cropped, or as they are."""
    if how.zoom_out and rng.random() < how.zoom_out:
        return zoom_out(image, masks, how.min_crop, rng)
    x0, y0, x1, y1 = crop_window(masks, how, rng)
    return image[y0:y1, x0:x1], masks[:, y0:y1, x0:x1]


def zoom_out(image: Image, masks: Image, smallest: float, rng: np.random.Generator) -> tuple[Image, Image]:
    """The photo (H, W, 3) shrunk, somewhere on a canvas of its mean colour: large-scale jitter below 1.

    As in arXiv 2012.07177. Its masks (K, H, W) follow. The sizes of the arrays stay; the photo's sides are between
    `smallest` and 1 of what they were.
    """
    height, width = image.shape[:2]
    scale = rng.uniform(smallest, 1.0)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    window = np.s_[top : top + h, left : left + w]
    canvas, moved = np.empty_like(image), np.zeros_like(masks)
    canvas[:] = image.mean((0, 1)).round().astype(np.uint8)
    canvas[window] = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    for mask, target in zip(masks, moved, strict=True):
        target[window] = cv2.resize(mask * 255, (w, h), interpolation=cv2.INTER_AREA) > 127
    return canvas, moved


def crop_window(masks: Image, how: Augmentation, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """The whole photo, or a window around a point of one of its masks: scale and aspect jitter in one."""
    height, width = masks.shape[1:]
    if rng.random() < how.whole or not len(masks):
        return 0, 0, width, height
    scale = rng.uniform(how.min_crop, 1.0)
    aspect = np.exp(rng.uniform(-0.25, 0.25))
    w = min(width, max(8, round(width * scale * aspect)))
    h = min(height, max(8, round(height * scale / aspect)))
    inside = np.argwhere(masks[rng.integers(len(masks))])
    y, x = inside[rng.integers(len(inside))] if len(inside) else (height // 2, width // 2)
    x0 = int(np.clip(x - rng.integers(w), 0, width - w))
    y0 = int(np.clip(y - rng.integers(h), 0, height - h))
    return x0, y0, x0 + w, y0 + h


def random_window(
    height: int, width: int, min_area: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A window x0, y0, x1, y1 of random area and aspect (arXiv 1409.4842, section 6); the photo, where none fits.

    min_area: the smallest one, as a fraction of the photo's.
    """
    for _ in range(WINDOW_TRIES):
        area = height * width * rng.uniform(min_area, 1)
        aspect = np.exp(rng.uniform(-np.log(WINDOW_ASPECT), np.log(WINDOW_ASPECT)))
        w, h = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if 0 < w <= width and 0 < h <= height:
            x0, y0 = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return x0, y0, x0 + w, y0 + h
    return 0, 0, width, height


def paste(image: Image, masks: Image, other: Sample, rng: np.random.Generator) -> tuple[Image, Image]:
    """Cut one object out of `other` and lay it over `image`; the masks beneath lose what it hides."""
    mask = other.masks([int(rng.integers(len(other.rles)))])[0].astype(np.uint8)
    x, y, w, h = cv2.boundingRect(mask)
    if min(w, h) < 8:
        return image, masks
    height, width = image.shape[:2]
    largest = min(0.7 * width / w, 0.7 * height / h)
    scale = rng.uniform(0.3, 1.0) * largest
    new = (max(4, round(w * scale)), max(4, round(h * scale)))
    cut = cv2.resize(other.image[y : y + h, x : x + w], new, interpolation=cv2.INTER_AREA)
    shape = cv2.resize(mask[y : y + h, x : x + w], new, interpolation=cv2.INTER_AREA)
    left, top = int(rng.integers(width - new[0] + 1)), int(rng.integers(height - new[1] + 1))
    window = np.s_[top : top + new[1], left : left + new[0]]
    image, masks = image.copy(), masks.copy()
    image[window] = np.where(shape[..., None] > 0, cut, image[window])
    pasted = np.zeros_like(image[..., 0])
    pasted[window] = shape
    masks &= 1 - pasted
    return image, np.concatenate([masks, pasted[None]])


def _resize(image: Image, masks: Image, size: int, objects: int, rng: np.random.Generator) -> Target | None:
    return make_target(scaled(image, size), masks, objects, rng)


def scaled(image: Image, size: int) -> Image:
    shrink = size < max(image.shape[:2])
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def make_target(image: Image, masks: Image, objects: int, rng: np.random.Generator) -> Target | None:
    """The sample of an image (S, S, 3) and `objects` of its masks (K, H, W), of any resolution.

    Only masks that fill cells of the mask grid: clicks are drawn from these. None where no mask does.
    """
    size, side = image.shape[0], image.shape[0] // 4
    coverage = [cv2.resize(mask * 255, (side, side), interpolation=cv2.INTER_AREA) for mask in masks]
    learnable = [i for i, cells in enumerate(coverage) if (cells > 127).sum() >= MIN_CELLS]
    if not learnable:
        return None
    every = np.concatenate([rng.permutation(learnable), rng.choice(learnable, objects)])
    chosen = every[:objects]
    height, width = masks.shape[1:]
    boxes = np.array([cv2.boundingRect(masks[i]) for i in chosen], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    boxes *= np.array([size / width, size / height] * 2, np.float32)
    return Target(image.transpose(2, 0, 1), np.stack([coverage[i] for i in chosen]).astype(np.uint8), boxes)


def flip(target: Target, size: int, how: Augmentation, rng: np.random.Generator) -> Target:
    if rng.random() >= how.flip:
        return target
    boxes = target.boxes.copy()
    boxes[:, [0, 2]] = size - boxes[:, [2, 0]]
    return Target(target.image[..., ::-1], target.masks[..., ::-1], boxes)


def vary(target: Target, how: Augmentation, rng: np.random.Generator) -> Target:
    """Other colours, a blur, the traces of compression: nothing that moves an outline."""
    target = _recolour(target, how, rng)
    if how.blur and rng.random() < how.blur:
        sigma = rng.uniform(0.3, 2.0)
        target = replace(
            target, image=_each_pixel(target.image, lambda x: cv2.GaussianBlur(x, (0, 0), sigma))
        )
    if how.jpeg and rng.random() < how.jpeg:
        quality = int(rng.integers(30, 96))
        target = replace(target, image=_each_pixel(target.image, lambda x: compress(x, quality)))
    return target


def _each_pixel(image: Image, change: Callable[[Image], Any]) -> Image:
    """Change an image (3, S, S) as OpenCV takes it, (S, S, 3)."""
    return np.asarray(change(np.ascontiguousarray(image.transpose(1, 2, 0))), np.uint8).transpose(2, 0, 1)


def compress(image: Image, quality: int) -> Image:
    """An image (H, W, 3) RGB after JPEG compression of this quality, 1 to 100."""
    written, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert written
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), np.uint8)


def _recolour(target: Target, how: Augmentation, rng: np.random.Generator) -> Target:
    """Gain and offset a channel, and a step towards grey: brightness, contrast, tint and saturation."""
    if rng.random() >= how.colour:
        return target
    image = target.image.astype(np.float32)
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, (3, 1, 1))
    offset = rng.uniform(-20, 20)
    grey = rng.uniform(0, 0.5) if rng.random() < 0.9 else 1.0
    image = image + np.float32(grey) * (image.mean(0, keepdims=True) - image)
    image = np.clip((image - 128) * gain.astype(np.float32) + np.float32(128 + offset), 0, 255)
    return Target(image.astype(np.uint8), target.masks, target.boxes)

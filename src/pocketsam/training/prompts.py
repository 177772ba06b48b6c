"""The prompts that a model is trained on, as SAM trains (arXiv 2304.02643, appendix A, "Training algorithm").

First a click inside the mask, a noisy box, or several of both; then clicks where prediction and mask differ,
positive where the mask was missed and negative where it was overrun. All of it in batches, on the device.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pocketsam.config import BACKGROUND, BOX_END, BOX_START, FOREGROUND, PADDING


class SampleRNG:
    """The random numbers of a batch: each sample's come from a generator of its own.

    So the prompts of a sample are the same whatever else is in its batch, and on whatever process.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = device
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g, device=self.device) for g in self.generators])

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape), standard normal."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self.generators])


MASK_STRIDE = 4
"""Stride of the mask grid, in pixels of the model's input."""


def click_in(region: Tensor, rng: SampleRNG, centre: float = 0.0) -> Tensor:
    """A point drawn from each region (B, …, h, w) bool -> (B, …, 2) as (x, y) in input pixels.

    Uniformly or, with the probability `centre`, as users click: a cell is the likelier the farther it lies from the
    region's border. An empty region gives its first cell: test `region.any` first.
    """
    width = region.shape[-1]
    drawn = rng.uniform(*region.shape[1:])
    if centre:
        at_centre = rng.uniform(*region.shape[1:-2], 1, 1) < centre
        # The largest of u^(1/w) is cell i with probability w_i / Σ w.
        drawn = torch.where(at_centre, drawn ** (1 / _distance_to_border(region)), drawn)
    index = drawn.masked_fill_(~region, -1).flatten(-2).argmax(-1)
    cell = torch.stack([index % width, index // width], dim=-1)
    jitter = rng.uniform(*cell.shape[1:])
    return MASK_STRIDE * (cell + jitter) - 0.5  # the encoder adds the half pixel back


def _distance_to_border(region: Tensor) -> Tensor:
    """Of each cell of a region (…, h, w) bool, in cells, to the nearest one outside of it or of the map; else 1."""
    height, width = region.shape[-2:]
    padded = F.pad(region, (1, 1, 1, 1)).flatten(0, -3).to("cpu", torch.uint8).numpy()
    found = np.stack([cv2.distanceTransform(one, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for one in padded])
    inner = torch.from_numpy(found[:, 1 : height + 1, 1 : width + 1]).to(region.device)
    return inner.view(region.shape).clamp(min=1)


def noisy(boxes: Tensor, size: int, rng: SampleRNG) -> Tensor:
    """Boxes (B, …, 4), each side moved by a normal of 10 % of its length, at most 20 pixels of 1024 (SAM)."""
    sides = (boxes[..., 2:] - boxes[..., :2]).repeat_interleave(2, dim=-1)
    sides = sides.view(*boxes.shape[:-1], 2, 2).transpose(-1, -2).flatten(-2)  # (w, h, w, h)
    noise = rng.normal(*boxes.shape[1:]) * 0.1 * sides
    # Half of the boxes stay tight, as a careful user and the evaluation draw them.
    loose = rng.uniform(*boxes.shape[1:-1], 1) < 0.5
    limit = 20 / 1024 * size
    return (boxes + loose * noise.clamp(-limit, limit)).clamp(0, size)


def first_prompts(
    masks: Tensor, boxes: Tensor, size: int, clicks: int, rng: SampleRNG, centre_clicks: float = 0.0
) -> tuple[Tensor, Tensor]:
    """One prompt an object: `clicks` clicks, or a box with one click fewer; which of the two is a coin's choice.

    Both take `clicks` + 1 tokens, so a batch needs no padding but the one point that SAM adds where there is no box.

    masks (B, N, h, w) bool, boxes (B, N, 4) -> points (B, N, clicks + 1, 2), labels (B, N, clicks + 1).
    centre_clicks: how often a click is drawn near the middle of its mask.
    """
    inside = torch.stack([click_in(masks, rng, centre_clicks) for _ in range(clicks)], dim=2)
    padding = torch.zeros_like(inside[:, :, :1])
    corners = noisy(boxes, size, rng).unflatten(-1, (2, 2))
    by_click = torch.cat([inside, padding], dim=2)
    by_box = torch.cat([inside[:, :, : clicks - 1], corners], dim=2)
    click_labels = torch.tensor([FOREGROUND] * clicks + [PADDING], device=masks.device)
    box_labels = torch.tensor([FOREGROUND] * (clicks - 1) + [BOX_START, BOX_END], device=masks.device)
    use_box = rng.uniform(masks.shape[1], 1) < 0.5
    points = torch.where(use_box[..., None], by_box, by_click)
    return points, torch.where(use_box, box_labels, click_labels)


def click_anywhere(extent: Tensor, objects: int, rng: SampleRNG) -> tuple[Tensor, Tensor]:
    """Single clicks anywhere in a photo.

    extent (B, 2): its width and height in input pixels -> points (B, N, 2, 2), labels (B, N, 2), the second of them a
    padding.
    """
    click = rng.uniform(objects, 2) * extent[:, None] - 0.5
    points = torch.stack([click, torch.zeros_like(click)], dim=2)
    labels = torch.tensor([FOREGROUND, PADDING], device=extent.device)
    return points, labels.expand(*points.shape[:2], 2)


def boxes_around(masks: Tensor) -> Tensor:
    """The tight boxes, XYXY in input pixels, of masks (…, h, w) bool -> (…, 4); of an empty one, all zeros."""
    sides = []
    for inside in (masks.any(-2), masks.any(-1)):  # columns, then rows
        cells = torch.arange(inside.shape[-1], device=masks.device)
        first = torch.where(inside, cells, inside.shape[-1]).amin(-1)
        last = torch.where(inside, cells + 1, 0).amax(-1)
        sides.append((first.minimum(last), last))
    (left, right), (top, bottom) = sides
    return MASK_STRIDE * torch.stack([left, top, right, bottom], dim=-1).float()


def pad_points(points: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Prompts of at least `count` tokens, padded where they have fewer, as EfficientSAM expects them.

    points (B, N, P, 2), labels (B, N, P) -> the same with P >= count.
    """
    missing = max(0, count - labels.shape[-1])
    return F.pad(points, (0, 0, 0, missing)), F.pad(labels, (0, missing), value=PADDING)


def correction(
    predicted: Tensor, masks: Tensor, rng: SampleRNG, centre_clicks: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The next click, drawn where prediction and mask differ; (B, N, h, w) bool -> (B, N, 1, 2), (B, N, 1).

    Where they agree everywhere, one more click inside the mask.
    """
    wrong = predicted ^ masks
    region = torch.where(wrong.flatten(-2).any(-1)[..., None, None], wrong, masks)
    point = click_in(region, rng, centre_clicks)
    cell = (
        ((point + 0.5) / MASK_STRIDE).long().clamp(max=masks.shape[-1] - 1)
    )  # float32 may round up to the edge
    index = cell[..., 1] * masks.shape[-1] + cell[..., 0]
    positive = masks.flatten(-2).gather(-1, index[..., None])
    label = torch.where(positive, FOREGROUND, BACKGROUND)
    return point[:, :, None], label

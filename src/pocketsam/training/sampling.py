"""The prompts that a model is trained on, as SAM trains (arXiv 2304.02643, appendix A, "Training algorithm").

First a click inside the mask, a noisy box, or several of both; then clicks where prediction and mask differ,
positive where the mask was missed and negative where it was overrun. All of it in batches, on the device.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pocketsam.config import BACKGROUND, BOX_END, BOX_START, FOREGROUND, PADDING


class Dice:
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


CELL = 4
"""Input pixels a side of one cell of the mask grid."""


def click_in(region: Tensor, dice: Dice) -> Tensor:
    """A point drawn uniformly from each region (B, …, h, w) bool -> (B, …, 2) as (x, y) in input pixels.

    An empty region gives its first cell: ask `region.any` first.
    """
    width = region.shape[-1]
    drawn = dice.uniform(*region.shape[1:]).masked_fill_(~region, -1)
    index = drawn.flatten(-2).argmax(-1)
    cell = torch.stack([index % width, index // width], dim=-1)
    jitter = dice.uniform(*cell.shape[1:])
    return CELL * (cell + jitter) - 0.5  # the encoder adds the half pixel back


def noisy(boxes: Tensor, size: int, dice: Dice) -> Tensor:
    """Boxes (B, …, 4), each side moved by a normal of 10 % of its length, at most 20 pixels of 1024 (SAM)."""
    sides = (boxes[..., 2:] - boxes[..., :2]).repeat_interleave(2, dim=-1)
    sides = sides.view(*boxes.shape[:-1], 2, 2).transpose(-1, -2).flatten(-2)  # (w, h, w, h)
    noise = dice.normal(*boxes.shape[1:]) * 0.1 * sides
    # Half of the boxes stay tight, as a careful user and the evaluation draw them.
    loose = dice.uniform(*boxes.shape[1:-1], 1) < 0.5
    limit = 20 / 1024 * size
    return (boxes + loose * noise.clamp(-limit, limit)).clamp(0, size)


def first_prompts(masks: Tensor, boxes: Tensor, size: int, clicks: int, dice: Dice) -> tuple[Tensor, Tensor]:
    """One prompt an object: `clicks` clicks, or a box with one click fewer; which of the two is a coin's choice.

    Both take `clicks` + 1 tokens, so a batch needs no padding but the one point that SAM adds where there is no box.

    masks (B, N, h, w) bool, boxes (B, N, 4) -> points (B, N, clicks + 1, 2), labels (B, N, clicks + 1).
    """
    inside = torch.stack([click_in(masks, dice) for _ in range(clicks)], dim=2)
    padding = torch.zeros_like(inside[:, :, :1])
    corners = noisy(boxes, size, dice).unflatten(-1, (2, 2))
    by_click = torch.cat([inside, padding], dim=2)
    by_box = torch.cat([inside[:, :, : clicks - 1], corners], dim=2)
    click_labels = torch.tensor([FOREGROUND] * clicks + [PADDING], device=masks.device)
    box_labels = torch.tensor([FOREGROUND] * (clicks - 1) + [BOX_START, BOX_END], device=masks.device)
    use_box = dice.uniform(masks.shape[1], 1) < 0.5
    points = torch.where(use_box[..., None], by_box, by_click)
    return points, torch.where(use_box, box_labels, click_labels)


def click_anywhere(extent: Tensor, objects: int, dice: Dice) -> tuple[Tensor, Tensor]:
    """Lone clicks anywhere in a photo.

    extent (B, 2): its width and height in input pixels -> points (B, N, 2, 2), labels (B, N, 2), the second of them a
    padding.
    """
    click = dice.uniform(objects, 2) * extent[:, None] - 0.5
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
    return CELL * torch.stack([left, top, right, bottom], dim=-1).float()


def pad_points(points: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Prompts of at least `count` tokens, padded where they have fewer, as EfficientSAM expects them.

    points (B, N, P, 2), labels (B, N, P) -> the same with P >= count.
    """
    missing = max(0, count - labels.shape[-1])
    return F.pad(points, (0, 0, 0, missing)), F.pad(labels, (0, missing), value=PADDING)


def correction(predicted: Tensor, masks: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """The next click, uniformly where prediction and mask differ; (B, N, h, w) bool -> (B, N, 1, 2), (B, N, 1).

    Where they agree everywhere, one more click inside the mask.
    """
    wrong = predicted ^ masks
    region = torch.where(wrong.flatten(-2).any(-1)[..., None, None], wrong, masks)
    point = click_in(region, dice)
    cell = ((point + 0.5) / CELL).long().clamp(max=masks.shape[-1] - 1)  # float32 may round up to the edge
    index = cell[..., 1] * masks.shape[-1] + cell[..., 0]
    positive = masks.flatten(-2).gather(-1, index[..., None])
    label = torch.where(positive, FOREGROUND, BACKGROUND)
    return point[:, :, None], label

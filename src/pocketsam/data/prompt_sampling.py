"""The prompts that a model is trained on, as SAM trains (arXiv 2304.02643, appendix A, "Training algorithm").

First a click inside the mask, a noisy box, or several of both; then clicks where prediction and mask differ,
positive where the mask was missed and negative where it was overrun. All of it in batches, on the device.
"""

import torch
from torch import Tensor

from pocketsam.models.prompt_encoder import BACKGROUND, BOX_END, BOX_START, FOREGROUND, PADDING

CELL = 4
"""Input pixels a side of one cell of the mask grid."""


def click_in(region: Tensor, generator: torch.Generator) -> Tensor:
    """A point drawn uniformly from each region (…, h, w) bool -> (…, 2) as (x, y) in input pixels.

    An empty region gives its first cell: ask `region.any` first.
    """
    width = region.shape[-1]
    drawn = torch.rand(region.shape, generator=generator, device=region.device).masked_fill_(~region, -1)
    index = drawn.flatten(-2).argmax(-1)
    cell = torch.stack([index % width, index // width], dim=-1)
    jitter = torch.rand(cell.shape, generator=generator, device=region.device)
    return CELL * (cell + jitter) - 0.5  # the encoder adds the half pixel back


def noisy(boxes: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Boxes (…, 4), each side moved by a normal of 10 % of its length, at most 20 pixels of 1024 (SAM)."""
    sides = (boxes[..., 2:] - boxes[..., :2]).repeat_interleave(2, dim=-1)
    sides = sides.view(*boxes.shape[:-1], 2, 2).transpose(-1, -2).flatten(-2)  # (w, h, w, h)
    noise = torch.randn(boxes.shape, generator=generator, device=boxes.device) * 0.1 * sides
    # Half of the boxes stay tight, as a careful user and the evaluation draw them.
    loose = torch.rand(boxes.shape[:-1], generator=generator, device=boxes.device)[..., None] < 0.5
    limit = 20 / 1024 * size
    return (boxes + loose * noise.clamp(-limit, limit)).clamp(0, size)


def first_prompts(
    masks: Tensor, boxes: Tensor, size: int, clicks: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One prompt an object: `clicks` clicks, or a box with one click fewer; which of the two is a coin's choice.

    Both take `clicks` + 1 tokens, so a batch needs no padding but the one point that SAM adds where there is no box.

    masks (B, N, h, w) bool, boxes (B, N, 4) -> points (B, N, clicks + 1, 2), labels (B, N, clicks + 1).
    """
    inside = torch.stack([click_in(masks, generator) for _ in range(clicks)], dim=2)
    padding = torch.zeros_like(inside[:, :, :1])
    corners = noisy(boxes, size, generator).unflatten(-1, (2, 2))
    by_click = torch.cat([inside, padding], dim=2)
    by_box = torch.cat([inside[:, :, : clicks - 1], corners], dim=2)
    click_labels = torch.tensor([FOREGROUND] * clicks + [PADDING], device=masks.device)
    box_labels = torch.tensor([FOREGROUND] * (clicks - 1) + [BOX_START, BOX_END], device=masks.device)
    use_box = torch.rand(masks.shape[:2], generator=generator, device=masks.device)[..., None] < 0.5
    points = torch.where(use_box[..., None], by_box, by_click)
    return points, torch.where(use_box, box_labels, click_labels)


def correction(predicted: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The next click, uniformly where prediction and mask differ; (B, N, h, w) bool -> (B, N, 1, 2), (B, N, 1).

    Where they agree everywhere, one more click inside the mask.
    """
    wrong = predicted ^ masks
    region = torch.where(wrong.flatten(-2).any(-1)[..., None, None], wrong, masks)
    point = click_in(region, generator)
    cell = ((point + 0.5) / CELL).long().clamp(max=masks.shape[-1] - 1)  # float32 may round up to the edge
    index = cell[..., 1] * masks.shape[-1] + cell[..., 0]
    positive = masks.flatten(-2).gather(-1, index[..., None])
    label = torch.where(positive, FOREGROUND, BACKGROUND)
    return point[:, :, None], label

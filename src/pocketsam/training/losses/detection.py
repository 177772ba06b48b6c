"""The loss of detection and instance segmentation: FCOS's for boxes (arXiv 1904.01355), Mask R-CNN's for masks.

A cell learns an object where its centre lies inside the object's box and near the box's middle, on the level whose
cells suit the object's size; of several objects, the smallest. All other cells learn that there is none. The quality
of a box is its IoU with the true one (arXiv 1912.05070), instead of FCOS's distance to the middle. The mask head
learns true boxes, moved a little, as the boxes at inference are never exact.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.heads.base import HeadModel
from pocketsam.models.heads.detector import ROI_SIDE, Cells, Detector, Found, boxes_of, sampling_grid
from pocketsam.models.layers import Normalise
from pocketsam.training.losses.functions import focal_loss
from pocketsam.training.prompts import MASK_STRIDE, SampleRNG
from pocketsam.training.samples.stream import Item

NEAR = 1.5
"""How many cells from the middle of a box the cells that learn it may lie (FCOS's released code)."""
LARGEST_SIDE = 8
"""The farthest side of a box that a level is for, in cells: FCOS's 64 pixels at stride 8, and so on."""
MOVED = 0.1
"""How far the sides of the boxes for masks are moved at most, as a fraction of the box's size."""


class Detection(nn.Module):
    """The loss of one batch. Every image counts the same, however many objects it has."""

    def __init__(self, model: HeadModel, normalise: Normalise) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise

    def forward(self, batch: Item, step: int) -> dict[str, Tensor]:
        """batch: image (B, 3, S, S) uint8, seed (B,), classes (B, M), boxes (B, M, 4), masks (B, M, S/4, S/4), see
        `DetectionSamples`.

        Returns `loss` and its parts `class_loss`, `box_loss`, `quality_loss` and, with a mask head, `mask_loss`.
        """
        found: Found = self.model(self.normalise(batch["image"]))
        of_images = []
        for i, classes in enumerate(batch["classes"]):
            there = classes >= 0
            of_images.append(cell_losses(found.cells, i, classes[there], batch["boxes"][i][there]))
        class_loss, box_loss, quality_loss = torch.stack(of_images).mean(0)
        parts = {"class_loss": class_loss, "box_loss": box_loss, "quality_loss": quality_loss}
        head = self.model.head
        if isinstance(head, Detector) and head.mask_head is not None:
            parts["mask_loss"] = mask_loss(head, found.levels, batch)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}


def cell_losses(cells: Cells, image: int, classes: Tensor, boxes: Tensor) -> Tensor:
    """Of one image with N objects, classes (N,) and boxes (N, 4): focal loss, 1 - GIoU, and the quality's -> (3,)."""
    logits, quality = cells.classes[image], cells.quality[image]
    learned = assign(cells.centres, cells.strides, boxes)
    positive = learned >= 0
    target = torch.zeros_like(logits)
    target[positive, classes[learned[positive]]] = 1
    count = positive.sum().clamp(min=1)
    class_loss = focal_loss(logits, target) * logits.numel() / count
    predicted = boxes_of(cells.centres[positive], cells.sides[image, positive])
    iou, giou = paired_ious(predicted, boxes[learned[positive]])
    known = F.binary_cross_entropy_with_logits(quality[positive], iou.detach(), reduction="sum")
    return torch.stack([class_loss, (1 - giou).sum() / count, known / count])


def assign(centres: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """The object that each cell learns, or -1: centres (L, 2), strides (L,), boxes (N, 4) -> (L,) int64."""
    if not len(boxes):
        return torch.full((len(centres),), -1, device=centres.device)
    sides = torch.cat([centres[:, None] - boxes[:, :2], boxes[:, 2:] - centres[:, None]], -1)  # (L, N, 4)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = (centres[:, None] - middle).abs().amax(-1) <= NEAR * strides[:, None]
    # The finest level takes all that is smaller, the coarsest all that is larger.
    most = (LARGEST_SIDE * strides).masked_fill(strides == strides.max(), float("inf"))
    least = (LARGEST_SIDE / 2 * strides).masked_fill(strides == strides.min(), 0)
    farthest = sides.amax(-1)
    fits = (sides.amin(-1) > 0) & near & (farthest > least[:, None]) & (farthest <= most[:, None])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1).expand(len(centres), -1)
    smallest, object_ = areas.masked_fill(~fits, float("inf")).min(1)
    return object_.masked_fill(smallest.isinf(), -1)


def paired_ious(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (arXiv 1902.09630) of boxes (N, 4) with boxes (N, 4), pair by pair: (N,) each."""
    both = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    iou = both / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def mask_loss(head: Detector, levels: list[Tensor], batch: Item) -> Tensor:
    """Binary cross-entropy of the masks in boxes that were moved a little: the mean over objects and images -> ()."""
    there = batch["classes"] >= 0
    images, numbers = there.nonzero(as_tuple=True)
    boxes = moved(batch["boxes"], SampleRNG(batch["seed"].tolist(), there.device))[images, numbers]
    masks = batch["masks"][images, numbers].float()[:, None] / 255
    assert head.mask_head is not None
    logits = head.mask_head(levels, boxes, images, batch["classes"][images, numbers])
    size = MASK_STRIDE * masks.shape[-1]
    grid = sampling_grid(boxes, size, size, 2 * ROI_SIDE)
    target = F.grid_sample(masks, grid, padding_mode="zeros", align_corners=False)[:, 0]
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2))
    count = there.sum(1).clamp(min=1)
    total: Tensor = (each / count[images]).sum()
    return total / len(there)


def moved(boxes: Tensor, rng: SampleRNG) -> Tensor:
    """Boxes (B, M, 4), whose sides are moved by at most MOVED of their size, each on its own."""
    sizes = (boxes[..., 2:] - boxes[..., :2]).repeat(1, 1, 2)
    return boxes + MOVED * (2 * rng.uniform(*boxes.shape[1:]) - 1) * sizes

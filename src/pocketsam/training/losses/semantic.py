"""Mask2Former's loss (arXiv 2112.01527, section 3.3): each object is learned by the query that fits it best.

After every layer the queries are paired with the true regions anew, at the least cost; paired queries learn their
region's class and mask, all others that they have none. The masks are compared cell by cell at stride 4, where the
paper samples points of the full resolution to save memory.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.data.categories import IGNORED
from pocketsam.models.heads.base import HeadModel
from pocketsam.models.heads.mask_transformer import Regions
from pocketsam.models.layers import Normalise
from pocketsam.training.matching import cheapest_pairs
from pocketsam.training.samples.stream import Item

CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT, NONE_WEIGHT = 2.0, 5.0, 5.0, 0.1
"""Of cross-entropy, of the masks' binary cross-entropy and dice, and of queries without an object."""


class Semantic(nn.Module):
    """The loss of one batch. Every image counts the same, however many regions it has."""

    def __init__(self, model: HeadModel, normalise: Normalise) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise

    def forward(self, batch: Item, step: int) -> dict[str, Tensor]:
        """batch: image (B, 3, S, S) uint8, classes (B, S, S) uint8, the class of each pixel or IGNORED.

        Returns `loss` and its parts `class_loss`, `mask_loss` and `dice_loss`, means over layers.
        """
        found: list[Regions] = self.model(self.normalise(batch["image"]))
        parts = []
        for i, classes in enumerate(batch["classes"]):
            targets = regions_of(classes)
            parts += [region_losses(Regions(one.classes[i], one.masks[i]), *targets) for one in found]
        class_loss, mask_loss, dice_loss = torch.stack(parts).mean(0)
        loss = CLASS_WEIGHT * class_loss + MASK_WEIGHT * mask_loss + DICE_WEIGHT * dice_loss
        return {"loss": loss, "class_loss": class_loss, "mask_loss": mask_loss, "dice_loss": dice_loss}


def regions_of(classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The true regions of a map of classes (S, S) uint8.

    The classes (T,) int64, their coverage of the cells at stride 4 (T, S/4, S/4), and how much of each cell is
    labelled (S/4, S/4).
    """
    present = classes.unique()
    present = present[present != IGNORED].long()
    masks = (classes == present[:, None, None]).float()
    labelled = (classes != IGNORED).float()
    return present, F.avg_pool2d(masks[:, None], 4)[:, 0], F.avg_pool2d(labelled[None, None], 4)[0, 0]


def region_losses(found: Regions, classes: Tensor, masks: Tensor, labelled: Tensor) -> Tensor:
    """Of one image: cross-entropy of the classes, and binary cross-entropy and dice of the masks -> (3,).

    found: classes (N, K + 1), masks (N, h, w) logits. The others are those of `regions_of`.
    """
    logits, predicted = found.classes.float(), found.masks.float().flatten(1)
    true, weight = masks.flatten(1), labelled.flatten()
    with torch.no_grad():
        crossed, dices = pairwise_losses(predicted, true, weight)
        cost = -CLASS_WEIGHT * logits.softmax(-1)[:, classes] + MASK_WEIGHT * crossed + DICE_WEIGHT * dices
        rows, columns = cheapest_pairs(cost)
    wanted = logits.new_full((len(logits),), logits.shape[1] - 1, dtype=torch.long)
    wanted[rows] = classes[columns]
    importance = logits.new_ones(logits.shape[1])
    importance[-1] = NONE_WEIGHT
    class_loss = F.cross_entropy(logits, wanted, importance)
    if not len(rows):
        return torch.stack([class_loss, 0 * predicted.sum(), 0 * predicted.sum()])
    x, t = predicted[rows], true[columns]
    crossed = _cross_entropy(x, t, weight).mean()
    p = x.sigmoid() * weight
    dice = 1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)
    return torch.stack([class_loss, crossed, dice.mean()])


def pairwise_losses(predicted: Tensor, true: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and dice of every mask (N, L), as logits, with every region (T, L): (N, T) each.

    weight (L,): how much a cell counts.
    """
    cells = weight.sum().clamp(min=1)
    x = predicted * weight
    crossed = ((F.softplus(predicted) * weight).sum(1, keepdim=True) - x @ true.T) / cells
    p = predicted.sigmoid() * weight
    dices = 1 - (2 * p @ true.T + 1) / (p.sum(1, keepdim=True) + true.sum(1) + 1)
    return crossed, dices


def _cross_entropy(x: Tensor, t: Tensor, weight: Tensor) -> Tensor:
    crossed = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    return (crossed * weight).sum(1) / weight.sum().clamp(min=1)

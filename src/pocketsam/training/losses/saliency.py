"""The loss of a saliency head, at both of its resolutions.

Cross-entropy of the cells and soft IoU of each photo (BASNet, CVPR 2019, section 3.3).
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.saliency import SaliencyHead
from pocketsam.training.samples.stream import Item

WINDOW = 0.5
"""The side of the window in which outlines are learned, as a fraction of the photo's: a quarter of the work."""


class Saliency(nn.Module):
    """The loss of one batch: at stride 16 of whole photos, at stride 4 of a window of each. head: what learns."""

    def __init__(self, head: SaliencyHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, batch: Item, step: int) -> dict[str, Tensor]:
        """batch: embedding (B, C, g, g) float16, mask (B, 4 g, 4 g) uint8, see `StoredFeatures`.

        Returns `loss`, and `iou`, the mean IoU of the cells at stride 16.
        """
        embedding = batch["embedding"].float().contiguous(memory_format=torch.channels_last)
        truth = batch["mask"][:, None].float() / 255
        context = self.head.context(embedding)
        coarse, coarse_truth = self.head.coarse(context).float(), F.avg_pool2d(truth, 4)
        (top, left), side = _window(embedding.shape[-1], int(batch["seed"][0]))
        rows, columns = slice(top, top + side), slice(left, left + side)
        logits = self.head.outlines(context[:, :, rows, columns], embedding[:, :, rows, columns]).float()
        part = truth[:, :, 4 * top : 4 * (top + side), 4 * left : 4 * (left + side)]
        loss = _loss(coarse, coarse_truth) + _loss(logits, part)
        return {"loss": loss, "iou": _iou((coarse > 0).float(), (coarse_truth > 0.5).float()).detach()}


def _window(side: int, seed: int) -> tuple[list[int], int]:
    """The first row and column of a window of a map with `side` cells a side, and the window's side."""
    size = max(1, round(WINDOW * side))
    return np.random.default_rng(seed).integers(side - size + 1, size=2).tolist(), size


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Of logits, by the truth from 0 to 1; both (B, 1, h, w)."""
    return F.binary_cross_entropy_with_logits(logits, truth) + 1 - _iou(logits.sigmoid(), truth)


def _iou(p: Tensor, truth: Tensor) -> Tensor:
    """The mean over the photos of the IoU of probabilities, both (B, 1, h, w)."""
    both = (p * truth).sum((1, 2, 3))
    return ((both + 1) / (p.sum((1, 2, 3)) + truth.sum((1, 2, 3)) - both + 1)).mean()

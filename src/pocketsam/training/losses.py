"""The losses of segment anything, one value a mask; logits (…, h, w) against coverage in [0, 1] of the same shape."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

PixelLoss = Literal["focal", "cross-entropy"]


def focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss, the mean over pixels (arXiv 1708.02002, equation 5) -> (…)."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = logits.sigmoid()
    p_true = p * target + (1 - p) * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * (1 - p_true) ** gamma * cross_entropy).mean((-2, -1))


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - 2|A n B| / (|A| + |B|), smoothed by one pixel (arXiv 1606.04797) -> (…)."""
    p = logits.sigmoid()
    overlap = (p * target).sum((-2, -1))
    return 1 - (2 * overlap + 1) / (p.sum((-2, -1)) + target.sum((-2, -1)) + 1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over pixels -> (…)."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((-2, -1))


def mask_loss(logits: Tensor, target: Tensor, pixel: PixelLoss = "focal") -> Tensor:
    """Focal and dice loss in the ratio 20 : 1 (SAM, appendix A) -> (…).

    With "cross-entropy", that and dice in the ratio 2 : 1: focal loss mutes the easy pixels, which for a decoder
    that knows nothing yet are the whole lesson (docs/experiments/pocket.md has the curves).
    """
    if pixel == "cross-entropy":
        return 2 * cross_entropy(logits, target) + dice_loss(logits, target)
    return 20 * focal_loss(logits, target) + dice_loss(logits, target)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of the thresholded masks -> (…)."""
    a, b = logits > 0, target > 0.5
    union = (a | b).sum((-2, -1))
    return (a & b).sum((-2, -1)) / union.clamp(min=1)

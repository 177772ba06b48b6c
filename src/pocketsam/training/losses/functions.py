"""The losses of segment anything and of distillation, a function an equation.

Masks: logits (…, h, w) against coverage in [0, 1] of the same shape, one value a mask. What a student shares with its
teacher: the mean over a batch, or one value a mask.
"""

from torch import Tensor
from torch.nn import functional as F

from pocketsam.config import BACKGROUND, FOREGROUND
from pocketsam.training.config import PixelLoss


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
    that knows nothing yet are all there is to learn (docs/experiments/pocket.md has the curves).
    """
    if pixel == "cross-entropy":
        return 2 * cross_entropy(logits, target) + dice_loss(logits, target)
    return 20 * focal_loss(logits, target) + dice_loss(logits, target)


def click_loss(logits: Tensor, points: Tensor, labels: Tensor, image_size: int) -> Tensor:
    """Cross-entropy at the clicks alone -> (): what BRS (Jang and Kim, CVPR 2019) minimises for each photo, trained.

    The mean over photos of the means over their clicks.
    logits (B, N, h, w); points (B, N, P, 2) in model pixels; labels (B, N, P), of which foreground and background
    count: corners and padding say nothing of the pixel below them.
    """
    is_click = (labels == FOREGROUND) | (labels == BACKGROUND)
    grid = 2 * (points.flatten(0, 1)[:, :, None] + 0.5) / image_size - 1
    at = F.grid_sample(logits.flatten(0, 1)[:, None], grid, padding_mode="border", align_corners=False)
    at = at[:, 0, :, 0].unflatten(0, labels.shape[:2])
    wanted = (labels == FOREGROUND).to(at.dtype)
    each = F.binary_cross_entropy_with_logits(at, wanted, reduction="none")
    of_photos = (each * is_click).sum((1, 2)) / is_click.sum((1, 2)).clamp(min=1)
    return of_photos.mean()


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of the thresholded masks -> (…)."""
    a, b = logits > 0, target > 0.5
    union = (a | b).sum((-2, -1))
    return (a & b).sum((-2, -1)) / union.clamp(min=1)


def embedding_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of image embeddings (B, C, g, g) (MobileSAM, section 3.2) -> ()."""
    return F.mse_loss(student, teacher)


def embedding_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """L_embedding: the L1 distance of image embeddings (B, C, g, g) (TinySAM, section 3.1), a mean -> ()."""
    return F.l1_loss(student, teacher)


def token_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """L_token: the L1 distance of output tokens (B, N, T, C) (TinySAM, section 3.1), a mean -> ()."""
    return F.l1_loss(student, teacher)


def mask_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """L_output: the L1 distance of mask logits (…, h, w) (TinySAM, section 3.1), the mean over pixels -> (…)."""
    return (student - teacher).abs().mean((-2, -1))


def iou_distance(predicted: Tensor, true: Tensor) -> Tensor:
    """L_ious: the L1 distance of predicted and computed IoU (TinySAM, section 3.1), a mean -> ()."""
    return F.l1_loss(predicted, true)


def hard_mask_weights(teacher_iou: Tensor, student_iou: Tensor, epsilon: float = 1e-6) -> Tensor:
    """H = sigmoid(IoU(M_T, M_GT) / (IoU(M_S, M_GT) + ε) - 1) (TinySAM, section 3.2), each (…) -> (…), in [0.27, 1).

    One half where student and teacher are as good; towards 1 where the teacher is better.
    """
    return (teacher_iou / (student_iou + epsilon) - 1).sigmoid()

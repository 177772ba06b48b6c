"""What an attack wants of the logits (…, h, w): losses that are 0 where it has it. A new goal is a line in the table.

Attack-SAM (arXiv 2305.00866, section 3) clips logits at a threshold beyond which there is nothing more to gain, and
takes the mean squared distance to it ("ClipMSE"). Its threshold is 10 on SAM's logits: −10 where there shall be no
mask. Where much of a model's background lies above −10 anyway, that background has most of the gradient, and a lower
threshold leaves the steps to the mask.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

MARGIN = 1.0
"""Of the C&W-style loss, in logits."""


def removal(logits: Tensor, target: Tensor | None, threshold: float) -> Tensor:
    """There shall be no mask."""
    return _clipped(-logits, threshold)


def enlargement(logits: Tensor, target: Tensor | None, threshold: float) -> Tensor:
    """The mask shall be the whole photo."""
    return _clipped(logits, threshold)


def manipulation(logits: Tensor, target: Tensor | None, threshold: float) -> Tensor:
    """The mask shall be `target`, (h, w) bool."""
    assert target is not None
    return _clipped(_signed(logits, target), threshold)


def _clipped(wanted: Tensor, threshold: float) -> Tensor:
    """ClipMSE of logits whose sign is such that they shall be positive."""
    return (threshold - wanted.clamp(max=threshold)).square().mean()


def _signed(logits: Tensor, target: Tensor) -> Tensor:
    """The logits, with the other sign where the target has no mask."""
    return torch.where(target, logits, -logits)


Goal = Callable[[Tensor, Tensor | None, float], Tensor]

GOALS: Mapping[str, Goal] = {"removal": removal, "enlargement": enlargement, "manipulation": manipulation}
"""The goals by name: their losses."""


def margin(logits: Tensor, target: Tensor) -> Tensor:
    """The loss of Carlini and Wagner (arXiv 1608.04644, section V-A, f6), on logits of masks instead of classes.

    How far each logit is from the wrong side of 0 by MARGIN; only logits that are not there yet count.
    """
    return (MARGIN - _signed(logits, target)).clamp(min=0).mean()

"""One perturbation for all photos: a square pattern, stretched to each photo, that takes masks away wherever it is.

Moosavi-Dezfooli et al. (arXiv 1610.08401) showed that one perturbation can fool a classifier on most images. This one
is found as in Shafahi et al. (arXiv 1811.11304, algorithm 2): signed gradient steps on one photo after the other.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from pocketsam.predict.prompts import Prompts
from pocketsam.robustness.attacks.goals import removal
from pocketsam.robustness.attacks.network import WhiteBox
from pocketsam.robustness.attacks.steps import to_photo


def find_pattern(
    box: WhiteBox,
    photos: Sequence[tuple[NDArray[np.uint8], Prompts]],
    epsilon: float,
    passes: int,
    step_size: float,
    threshold: float,
    after_step: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """The pattern (S, S, 3), in grey levels from −ε to ε, S being the model's input size.

    photos: images (H, W, 3) and the points whose masks shall disappear. passes: how often each photo is used.
    threshold: see `goals`. after_step: is called after each of the passes × photos steps.
    """
    size = box.config.image_size
    pattern = torch.zeros(size, size, 3)
    for image, prompts in list(photos) * passes:
        clean = torch.from_numpy(image.astype(np.float32))
        pattern.requires_grad_()
        pixels = (clean + _stretched(pattern, *image.shape[:2])).clamp(0, 255)
        (gradient,) = torch.autograd.grad(removal(box.logits(pixels, prompts), None, threshold), pattern)
        pattern = (pattern.detach() - step_size * gradient.sign()).clamp(-epsilon, epsilon)
        after_step()
    return pattern.numpy()


def add_pattern(image: NDArray[np.uint8], pattern: NDArray[np.float32], epsilon: float) -> NDArray[np.uint8]:
    """A photo (H, W, 3) with the pattern, in whole grey levels and at most ε from the photo."""
    change = _stretched(torch.from_numpy(pattern), *image.shape[:2])
    return to_photo(image, torch.from_numpy(image.astype(np.float32)) + change, epsilon)


def _stretched(pattern: Tensor, height: int, width: int) -> Tensor:
    """The pattern at a photo's size, (height, width, 3); interpolation does not leave the ε-ball."""
    planes = interpolate(
        pattern.permute(2, 0, 1)[None], (height, width), mode="bilinear", align_corners=False
    )
    return planes[0].permute(1, 2, 0)

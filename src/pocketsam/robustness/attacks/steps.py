"""How an attack moves through the pixels: FGSM, BIM, PGD, and PGD on a C&W-style loss.

All stay within ε grey levels of the photo in every channel, and within 0 and 255. What they return has whole grey
levels, so that a PNG file holds exactly that photo.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pocketsam.predict.prompts import Prompts
from pocketsam.robustness.attacks.goals import GOALS, margin
from pocketsam.robustness.attacks.network import WhiteBox

METHODS = "fgsm", "bim", "pgd", "cw"
"""One step (arXiv 1412.6572, equation 2); several small ones (1607.02533, equation 2); the same from a random start
(1706.06083, equation 4); PGD on the loss of Carlini and Wagner, as 1706.06083 does, section 5."""


@dataclass(frozen=True)
class Attack:
    """One way to attack.

    method, goal: of METHODS and `GOALS`. epsilon, step_size: in grey levels, 1/255. steps: how many; FGSM takes one.
    threshold: beyond which logit, in the wanted direction, there is nothing more to gain.
    """

    method: str = "pgd"
    goal: str = "removal"
    epsilon: float = 8
    steps: int = 10
    step_size: float = 2
    threshold: float = 2

    def __str__(self) -> str:
        steps = "" if self.method == "fgsm" else f"-{self.steps}"
        return f"{self.goal}, {self.method}{steps}, ε {self.epsilon:g}"


def perturb(
    attack: Attack,
    box: WhiteBox,
    image: NDArray[np.uint8],
    prompts: Prompts,
    random: np.random.Generator,
    target: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """The adversarial photo (H, W, 3) for all N prompts together.

    target: the mask (H, W) that manipulation wants. random: makes the start of PGD and C&W.
    """
    clean = torch.from_numpy(image.astype(np.float32))
    cells = None if target is None else box.to_cells(target)

    def loss(pixels: Tensor) -> Tensor:
        logits = box.logits(pixels, prompts)
        return _loss(attack, logits, cells)

    return to_photo(image, _descend(attack, clean, loss, random), attack.epsilon)


def _loss(attack: Attack, logits: Tensor, cells: Tensor | None) -> Tensor:
    if attack.method != "cw":
        return GOALS[attack.goal](logits, cells, attack.threshold)
    whole = torch.full(logits.shape[-2:], attack.goal == "enlargement")
    return margin(logits, whole if cells is None else cells)


def _descend(
    attack: Attack, clean: Tensor, loss: Callable[[Tensor], Tensor], random: np.random.Generator
) -> Tensor:
    """The pixels (H, W, 3) after all steps against the loss's gradient, each as large in every pixel."""
    epsilon = attack.epsilon
    steps, size = (1, epsilon) if attack.method == "fgsm" else (attack.steps, attack.step_size)
    pixels = clean
    if attack.method in ("pgd", "cw"):
        start = random.uniform(-epsilon, epsilon, clean.shape).astype(np.float32)
        pixels = (clean + torch.from_numpy(start)).clamp(0, 255)
    for _ in range(steps):
        pixels = pixels.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(pixels), pixels)
        moved = pixels.detach() - size * gradient.sign()
        pixels = torch.minimum(torch.maximum(moved, clean - epsilon), clean + epsilon).clamp(0, 255)
    return pixels.detach()


def to_photo(image: NDArray[np.uint8], pixels: Tensor, epsilon: float) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) in whole grey levels, not farther from the photo than ε even where ε is not whole."""
    change = np.rint(pixels.numpy() - image)
    allowed = np.floor(epsilon)
    return np.asarray(np.clip(image + np.clip(change, -allowed, allowed), 0, 255), np.uint8)

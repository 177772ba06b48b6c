"""Adversarial training (Madry et al., arXiv 1706.06083, equation 2.1): learn on the photos that are hardest.

Before each step of the weights, some steps of PGD change the photos of the batch by at most ε grey levels so that the
loss grows; the loss of those photos is what the weights then step on. It costs a forward and a backward pass more for
each of these steps. The prompts are the same throughout, as they depend on the batch's seeds.
"""

import torch
from torch import Tensor, nn

from pocketsam.training.samples.stream import SEEDS
from pocketsam.training.teacher import Batch


class Adversarial(nn.Module):
    """A loss of (batch, step) on adversarial photos.

    Args:
        loss: on photos as they are, such as `Supervised`.
        epsilon, step_size: in grey levels.
        steps: of PGD, at least 1.
        share: of the photos that are changed, spread evenly over the run; the others stay as they are.
    """

    def __init__(self, loss: nn.Module, epsilon: float, step_size: float, steps: int, share: float) -> None:
        super().__init__()
        self.loss, self.epsilon, self.step_size, self.steps = loss, epsilon, step_size, steps
        self.share = share

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """What the inner loss returns for the changed photos."""
        images = self.changed(batch, step)
        found: dict[str, Tensor] = self.loss({**batch, "image": images}, step)
        return found

    def changed(self, batch: Batch, step: int) -> Tensor:
        """The photos (B, 3, S, S) of a batch as floats from 0 to 255, such a share of them adversarial.

        Statistics of batch normalisation do not learn from the steps on the way.
        """
        clean = batch["image"].float()
        chosen = self._is_changed(batch["seed"]).to(clean.device)
        images, training = clean, self.training
        self.loss.eval()
        for _ in range(self.steps):
            images = images.detach().requires_grad_()
            with torch.enable_grad():
                loss = self.loss({**batch, "image": images}, step)["loss"]
            # Not autograd.grad, in which the hooks that count operations (`meter.py`) raise.
            loss.backward(inputs=[images])
            assert images.grad is not None
            moved = images.detach() + self.step_size * images.grad.sign() * chosen[:, None, None, None]
            images = torch.minimum(torch.maximum(moved, clean - self.epsilon), clean + self.epsilon)
            images = images.clamp(0, 255)
        self.loss.train(training)
        return images.detach()

    def _is_changed(self, seeds: Tensor) -> Tensor:
        """Which photos (B,) are: by their numbers in the run, so that it is the same however a batch is divided."""
        numbers = seeds % SEEDS
        return ((numbers + 1) * self.share).floor() > (numbers * self.share).floor()

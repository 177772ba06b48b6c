"""Supervised training as SAM's (arXiv 2304.02643, appendix A): prompts in, losses out.

Round 0 draws the prompts; each later round adds a click where the model was wrong and feeds its own logits back.
A lone click is ambiguous: of its three masks only the best is taught (section 3, "Resolving ambiguity").
Mask 0, the single answer, is taught for every prompt, so that a small model has one to give when it cannot tell.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pocketsam.data.prompt_sampling import correction, first_prompts
from pocketsam.models.sam import Sam
from pocketsam.training.losses import PixelLoss, mask_iou, mask_loss

Batch = dict[str, Tensor]


class Supervise(nn.Module):
    """The loss of one batch. A module, so that a wrapper for several devices sees one forward call.

    Args:
        sam: the model in training.
        rounds: prompts an object; the first, then corrections.
        clicks: how many clicks round 0 may draw (or a box and one fewer), chosen anew for each batch.
        pixel_loss: what is summed with the dice loss, see `mask_loss`.
        mean, std: the normalisation of the pixels, 0 to 255.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        sam: Sam,
        rounds: int,
        clicks: Sequence[int],
        pixel_loss: PixelLoss,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.sam, self.rounds, self.clicks, self.pixel_loss = sam, rounds, clicks, pixel_loss
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, batch: Batch, seed: int) -> dict[str, Tensor]:
        """batch: image (B, 3, S, S) uint8, masks (B, N, S/4, S/4) uint8, boxes (B, N, 4).

        Returns `loss` to step on, and its parts, detached: `mask_loss`, `iou_loss`, `iou`, mean over rounds.
        """
        generator = torch.Generator(batch["image"].device).manual_seed(seed)
        target = batch["masks"].float() / 255
        inside = target > 0.5
        clicks = self.clicks[seed % len(self.clicks)]
        points, labels = first_prompts(inside, batch["boxes"], self.sam.image_size, clicks, generator)
        embedding = self.sam.encode((batch["image"] - self.mean) / self.std)
        ambiguous = (labels >= 0).sum(-1) == 1  # one real point, and no box: a box is two
        mask_input, parts = None, []
        for i in range(self.rounds):
            logits, iou = self.sam.decode(embedding, points, labels, mask_input)
            answer = judge(logits.float(), iou.float(), target, ambiguous, self.pixel_loss)
            parts.append(answer)
            if i + 1 < self.rounds:
                mask_input = answer.pop("logits").detach()
                point, label = correction(mask_input > 0, inside, generator)
                points, labels = torch.cat([points, point], 2), torch.cat([labels, label], 2)
                ambiguous = torch.zeros_like(ambiguous)
        mean = {
            name: torch.stack([p[name] for p in parts]).mean() for name in ("mask_loss", "iou_loss", "iou")
        }
        return {"loss": mean["mask_loss"] + mean["iou_loss"], **{k: v.detach() for k, v in mean.items()}}


def judge(
    logits: Tensor, iou: Tensor, target: Tensor, ambiguous: Tensor, pixel_loss: PixelLoss = "focal"
) -> dict[str, Tensor]:
    """The losses of a round: mask 0 and, for an ambiguous prompt, as much for the best of masks 1 to 3.

    logits (B, N, 4, h, w), iou (B, N, 4), target (B, N, h, w), ambiguous (B, N) bool.
    Returns scalars, and `logits` (B, N, h, w): what the user would have been shown.
    """
    every = target[:, :, None].expand_as(logits)
    losses = mask_loss(logits, every, pixel_loss)
    with torch.no_grad():
        true_iou = mask_iou(logits, every)
        shown = torch.where(ambiguous, iou.argmax(-1), 0)[..., None]
    best_of_three = losses[..., 1:].amin(-1)
    lesson = torch.where(ambiguous, (losses[..., 0] + best_of_three) / 2, losses[..., 0])
    wrong = (iou - true_iou) ** 2
    iou_error = torch.where(ambiguous, wrong.mean(-1), wrong[..., 0])
    seen = shown[..., None, None].expand(-1, -1, 1, *logits.shape[-2:])
    return {
        "mask_loss": lesson.mean(),
        "iou_loss": iou_error.mean(),
        "iou": true_iou.gather(-1, shown).mean(),
        "logits": logits.gather(2, seen)[:, :, 0],
    }

"""Training on masks (SAM, arXiv 2304.02643, appendix A): prompts in, losses out.

Round 0 draws the prompts; each later round adds a click where the model was wrong and feeds its own logits back.
A lone click is ambiguous: of its three masks only the best is taught (section 3, "Resolving ambiguity").
Mask 0, the single answer, is taught for every prompt, so that a small model has one to give when it cannot tell.

The masks are people's or what a teacher finds at clicks anywhere. With encoder and decoder learning
together this is MobileSAM's coupled distillation (arXiv 2306.14289, section 3.2); with the teacher's decoder, frozen,
it is the semi-coupled one: the encoder learns from the masks alone, through a decoder that stands still.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pocketsam.models.layers import Normalise
from pocketsam.models.sam import Sam
from pocketsam.training.losses import PixelLoss, mask_iou, mask_loss
from pocketsam.training.sampling import (
    Dice,
    boxes_around,
    click_anywhere,
    correction,
    first_prompts,
    pad_points,
)
from pocketsam.training.teacher import Batch, Teacher


class Supervise(nn.Module):
    """The loss of one batch. A module, so that a wrapper for several devices sees one forward call.

    Args:
        sam: the model in training.
        normalise: of its pixels.
        rounds: prompts an object; the first, then corrections.
        clicks: how many clicks round 0 may draw (or a box and one fewer), chosen anew for each batch.
        pixel_loss: what is summed with the dice loss, see `mask_loss`.
        pad_points_to: how many tokens a prompt has at least.
        teacher: whose answers are the true masks; without one they come with the batch.
        objects: masks an image, where it is the teacher that finds them.
    """

    def __init__(
        self,
        sam: Sam,
        normalise: Normalise,
        rounds: int,
        clicks: Sequence[int],
        pixel_loss: PixelLoss,
        pad_points_to: int = 0,
        teacher: Teacher | None = None,
        objects: int = 8,
    ) -> None:
        super().__init__()
        self.sam, self.normalise, self.teacher = sam, normalise, teacher
        self.rounds, self.clicks, self.pixel_loss, self.objects = rounds, clicks, pixel_loss, objects
        self.pad_points_to = pad_points_to

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """batch: image (B, 3, S, S) uint8, seed (B,); masks (B, N, S/4, S/4) uint8 and boxes (B, N, 4) or, with a
        teacher, extent (B, 2) and its embedding or image.

        Returns `loss` to step on, and its parts, detached: `mask_loss`, `iou_loss`, `iou`, mean over rounds.
        """
        dice = Dice(batch["seed"].tolist(), batch["image"].device)
        points, labels, target = self._first(batch, self.clicks[step % len(self.clicks)], dice)
        inside = target > 0.5
        embedding = self.sam.encode(self.normalise(batch["image"]))
        ambiguous = (labels >= 0).sum(-1) == 1  # one real point, and no box: a box is two
        mask_input, parts = None, []
        for i in range(self.rounds):
            prompts = pad_points(points, labels, self.pad_points_to)
            logits, iou = self.sam.decode(embedding, *prompts, mask_input)
            answer = judge(logits.float(), iou.float(), target, ambiguous, self.pixel_loss)
            parts.append(answer)
            if i + 1 < self.rounds:
                mask_input = answer.pop("logits").detach()
                point, label = correction(mask_input > 0, inside, dice)
                points, labels = torch.cat([points, point], 2), torch.cat([labels, label], 2)
                ambiguous = torch.zeros_like(ambiguous)
        mean = {
            name: torch.stack([p[name] for p in parts]).mean() for name in ("mask_loss", "iou_loss", "iou")
        }
        return {"loss": mean["mask_loss"] + mean["iou_loss"], **{k: v.detach() for k, v in mean.items()}}

    def _first(self, batch: Batch, clicks: int, dice: Dice) -> tuple[Tensor, Tensor, Tensor]:
        """The first prompts, and the masks (B, N, S/4, S/4), float, that they ask for."""
        if self.teacher is None:
            target, boxes = batch["masks"].float() / 255, batch["boxes"]
        else:
            target = self._found_by_teacher(batch, self.teacher, dice)
            boxes = boxes_around(target > 0.5)
        return *first_prompts(target > 0.5, boxes, self.sam.image_size, clicks, dice), target

    def _found_by_teacher(self, batch: Batch, teacher: Teacher, dice: Dice) -> Tensor:
        """What the teacher is most confident of at clicks anywhere: so SA-1B's masks were found."""
        points, labels = click_anywhere(batch["extent"], self.objects, dice)
        logits, iou, _ = teacher.decode(teacher.embed(batch), points, labels, self.sam)
        answers = torch.tensor(teacher.config.click_masks, device=iou.device)
        return (take(logits, answers[iou[..., answers].argmax(-1)]) > 0).float()


def judge(
    logits: Tensor, iou: Tensor, target: Tensor, ambiguous: Tensor, pixel_loss: PixelLoss = "focal"
) -> dict[str, Tensor]:
    """The losses of a round.

    logits (B, N, 4, h, w), iou (B, N, 4), target (B, N, h, w), ambiguous (B, N) bool.
    Returns scalars, and `logits` (B, N, h, w): what the user would have been shown.
    """
    every = target[:, :, None].expand_as(logits)
    with torch.no_grad():
        true_iou = mask_iou(logits, every)
        seen = shown(iou, ambiguous)
    wrong = (iou - true_iou) ** 2
    return {
        "mask_loss": lesson(mask_loss(logits, every, pixel_loss), ambiguous).mean(),
        "iou_loss": torch.where(ambiguous, wrong.mean(-1), wrong[..., 0]).mean(),
        "iou": true_iou.gather(-1, seen[..., None]).mean(),
        "logits": take(logits, seen),
    }


def lesson(losses: Tensor, ambiguous: Tensor) -> Tensor:
    """What four masks with these losses (B, N, 4) teach: mask 0 and, where ambiguous, as much the best other one."""
    best_of_three = losses[..., 1:].amin(-1)
    return torch.where(ambiguous, (losses[..., 0] + best_of_three) / 2, losses[..., 0])


def shown(iou: Tensor, ambiguous: Tensor) -> Tensor:
    """Which of four masks with these predicted IoU (B, N, 4) a user would be shown: (B, N)."""
    return torch.where(ambiguous, iou.argmax(-1), 0)


def take(masks: Tensor, which: Tensor) -> Tensor:
    """One mask an object: (B, N, 4, h, w), (B, N) -> (B, N, h, w)."""
    index = which[..., None, None, None].expand(-1, -1, 1, *masks.shape[-2:])
    return masks.gather(2, index)[:, :, 0]

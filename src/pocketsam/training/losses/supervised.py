"""Training on masks (SAM, arXiv 2304.02643, appendix A): prompts in, losses out.

Round 0 draws the prompts; each later round adds a click where the model was wrong and feeds its own logits back.
A single click is ambiguous: of its three masks only the best is supervised (section 3, "Resolving ambiguity").
Mask 0, the single answer, is supervised for every prompt, so that a small model has one to give when it cannot tell.

The masks are the ground truth or what a teacher finds at clicks anywhere. With encoder and decoder learning
together this is MobileSAM's coupled distillation (arXiv 2306.14289, section 3.2); with the teacher's decoder, frozen,
it is the semi-coupled one: the encoder learns from the masks alone, through a decoder that is frozen.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pocketsam.config import PADDING
from pocketsam.models.layers import Normalise
from pocketsam.models.sam import Sam
from pocketsam.training.config import PixelLoss
from pocketsam.training.losses.functions import click_loss, mask_iou, mask_loss
from pocketsam.training.prompts import (
    SampleRNG,
    boxes_around,
    click_anywhere,
    correction,
    first_prompts,
    pad_points,
)
from pocketsam.training.teacher import Batch, Teacher


class Supervised(nn.Module):
    """The loss of one batch. A module, so that a wrapper for several devices sees one forward call.

    Args:
        sam: the model in training.
        normalise: of its pixels.
        rounds: prompts an object; the first, then corrections.
        clicks: how many clicks round 0 may draw (or a box and one fewer), chosen anew for each batch.
        centre_clicks: how often a click is drawn near the middle of its region.
        pixel_loss: what is summed with the dice loss, see `mask_loss`.
        pad_points_to: how many tokens a prompt has at least.
        teacher: whose masks are the targets; without one they come with the batch.
        objects: masks an image, where it is the teacher that finds them.
        mask_feedback: how often a correction has the former logits as its mask input.
        lone_corrections: how often such a correction comes alone, without the prompts that led to the mask.
        centre_corrections: how often a correction is drawn near the middle of a wrong region; by default as
            `centre_clicks` says.
        click_weight: of the loss at the clicks alone.
        always_multimask: whether every prompt is taken as ambiguous, as EfficientSAM takes it.
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
        centre_clicks: float = 0.0,
        mask_feedback: float = 1.0,
        lone_corrections: float = 0.0,
        centre_corrections: float | None = None,
        click_weight: float = 0.0,
        always_multimask: bool = False,
    ) -> None:
        super().__init__()
        self.sam, self.normalise, self.teacher = sam, normalise, teacher
        self.rounds, self.clicks, self.pixel_loss, self.objects = rounds, clicks, pixel_loss, objects
        self.pad_points_to, self.centre_clicks = pad_points_to, centre_clicks
        self.mask_feedback, self.lone_corrections = mask_feedback, lone_corrections
        self.centre_corrections = centre_clicks if centre_corrections is None else centre_corrections
        self.click_weight, self.always_multimask = click_weight, always_multimask

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """batch: image (B, 3, S, S) uint8, seed (B,); masks (B, N, S/4, S/4) uint8 and boxes (B, N, 4) or, with a
        teacher, extent (B, 2) and its embedding or image.

        Returns `loss` to step on, and its parts, detached: `mask_loss`, `iou_loss`, `click_loss` where it counts,
        and `iou`, mean over rounds.
        """
        rng = SampleRNG(batch["seed"].tolist(), batch["image"].device)
        points, labels, target = self._first(batch, self.clicks[step % len(self.clicks)], rng)
        inside = target > 0.5
        embedding = self.sam.encode(self.normalise(batch["image"]))
        one_point = (labels >= 0).sum(-1) == 1  # and no box: a box is two
        ambiguous = torch.full_like(one_point, True) if self.always_multimask else one_point
        mask_input, has_mask, parts = None, None, []
        for i in range(self.rounds):
            prompts = pad_points(points, labels, self.pad_points_to)
            logits, iou = self.sam.decode(embedding, *prompts, mask_input, has_mask)
            losses, chosen = round_losses(logits.float(), iou.float(), target, ambiguous, self.pixel_loss)
            if self.click_weight:
                losses["click_loss"] = click_loss(chosen, points, labels, self.sam.image_size)
            parts.append(losses)
            if i + 1 < self.rounds:
                mask_input = chosen.detach()
                if self.mask_feedback < 1:
                    has_mask = (rng.uniform(mask_input.shape[1]) < self.mask_feedback).float()
                point, label = correction(mask_input > 0, inside, rng, self.centre_corrections)
                labels = self._forget(labels, has_mask, rng)
                points, labels = torch.cat([points, point], 2), torch.cat([labels, label], 2)
                ambiguous = torch.full_like(ambiguous, self.always_multimask)
        mean = {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        loss = mean["mask_loss"] + mean["iou_loss"]
        if self.click_weight:
            loss = loss + self.click_weight * mean["click_loss"]
        return {"loss": loss, **{k: v.detach() for k, v in mean.items()}}

    def _forget(self, labels: Tensor, has_mask: Tensor | None, rng: SampleRNG) -> Tensor:
        """The labels (B, N, P) of former prompts, without those that the mask input stands for."""
        if not self.lone_corrections:
            return labels
        alone = rng.uniform(labels.shape[1]) < self.lone_corrections
        alone = alone if has_mask is None else alone & (has_mask > 0)
        return torch.where(alone[..., None], PADDING, labels)

    def _first(self, batch: Batch, clicks: int, rng: SampleRNG) -> tuple[Tensor, Tensor, Tensor]:
        """The first prompts, and their target masks (B, N, S/4, S/4), float."""
        if self.teacher is None:
            target, boxes = batch["masks"].float() / 255, batch["boxes"]
        else:
            target = self._found_by_teacher(batch, self.teacher, rng)
            boxes = boxes_around(target > 0.5)
        inside, size = target > 0.5, self.sam.image_size
        return *first_prompts(inside, boxes, size, clicks, rng, self.centre_clicks), target

    def _found_by_teacher(self, batch: Batch, teacher: Teacher, rng: SampleRNG) -> Tensor:
        """What the teacher is most confident of at clicks anywhere: so SA-1B's masks were found."""
        points, labels = click_anywhere(batch["extent"], self.objects, rng)
        logits, iou, _ = teacher.decode(teacher.embed(batch), points, labels, self.sam)
        masks = torch.tensor(teacher.config.click_masks, device=iou.device)
        return (gather_masks(logits, masks[iou[..., masks].argmax(-1)]) > 0).float()


def round_losses(
    logits: Tensor, iou: Tensor, target: Tensor, ambiguous: Tensor, pixel_loss: PixelLoss = "focal"
) -> tuple[dict[str, Tensor], Tensor]:
    """The losses of a round, and the masks that a user would be shown.

    logits (B, N, 4, h, w), iou (B, N, 4), target (B, N, h, w), ambiguous (B, N) bool.
    Returns the scalars `mask_loss`, `iou_loss` and `iou`, and logits (B, N, h, w).
    """
    targets = target[:, :, None].expand_as(logits)
    with torch.no_grad():
        true_iou = mask_iou(logits, targets)
        chosen = select_mask(iou, ambiguous)
    squared_error = (iou - true_iou) ** 2
    losses = {
        "mask_loss": multimask_loss(mask_loss(logits, targets, pixel_loss), ambiguous).mean(),
        "iou_loss": torch.where(ambiguous, squared_error.mean(-1), squared_error[..., 0]).mean(),
        "iou": true_iou.gather(-1, chosen[..., None]).mean(),
    }
    return losses, gather_masks(logits, chosen)


def multimask_loss(losses: Tensor, ambiguous: Tensor) -> Tensor:
    """The loss of an object from those of its four masks (B, N, 4) -> (B, N).

    Mask 0's and, where the prompt is ambiguous, the mean of that and of the best of the other three.
    """
    best_of_three = losses[..., 1:].amin(-1)
    return torch.where(ambiguous, (losses[..., 0] + best_of_three) / 2, losses[..., 0])


def select_mask(iou: Tensor, ambiguous: Tensor) -> Tensor:
    """Which of four masks with these predicted IoU (B, N, 4) a user would be shown: (B, N)."""
    return torch.where(ambiguous, iou.argmax(-1), 0)


def gather_masks(masks: Tensor, which: Tensor) -> Tensor:
    """One mask an object: (B, N, 4, h, w), (B, N) -> (B, N, h, w)."""
    index = which[..., None, None, None].expand(-1, -1, 1, *masks.shape[-2:])
    return masks.gather(2, index)[:, :, 0]

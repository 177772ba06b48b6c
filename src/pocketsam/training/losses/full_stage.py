"""Full-stage distillation with hard mining (TinySAM, arXiv 2312.13789, sections 3.1 and 3.2).

The student learns from every stage of its teacher at once: image embeddings, the decoder's output tokens, mask
logits. It learns most where it is worst: masks that the teacher gets and the student does not weigh more (hard mask
weighting), and clicks fall where the student's own mask missed the object (hard prompt sampling).
"""

from random import Random

import torch
from torch import Tensor, nn

from pocketsam.config import BOX_END
from pocketsam.models.layers import Normalise
from pocketsam.models.sam import Sam
from pocketsam.training.config import PixelLoss, Stages
from pocketsam.training.losses.functions import (
    embedding_distance,
    hard_mask_weights,
    iou_distance,
    mask_distance,
    mask_iou,
    mask_loss,
    token_distance,
)
from pocketsam.training.losses.supervised import gather_masks, multimask_loss, select_mask
from pocketsam.training.prompts import SampleRNG, click_in, first_prompts, pad_points
from pocketsam.training.teacher import Batch, Teacher, resample, shared_channels


class FullStage(nn.Module):
    """The loss of one batch. The encoder and the mask decoder learn; the prompt encoder stays the teacher's."""

    def __init__(
        self, sam: Sam, teacher: Teacher, stages: Stages, pixel_loss: PixelLoss, centre_clicks: float = 0.0
    ) -> None:
        super().__init__()
        self.sam, self.teacher, self.stages = sam, teacher, stages
        self.pixel_loss, self.centre_clicks = pixel_loss, centre_clicks
        self.normalise = Normalise(teacher.config.mean, teacher.config.std)
        sam.prompt_encoder.requires_grad_(False)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """batch: image (B, 3, S, S) uint8, masks (B, N, S/4, S/4) uint8, boxes (B, N, 4), seed (B,), and the
        teacher's embedding or image.

        Returns `loss` to step on, and its parts, detached.
        """
        target = batch["masks"].float() / 255
        embedding = self.teacher.embed(batch)
        learned = self.sam.encode(self.normalise(batch["image"]))
        points, labels = self._prompts(learned.detach(), target > 0.5, batch, step)
        ours = [part.float() for part in self.sam.decode_with_tokens(learned, *self._padded(points, labels))]
        theirs = self.teacher.decode(embedding, points, labels, self.sam)
        parts = self._distances(
            learned.float(), resample(embedding, self.sam.embedding_side), ours, theirs, target
        )
        parts |= self._on_ground_truth(ours[0], ours[1], target, labels)
        weights = {
            "embedding_loss": self.stages.embedding,
            "token_loss": self.stages.tokens,
            "output_loss": self.stages.masks,
            "mask_loss": self.stages.ground_truth,
            "iou_loss": self.stages.ground_truth,
        }
        loss = torch.stack([weight * parts[name] for name, weight in weights.items() if weight]).sum()
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def _distances(
        self,
        learned: Tensor,
        embedding: Tensor,
        ours: list[Tensor],
        theirs: tuple[Tensor, Tensor, Tensor],
        target: Tensor,
    ) -> dict[str, Tensor]:
        """L_embedding, L_token and Σ H_i L_output,i."""
        every = target[:, :, None].expand_as(ours[0])
        weights = torch.ones_like(ours[1])
        if self.stages.hard_masks:
            weights = hard_mask_weights(mask_iou(theirs[0], every), mask_iou(ours[0], every))
        return {
            "embedding_loss": embedding_distance(*shared_channels(learned, embedding)),
            "token_loss": token_distance(ours[2], theirs[2]),
            "output_loss": (weights * mask_distance(ours[0], theirs[0])).mean(),
        }

    def _on_ground_truth(
        self, logits: Tensor, iou: Tensor, target: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """L_mask, L_ious, and the IoU of the masks that a user would be shown."""
        every = target[:, :, None].expand_as(logits)
        ambiguous = _is_click(labels)
        true_iou = mask_iou(logits, every)
        chosen = select_mask(iou, ambiguous)
        return {
            "mask_loss": multimask_loss(mask_loss(logits, every, self.pixel_loss), ambiguous).mean(),
            "iou_loss": iou_distance(iou, true_iou),
            "iou": true_iou.gather(-1, chosen[..., None]).mean(),
        }

    def _padded(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return pad_points(points, labels, self.teacher.config.pad_points_to)

    @torch.no_grad()
    def _prompts(self, embedding: Tensor, inside: Tensor, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Hard prompt sampling: P_0 inside M_GT, P_{i+1} in M_GT − M_i; the prompts of a random round i.

        Every other object is prompted by its box, which stays: the paper's students see points alone, ours see boxes
        as well.
        """
        rng = SampleRNG(batch["seed"].tolist(), inside.device)
        points, labels = first_prompts(
            inside, batch["boxes"], self.sam.image_size, 1, rng, self.centre_clicks
        )
        is_click = _is_click(labels)
        for _ in range(Random(step).randint(0, self.stages.hard_prompts)):
            with _no_cache(embedding.device.type):
                logits, iou = self.sam.decode(embedding, *self._padded(points, labels))
            missed = inside & ~(gather_masks(logits, select_mask(iou, is_click)) > 0)
            anything = missed.flatten(-2).any(-1)[..., None, None]
            click = click_in(torch.where(anything, missed, inside), rng, self.centre_clicks)
            points[:, :, 0] = torch.where(is_click[..., None], click, points[:, :, 0])
        return points, labels


def _no_cache(device: str) -> torch.autocast:
    """Mixed precision keeps the weights that it has cast; cast here, without gradients, they would stay without."""
    on = torch.is_autocast_enabled(device)
    return torch.autocast(device, torch.get_autocast_dtype(device), enabled=on, cache_enabled=False)


def _is_click(labels: Tensor) -> Tensor:
    """Which prompts are a single click, (B, N) bool; the others end in a box's corner."""
    return labels[..., -1] != BOX_END

"""The teacher: a large model that is frozen, and what a student of another size can learn from it.

Its image embeddings come from a store, where they lie since its encoder ran over the photos once, or from the encoder
in the loop. Its decoder is small and always here: the student gets a copy of it, and learns from its predictions.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.config import ModelConfig
from pocketsam.embeddings.store import EmbeddingStore
from pocketsam.embeddings.teacher import locate_teacher
from pocketsam.models.checkpoints import load_model
from pocketsam.models.layers import Normalise
from pocketsam.models.sam import Sam
from pocketsam.training.prompts import pad_points

Batch = dict[str, Tensor]


class Teacher(nn.Module):
    """A frozen `Sam`; it never trains, whatever the module around it does.

    in_the_loop: whether its encoder is needed; else the embeddings come with the batch.
    """

    def __init__(self, sam: Sam, config: ModelConfig, in_the_loop: bool) -> None:
        super().__init__()
        self.sam, self.config = sam.requires_grad_(False).eval(), config
        self.normalise = Normalise(config.mean, config.std)
        if not in_the_loop:
            self.sam.image_encoder = nn.Identity()  # type: ignore[assignment]  # of no use, and most of the weights

    def train(self, mode: bool = True) -> "Teacher":
        """Stays as it is: its batch normalisation must not follow the student's photos."""
        return super().train(False)

    @torch.no_grad()
    def embed(self, batch: Batch) -> Tensor:
        """The image embeddings (B, 256, g, g): those in the batch, or those of its `teacher_image`."""
        if "embedding" in batch:
            return batch["embedding"].float()
        return self.sam.encode(self.normalise(batch["teacher_image"])).float()

    @torch.no_grad()
    def decode(
        self, embedding: Tensor, points: Tensor, labels: Tensor, student: Sam
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The predictions for a student's prompts, in the student's pixels and on its mask grid.

        points (B, N, P, 2) in the student's pixels, labels (B, N, P) -> logits (B, N, 4, 4g, 4g), predicted IoU
        (B, N, 4), output tokens (B, N, 5, 256).
        """
        scale = self.sam.image_size / student.image_size
        ours = (points + 0.5) * scale - 0.5  # the prompt encoder adds the half pixel back
        prompts = pad_points(ours, labels, self.config.pad_points_to)
        logits, iou, tokens = self.sam.decode_with_tokens(embedding, *prompts)
        side = 4 * student.embedding_side
        return resample(logits.float(), side), iou.float(), tokens.float()


def resample(maps: Tensor, side: int) -> Tensor:
    """Square maps (…, g, g) on a grid of another side: averaged to a smaller one, interpolated to a larger one.

    This is the adapter between a teacher's and a student's resolution: SAM's decoder takes any grid, so the student
    keeps its own grid, and the target is brought to it.
    """
    if maps.shape[-1] == side:
        return maps
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    found = F.interpolate(flat, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return found.view(*maps.shape[:-2], side, side)


def shared_channels(learned: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The channels that two image embeddings (B, C, g, g) have in common.

    SAM's 256 come first; the finer maps that some encoders put beside them are learned from masks alone.
    """
    channels = min(learned.shape[1], target.shape[1])
    return learned[:, :channels], target[:, :channels]


def load_teacher(model: str, embeddings: str | None = None) -> Teacher:
    """The teacher of a recipe: a model's name, folder or checkpoint; its encoder where no embeddings are stored.

    Raises ModelError when it cannot be used, DataError when the stored embeddings are of another teacher.
    """
    path, config = locate_teacher(model)
    teacher = Teacher(*load_model(path, config), in_the_loop=not embeddings)
    if embeddings:
        EmbeddingStore(embeddings).check(teacher.config)
    return teacher


def copy_decoder(teacher: Teacher, student: Sam) -> None:
    """Give a student the teacher's prompt encoder and mask decoder, which must be of the same kind."""
    for part in ("prompt_encoder", "mask_decoder"):
        theirs = cast(nn.Module, getattr(teacher.sam, part))
        cast(nn.Module, getattr(student, part)).load_state_dict(theirs.state_dict())

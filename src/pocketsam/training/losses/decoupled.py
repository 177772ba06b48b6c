"""Decoupled distillation (MobileSAM, arXiv 2306.14289, section 3.2): the encoder alone learns, from embeddings alone.

Training a small encoder together with a decoder asks each to follow the other. Decoupled, the encoder has a target of
its own: the image embedding that the teacher's encoder gives. No prompt is drawn and no mask decoded, which makes a
step several times cheaper; the student then predicts masks with the teacher's own decoder, unchanged.
"""

from torch import Tensor, nn

from pocketsam.models.layers import Normalise
from pocketsam.models.sam import Sam
from pocketsam.training.losses.functions import embedding_error
from pocketsam.training.teacher import Batch, Teacher, resample, shared_channels


class Decoupled(nn.Module):
    """The loss of one batch: the mean squared error between the student's and the teacher's image embeddings."""

    def __init__(self, sam: Sam, teacher: Teacher) -> None:
        super().__init__()
        self.sam, self.teacher = sam, teacher
        self.normalise = Normalise(teacher.config.mean, teacher.config.std)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """batch: image (B, 3, S, S) uint8, and the teacher's embedding or image, see `Teacher.embed`."""
        target = resample(self.teacher.embed(batch), self.sam.embedding_side)
        learned = self.sam.encode(self.normalise(batch["image"])).float()
        return {"loss": embedding_error(*shared_channels(learned, target))}

"""Decoupled distillation (MobileSAM, arXiv 2306.14289, section 3.2): the encoder alone learns, from embeddings alone.

Training a small encoder together with a decoder asks each to follow the other. Decoupled, the encoder has a target of
its own: the image embedding that the teacher's encoder gives. No prompt is drawn and no mask decoded, which makes a
step several times cheaper; the student then predicts masks with the teacher's own decoder, unchanged.
"""

from torch import Tensor, nn

from pocketsam.models.layers import Normalise
from pocketsam.models.sam import Sam
from pocketsam.training.config import DecoupledRecipe
from pocketsam.training.losses import embedding_error
from pocketsam.training.samples import Samples
from pocketsam.training.student import make_student
from pocketsam.training.task import Task, prompt_validator
from pocketsam.training.teacher import Batch, Teacher, load_teacher, resample, shared_channels


def build(recipe: DecoupledRecipe) -> Task:
    """See `tasks.build_task`."""
    teacher = load_teacher(recipe.teacher, recipe.embeddings)
    sam, config = make_student(recipe, teacher, decoder_is_frozen=True)
    samples = Samples(recipe, config.resize, 0, teacher.config, recipe.embeddings)
    return Task(sam, config, Decoupled(sam, teacher), samples, prompt_validator(recipe, config))


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

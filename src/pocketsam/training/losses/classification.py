"""The loss of image classification: cross-entropy with smoothed labels, of one photo or of two in one image."""

from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.heads.base import HeadModel
from pocketsam.models.layers import Normalise
from pocketsam.training.samples.stream import Item


class Classification(nn.Module):
    """The loss of one batch.

    smoothing: how much of a label is shared out evenly among all classes (arXiv 1512.00567, section 7).
    """

    def __init__(self, model: HeadModel, normalise: Normalise, smoothing: float) -> None:
        super().__init__()
        self.model, self.normalise, self.smoothing = model, normalise, smoothing

    def forward(self, batch: Item, step: int) -> dict[str, Tensor]:
        """batch: image (B, 3, S, S) uint8, labels (B, 2) int64, share (B,), see `ClassificationSamples`.

        Returns `loss`, and `accuracy` by the label of the larger share.
        """
        logits = self.model(self.normalise(batch["image"])).float()
        labels, share = batch["labels"], batch["share"]
        first, second = (
            F.cross_entropy(logits, labels[:, i], reduction="none", label_smoothing=self.smoothing)
            for i in range(2)
        )
        larger = labels[:, 0].where(share >= 0.5, labels[:, 1])
        loss = (share * first + (1 - share) * second).mean()
        return {"loss": loss, "accuracy": (logits.argmax(1) == larger).float().mean()}

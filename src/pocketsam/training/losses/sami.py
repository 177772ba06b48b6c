"""Masked image pretraining: SAMI (EfficientSAM, arXiv 2312.00863, section 3.2) and MAE (arXiv 2111.06377, section 3).

SAMI's target is a teacher's image embedding, at every patch; MAE's is the pixels of the masked patches, each patch
normalised by its own mean and deviation. Which patches are masked comes with the batch.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.encoders.sam_vit import PATCH
from pocketsam.models.layers import Normalise, take, to_patches
from pocketsam.models.masked import MaskedModel
from pocketsam.training.teacher import Batch


class MaskedPrediction(nn.Module, ABC):
    """The loss of one batch: how far the features of a partly visible image are from their target.

    visible: how many patches of an image the encoder sees.
    """

    def __init__(self, model: MaskedModel, normalise: Normalise, visible: int) -> None:
        super().__init__()
        self.model, self.normalise, self.visible = model, normalise, visible

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """batch: image (B, 3, S, S) uint8; order (B, L) int64, the numbers of its patches, the visible ones first."""
        pixels, order = self.normalise(batch["image"]), batch["order"]
        predicted = self.model(pixels, order, self.visible).float()
        return {"loss": self.compare(predicted, pixels, batch)}

    @abstractmethod
    def compare(self, predicted: Tensor, pixels: Tensor, batch: Batch) -> Tensor:
        """predicted (B, L, C), row by row; pixels (B, 3, S, S), normalised -> ()."""


class Sami(MaskedPrediction):
    """The teacher's embedding of every patch; it comes with the batch: target (B, C, g, g), g² = L."""

    def __init__(
        self, model: MaskedModel, normalise: Normalise, visible: int, by_angle: bool = False
    ) -> None:
        super().__init__(model, normalise, visible)
        self.by_angle = by_angle

    def compare(self, predicted: Tensor, pixels: Tensor, batch: Batch) -> Tensor:
        """See `MaskedPrediction.compare`."""
        target = batch["target"].float().flatten(2).transpose(1, 2)
        return feature_angle(predicted, target) if self.by_angle else feature_error(predicted, target)


class Mae(MaskedPrediction):
    """The pixels of the masked patches."""

    def compare(self, predicted: Tensor, pixels: Tensor, batch: Batch) -> Tensor:
        """See `MaskedPrediction.compare`."""
        masked = batch["order"][:, self.visible :]
        return feature_error(take(predicted, masked), take(normalised_patches(pixels), masked))


def feature_error(predicted: Tensor, target: Tensor) -> Tensor:
    """SAMI's loss (equation 2), of features (B, N, C) -> (): mean over images and tokens of ||target - predicted||².

    Divided by C, so that the learning curves of teachers of different widths can be compared.
    """
    return F.mse_loss(predicted, target)


def feature_angle(predicted: Tensor, target: Tensor) -> Tensor:
    """The ablation of SAMI's loss: mean over images and tokens of 1 - cosine, of features (B, N, C) -> ()."""
    return (1 - F.cosine_similarity(predicted, target, dim=2)).mean()


def normalised_patches(pixels: Tensor, epsilon: float = 1e-6) -> Tensor:
    """MAE's target: patches of pixels (B, 3, S, S), each by its own mean and deviation -> (B, L, 3 * 16²)."""
    patches = to_patches(pixels, PATCH)
    deviation = (patches.var(dim=2, keepdim=True) + epsilon).sqrt()
    return (patches - patches.mean(dim=2, keepdim=True)) / deviation

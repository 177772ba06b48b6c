"""Image classification: one linear map of the mean token, as masked-image pretraining is measured.

MAE (arXiv 2111.06377, appendix A.1), whose recipe EfficientSAM follows (arXiv 2312.00863, section 4.2): the mean of
the encoder's last feature map, a normalisation, and a linear classifier.
"""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from pocketsam.models.heads.base import EncoderShape


class Classifier(nn.Module):
    """Feature maps -> logits (B, K)."""

    def __init__(self, shape: EncoderShape, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape.widths[-1], eps=1e-6)
        self.linear = nn.Linear(shape.widths[-1], classes)
        nn.init.trunc_normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return cast(Tensor, self.linear(self.norm(maps[-1].mean((2, 3)))))

    def predict(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """`logits` (B, K)."""
        return {"logits": self(maps)}

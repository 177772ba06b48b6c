"""The cheapest encoder there is: every 16 x 16 patch through one linear map.

It sees no farther than a patch, which is enough for drawn shapes; the prompt encoder and the mask decoder learn
plain geometry on it (a box means its inside, a click its surroundings) at a fraction of a real encoder's cost.
"""

from typing import cast

from torch import Tensor, nn

from pocketsam.models.layers import LayerNorm2d, Shapes


class Patches(nn.Module):
    """Normalised pixels (B, 3, S, S) -> embedding (B, 256, S/16, S/16)."""

    embedding_channels = 256

    def __init__(self, channels: int = 256, patch: int = 16) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch, patch)
        self.norm = LayerNorm2d(channels)

    @classmethod
    def like(cls, shapes: Shapes) -> "Patches":
        """The encoder whose state dict has these shapes."""
        return cls()  # there is but one

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.norm(self.proj(x)))

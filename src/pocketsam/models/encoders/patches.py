"""The cheapest encoder there is: every 16 x 16 patch through one linear map.

It sees no farther than a patch, which is enough for drawn shapes; the prompt encoder and the mask decoder learn
plain geometry on it (a box means its inside, a click its surroundings) at a fraction of a real encoder's cost.
"""

from torch import Tensor, nn

from pocketsam.models.encoders.base import ImageEncoder
from pocketsam.models.layers import LayerNorm2d, Shapes


class Patches(ImageEncoder):
    """Normalised pixels (B, 3, S, S) -> embedding (B, 256, S/16, S/16)."""

    def __init__(self, channels: int = 256, patch: int = 16) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch, patch)
        self.neck = LayerNorm2d(channels)

    @classmethod
    def matches(cls, shapes: Shapes) -> bool:
        """See `ImageEncoder.matches`."""
        return "proj.weight" in shapes

    @classmethod
    def like(cls, shapes: Shapes) -> "Patches":
        """See `ImageEncoder.like`."""
        return cls()  # there is but one

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """One map (B, 256, S/16, S/16)."""
        return [self.proj(x)]

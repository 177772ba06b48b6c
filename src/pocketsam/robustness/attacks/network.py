"""A model from the pixels of a photo to mask logits, so that gradients reach the pixels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from pocketsam.config import ModelConfig
from pocketsam.models.sam import Sam
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.prompts import Prompts


@dataclass(frozen=True)
class WhiteBox:
    """A network whose gradients can be computed, and the model that it is."""

    sam: Sam
    config: ModelConfig

    def preprocess(self, pixels: Tensor) -> Tensor:
        """A photo (H, W, 3) from 0 to 255 to the encoder's input (1, 3, S, S): `predict.image.preprocess` on floats.

        It differs from that function only in that the resized photo is not rounded to whole grey levels.
        """
        size = self.config.image_size
        height, width = Geometry.of(self.config, *pixels.shape[:2]).resized
        resized = interpolate(
            pixels.permute(2, 0, 1)[None],
            size=(height, width),
            mode="bilinear",
            align_corners=False,
            antialias=self.config.resampling == "antialiased",
        )
        mean, std = (
            torch.tensor(values, dtype=pixels.dtype, device=pixels.device)[:, None, None]
            for values in (self.config.mean, self.config.std)
        )
        tensor = pixels.new_zeros((1, 3, size, size))
        tensor[..., :height, :width] = (resized - mean) / std
        return tensor

    def logits(self, pixels: Tensor, prompts: Prompts) -> Tensor:
        """The logits (N, K, h, w) of all K masks that each of N prompts may mean, where they lie in the photo.

        All of them, as the pixels also change which of them is the most confident.
        """
        geometry = Geometry.of(self.config, *pixels.shape[:2])
        points, labels = prompts.tokens(geometry, self.config.pad_points_to)
        weight = next(self.sam.parameters())  # what leaves the network comes back to the device of the pixels
        embedding = self.sam.encode(self.preprocess(pixels).to(weight.device, weight.dtype))
        tokens = (torch.from_numpy(values)[None].to(weight.device) for values in (points, labels))
        logits = self.sam.decode(embedding, *tokens)[0].to(pixels.device, pixels.dtype)
        ambiguous = bool(prompts.ambiguous.all())
        masks = self.config.click_masks if ambiguous else self.config.prompt_masks
        rows, columns = geometry.cells
        return logits[0][:, list(masks)][..., rows, columns]

    def to_cells(self, mask: NDArray[np.bool_]) -> Tensor:
        """A mask (H, W) of the photo on the grid of the logits, (h, w) bool."""
        geometry = Geometry.of(self.config, *mask.shape)
        rows, columns = geometry.cells
        return torch.from_numpy(geometry.mask_to_model(mask)[rows, columns] > 0)

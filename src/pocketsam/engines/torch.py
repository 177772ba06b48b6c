"""PyTorch as an engine: for weights still in training, and as the measure of every other engine."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.description import Description
from pocketsam.models.checkpoints import FILE_NAME, load_model
from pocketsam.models.sam import Sam


class TorchEngine:
    """An `Engine` on a `Sam` module, in float32 on the device where its weights are."""

    def __init__(self, sam: Sam, description: Description) -> None:
        self.sam = sam.eval()
        self.description = description
        self.device = next(sam.parameters()).device

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> "TorchEngine":
        """The model in `folder`/model.safetensors. Raises ModelError when it cannot be used."""
        if threads:
            torch.set_num_threads(threads)
        sam, description = load_model(folder / FILE_NAME)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(sam.to(device), description)

    @torch.inference_mode()
    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        return self._numpy(self.sam.encode(self._tensor(image)))

    @torch.inference_mode()
    def decode(
        self,
        embedding: NDArray[np.float32],
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        mask_input: NDArray[np.float32],
        has_mask: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Engine.decode`."""
        prompts = (points, labels, mask_input[:, 0], has_mask)
        logits, iou = self.sam.decode(self._tensor(embedding), *(self._tensor(p)[None] for p in prompts))
        return self._numpy(logits[0]), self._numpy(iou[0])

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _numpy(self, tensor: torch.Tensor) -> NDArray[np.float32]:
        return tensor.float().cpu().numpy()

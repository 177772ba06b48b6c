"""PyTorch as an engine: on graphics processors, in half precision, and as the measure of every other engine."""

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.description import Description
from pocketsam.errors import ModelError
from pocketsam.models.checkpoints import FILE_NAME, load_model
from pocketsam.models.sam import Sam


class TorchEngine:
    """An `Engine` on a `Sam` module, on the device where its weights are.

    precision: "float32", "bfloat16" or "float16", of weights and arithmetic; answers are float32 always. A module in
    another precision than asked for is left as it is, and a copy of it cast.
    compile: the first photo waits for `torch.compile`, and so do the first prompts on one object, on a few and on 16
    or more; all later ones gain.
    """

    def __init__(
        self, sam: Sam, description: Description, precision: str = "float32", compile: bool = False
    ) -> None:
        weights = next(sam.parameters())
        self.dtype: torch.dtype = getattr(torch, precision)
        self.device = weights.device
        self.description = description
        self.sam = (sam if weights.dtype == self.dtype else copy.deepcopy(sam).to(self.dtype)).eval()
        self._encode, self._decode = self.sam.encode, self.sam.decode
        self._compiled = compile
        if compile:
            self._encode, self._decode = torch.compile(self._encode), torch.compile(self._decode)

    @classmethod
    def load(
        cls,
        source: Path,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        compile: bool = False,
        description: Description | None = None,
    ) -> "TorchEngine":
        """The model in a checkpoint, or in `source`/model.safetensors.

        device: "cpu", "cuda", "cuda:1" and so on, or "mps"; "auto" is CUDA where there is a device, else the CPU.
        threads: how many CPU threads the whole process uses from now on, as PyTorch has it.
        Raises ModelError when the checkpoint or the device cannot be used.
        """
        chosen = find_device(device)
        if threads:
            torch.set_num_threads(threads)
        sam, found = load_model(source / FILE_NAME if source.is_dir() else source, description)
        return cls(sam.to(chosen, getattr(torch, precision)), found, precision, compile)

    @torch.inference_mode()
    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        return self._numpy(self._encode(self._tensor(image).to(self.dtype)))

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
        # Points stay float32: half precision would move them.
        clicks = self._tensor(points)[None], self._tensor(labels)[None]
        masks = self._tensor(mask_input[:, 0]).to(self.dtype)[None], self._tensor(has_mask)[None]
        if self._compiled:
            _vary(clicks, masks)
        logits, iou = self._decode(self._tensor(embedding).to(self.dtype), *clicks, *masks)
        return self._numpy(logits[0]), self._numpy(iou[0])

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _numpy(self, tensor: torch.Tensor) -> NDArray[np.float32]:
        return tensor.float().cpu().numpy()


def _vary(clicks: tuple[torch.Tensor, ...], masks: tuple[torch.Tensor, ...]) -> None:
    """Tell the compiler that the next call may bring another number of objects and points.

    Its own `dynamic=True` would take two points for the two coordinates of a point, and compile anew for three.
    """
    for tensor in clicks:
        torch._dynamo.maybe_mark_dynamic(tensor, (1, 2))
    for tensor in masks:
        torch._dynamo.maybe_mark_dynamic(tensor, 1)


def find_device(device: str) -> str:
    """The device to compute on. Raises ModelError when the one that is asked for is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (number or "0") not in map(str, range(available[kind])):
        raise ModelError(
            f"PyTorch finds no {device} device here; use device='cpu', or the PyTorch built for it"
        )
    return device

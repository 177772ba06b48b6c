"""PyTorch as an engine: on graphics processors, in half precision, and as the measure of every other engine."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.engines import Prediction
from pocketsam.errors import ModelError
from pocketsam.models.checkpoints import FILE_NAME, load_model
from pocketsam.models.factored import FactoredDecoder, PreparedImage
from pocketsam.models.sam import Sam


class TorchEngine:
    """An `Engine` on a `Sam` module, on the device where its weights are.

    precision: "float32", "bfloat16" or "float16", of weights and arithmetic; answers are float32 always. A module in
    another precision than asked for is left as it is, and a copy of it cast.
    compile: the first photo waits for `torch.compile`, and so do the first prompts on one object, on a few and on 16
    or more; all later ones gain.
    """

    def __init__(
        self, sam: Sam, config: ModelConfig, precision: str = "float32", compile: bool = False
    ) -> None:
        weights = next(sam.parameters())
        self.dtype: torch.dtype = getattr(torch, precision)
        self.device = weights.device
        self.config = config
        self.sam = (sam if weights.dtype == self.dtype else copy.deepcopy(sam).to(self.dtype)).eval()
        decoder = FactoredDecoder(self.sam)
        self._encode, self._prepare = self.sam.encode, decoder.prepare
        self._predict_iou, self._decode_masks = decoder.predict_iou, decoder.decode_masks
        # What a tile of prompts needs stays in the processor's cache; a graphics processor wants many at a time.
        self._tile = 4 if self.device.type == "cpu" else 64
        self._compiled = compile
        if compile:
            self._encode, self._prepare = torch.compile(self._encode), torch.compile(self._prepare)
            self._predict_iou, self._decode_masks = (
                torch.compile(self._predict_iou),
                torch.compile(self._decode_masks),
            )

    @classmethod
    def load(
        cls,
        source: Path,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        compile: bool = False,
        config: ModelConfig | None = None,
    ) -> "TorchEngine":
        """The model in a checkpoint, or in `source`/model.safetensors.

        device: "cpu", "cuda", "cuda:1" and so on, or "mps"; "auto" is CUDA where there is a device, else the CPU.
        threads: how many CPU threads the whole process uses from now on, as PyTorch has it.
        Raises ModelError when the checkpoint or the device cannot be used.
        """
        chosen = find_device(device)
        if threads:
            torch.set_num_threads(threads)
        sam, found = load_model(source / FILE_NAME if source.is_dir() else source, config)
        return cls(sam.to(chosen, getattr(torch, precision)), found, precision, compile)

    @torch.inference_mode()
    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        return self._numpy(self._encode(self._tensor(image).to(self.dtype)))

    @torch.inference_mode()
    def prepare(
        self, embedding: NDArray[np.float32], mask_input: NDArray[np.float32] | None = None
    ) -> PreparedImage:
        """See `Engine.prepare`."""
        mask = None if mask_input is None else self._tensor(mask_input).to(self.dtype)
        return self._prepare(self._tensor(embedding).to(self.dtype), mask)

    @torch.inference_mode()
    def predict_iou(
        self, prepared: PreparedImage, points: NDArray[np.float32], labels: NDArray[np.int32]
    ) -> Prediction:
        """See `Engine.predict_iou`."""
        # Points stay float32: half precision would move them.
        clicks = self._tensor(points), self._tensor(labels)
        parts = []
        for start in range(0, max(1, len(points)), self._tile):  # once even for no prompt: shapes stay right
            tile = [values[start : start + self._tile] for values in clicks]
            if self._compiled:
                _vary(*tile)
            parts.append(self._predict_iou(prepared, *tile))
        joined = [torch.cat(part) for part in zip(*parts, strict=True)]
        return Prediction(
            self._numpy(joined[0]), ((prepared.upscaled, prepared.finer8, prepared.finer4), joined[1:])
        )

    @torch.inference_mode()
    def decode_masks(
        self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """See `Engine.decode_masks`."""
        of_image, to_draw = prediction.mask_inputs
        chosen = torch.as_tensor(np.asarray(objects, np.int64), device=self.device)
        side = self.config.mask_size
        logits = np.empty((len(chosen), 4, side, side), np.float32)
        for start in range(0, len(chosen), self._tile):
            tile = slice(start, start + self._tile)
            values = [part[chosen[tile]] for part in to_draw]
            if self._compiled:
                _vary(*values)
            logits[tile] = self._numpy(self._decode_masks(*of_image, *values))
        return logits

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _numpy(self, tensor: torch.Tensor) -> NDArray[np.float32]:
        return tensor.float().cpu().numpy()


def _vary(*tensors: torch.Tensor) -> None:
    """Tell the compiler that the next call may bring another number of prompts, and of points or channels.

    Its own `dynamic=True` would take two points for the two coordinates of a point, and compile anew for three.
    """
    for tensor in tensors:
        torch._dynamo.maybe_mark_dynamic(tensor, (0, 1))


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

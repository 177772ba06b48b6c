"""PyTorch as an engine: on graphics processors, in half precision, and as the measure of every other engine."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.engines.base import EngineInfo, EngineOptions, Prediction, cores
from pocketsam.engines.source import needs_weights, weights_file
from pocketsam.errors import ModelError
from pocketsam.models.checkpoints import load_model
from pocketsam.models.factored import FactoredDecoder, MaskInputs, PreparedImage
from pocketsam.models.sam import Sam

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(source: Path, options: EngineOptions) -> "TorchEngine":
    """See `open_engine`."""
    return TorchEngine.load(
        source, options.device, options.precision, options.threads, options.compile, options.config
    )


class TorchEngine:
    """An `Engine` on a `Sam` module, on the device where its weights are.

    precision: "float32", "bfloat16" or "float16", of weights and arithmetic; outputs are float32 always. A module in
    another precision is left as it is, and a copy of it cast.
    compile: the first image waits for `torch.compile`, and so do the first prompts on one object, on a few and on 16
    or more; all later ones gain.
    threads: how many CPU threads each call uses; as many as PyTorch is set to when not given.
    """

    def __init__(
        self,
        sam: Sam,
        config: ModelConfig,
        precision: str = "float32",
        compile: bool = False,
        threads: int | None = None,
    ) -> None:
        weights = next(sam.parameters())
        self.dtype, self.device, self.config = DTYPES[precision], weights.device, config
        self.sam = (sam if weights.dtype == self.dtype else copy.deepcopy(sam).to(self.dtype)).eval()
        on_cpu = self.device.type == "cpu"
        # What a tile of prompts needs stays in the processor's cache; a graphics processor wants many at a time.
        tile = 4 if on_cpu else 64
        own_threads = threads or (torch.get_num_threads() if on_cpu else cores())
        # Not thread-safe where the number of threads is set around each call: PyTorch has one for the whole process.
        self.info = EngineInfo("torch", str(self.device), precision, own_threads, threads is None, tile)
        self._threads, self._tile, self._compiled = threads, tile, compile
        decoder = FactoredDecoder(self.sam)
        self._encode, self._prepare = self.sam.encode, decoder.prepare
        self._predict_iou, self._decode_masks = decoder.predict_iou, decoder.decode_masks
        if compile:
            self._encode, self._prepare = torch.compile(self._encode), torch.compile(self._prepare)
            self._predict_iou = torch.compile(self._predict_iou)
            self._decode_masks = torch.compile(self._decode_masks)

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
        Raises ModelError when the checkpoint or the device cannot be used.
        """
        weights = weights_file(source)
        if weights is None:
            raise ModelError(needs_weights(source, "torch"))
        chosen = find_device(device)
        sam, found = load_model(weights, config)
        return cls(sam.to(chosen, DTYPES[precision]), found, precision, compile, threads)

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        with self._inference():
            return self._numpy(self._encode(self._tensor(image).to(self.dtype)))

    def prepare(
        self, embedding: NDArray[np.float32], mask_input: NDArray[np.float32] | None = None
    ) -> PreparedImage:
        """See `Engine.prepare`."""
        with self._inference():
            mask = None if mask_input is None else self._tensor(mask_input).to(self.dtype)
            return self._prepare(self._tensor(embedding).to(self.dtype), mask)

    def predict_iou(
        self,
        prepared: PreparedImage,
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        sparse_embeddings: NDArray[np.float32] | None = None,
    ) -> Prediction:
        """See `Engine.predict_iou`."""
        # Points stay float32: half precision would move them.
        prompts = [points, labels] if sparse_embeddings is None else [points, labels, sparse_embeddings]
        with self._inference():
            tensors = [self._tensor(values) for values in prompts]
            parts = []
            for start in range(
                0, max(1, len(points)), self._tile
            ):  # once even for no prompt: shapes stay right
                tile = [values[start : start + self._tile] for values in tensors]
                if self._compiled:
                    _vary(*tile)
                parts.append(self._predict_iou(prepared.projections, *tile))
            iou = torch.cat([part.iou_predictions for part in parts])
            inputs = zip(*(part.mask_inputs for part in parts), strict=True)
            mask_inputs = MaskInputs(*(torch.cat(part) for part in inputs))
            return Prediction(self._numpy(iou), (prepared.mask_features, mask_inputs))

    def decode_masks(
        self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """See `Engine.decode_masks`."""
        features, mask_inputs = prediction.mask_inputs
        side = self.config.mask_size
        with self._inference():
            chosen = torch.as_tensor(np.asarray(objects, np.int64), device=self.device)
            logits = np.empty((len(chosen), 4, side, side), np.float32)
            for start in range(0, len(chosen), self._tile):
                tile = slice(start, start + self._tile)
                inputs = MaskInputs(*(values[chosen[tile]] for values in mask_inputs))
                if self._compiled:
                    _vary(*inputs)
                logits[tile] = self._numpy(self._decode_masks(features, inputs))
        return logits

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Without gradients, and with this engine's number of threads; afterwards PyTorch has its own again."""
        before = torch.get_num_threads()
        change = self._threads is not None and self._threads != before
        if change:
            torch.set_num_threads(self.info.threads)
        try:
            with torch.inference_mode():
                yield
        finally:
            if change:
                torch.set_num_threads(before)

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
    """The device to compute on. Raises ModelError when it is not available."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (number or "0") not in map(str, range(available.get(kind, 0))):
        raise ModelError(
            f"PyTorch finds no {device} device here; use device='cpu', or the PyTorch built for it"
        )
    return device

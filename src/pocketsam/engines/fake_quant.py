"""A quantised model, computed in float32: how any number of bits is evaluated. Nothing is smaller or faster by it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.engines.base import EngineInfo, EngineOptions, Prediction, cores
from pocketsam.engines.source import QUANTIZED_FILE, quantized_file
from pocketsam.errors import ModelError
from pocketsam.quantization.model import QuantizedSam, load_quantized

TILE = 8
"""Prompts at a time: the decoder keeps a whole embedding for each."""


def load(source: Path, options: EngineOptions) -> "FakeQuantEngine":
    """See `open_engine`."""
    path = quantized_file(source)
    if path is None:
        raise ModelError(
            f"{source}: holds no {QUANTIZED_FILE}, which the fake-quant engine runs; `pocketsam quantize` makes it"
        )
    return FakeQuantEngine(*load_quantized(path), options.threads)


class FakeQuantEngine:
    """An `Engine` on a `QuantizedSam`, on the CPU.

    It decodes as the model was trained, prompt by prompt, and not in the factored form of the other engines: the
    matrix products of that form are others, which nobody has calibrated.
    """

    def __init__(self, model: QuantizedSam, config: ModelConfig, threads: int | None = None) -> None:
        self.model, self.config, self._threads = model.eval(), config, threads or cores()
        self.info = EngineInfo("fake-quant", numerics=config.numerics, threads=self._threads, batch=TILE)

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        with self._computing():
            return self.model.encode(torch.from_numpy(image)).numpy()

    def prepare(
        self, embedding: NDArray[np.float32], mask_input: NDArray[np.float32] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `Engine.prepare`."""
        mask = None if mask_input is None else torch.from_numpy(mask_input)
        return torch.from_numpy(embedding), mask

    def predict_iou(
        self,
        prepared: tuple[torch.Tensor, torch.Tensor | None],
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        sparse_embeddings: NDArray[np.float32] | None = None,
    ) -> Prediction:
        """See `Engine.predict_iou`. Raises ModelError for ready-made prompt embeddings."""
        if sparse_embeddings is not None and sparse_embeddings.shape[1]:
            raise ModelError("the fake-quant engine takes points and boxes only; use torch, onnx or openvino")
        embedding, mask = prepared
        side = self.config.mask_size
        logits, iou = [torch.empty(0, 4, side, side)], [torch.empty(0, 4)]
        with self._computing():
            for start in range(0, len(points), TILE):
                tile = slice(start, start + TILE)
                clicks = torch.from_numpy(points[tile])[None], torch.from_numpy(labels[tile])[None]
                masks = None if mask is None else mask.expand(1, clicks[0].shape[1], -1, -1)
                found = self.model.decode(embedding, *clicks, masks)
                logits.append(found[0][0])
                iou.append(found[1][0])
        return Prediction(torch.cat(iou).numpy(), torch.cat(logits).numpy())

    def decode_masks(
        self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """See `Engine.decode_masks`."""
        logits: NDArray[np.float32] = prediction.mask_inputs[np.asarray(objects, np.intp)]
        return logits

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """With this engine's number of threads; afterwards PyTorch has its own again."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

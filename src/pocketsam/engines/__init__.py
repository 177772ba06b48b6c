"""Engines: a model that can `encode` a photo and `decode` prompts, whatever runs it.

The rest of PocketSAM knows only the two methods of `Engine` and the model's `Description`. Each way of
running a model has a file of its own, imported when it is asked for.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pocketsam.description import Description
from pocketsam.errors import ModelError


class Engine(Protocol):
    """A model that runs. S is `description.image_size`; N objects, P points each."""

    description: Description

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """A preprocessed photo (1, 3, S, S) to its image embedding (1, 256, S/16, S/16)."""
        ...

    def decode(
        self,
        embedding: NDArray[np.float32],
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        mask_input: NDArray[np.float32],
        has_mask: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Prompts on an embedded photo to logits (N, 4, S/4, S/4) and predicted IoU (N, 4), both float32.

        points (N, P, 2) in model pixels; labels (N, P): 1, 0, -1 padding, 2 and 3 box corners;
        mask_input (N, 1, S/4, S/4) logits, used where has_mask (N,) is 1.
        Mask 0 is the single answer; masks 1 to 3 are the readings of a lone click: the whole, part and subpart.
        """
        ...


def open_engine(folder: Path, engine: str = "auto", threads: int | None = None) -> Engine:
    """The model in `folder`, run by `engine`: "onnx", "torch", or "auto".

    auto is ONNX Runtime, unless the folder holds PyTorch weights and no ONNX files.
    threads: how many CPU threads to use; all cores of this process when not given.
    Raises ModelError when the engine is unknown or not installed, or the model's files cannot be used.
    """
    if engine not in ("auto", "onnx", "torch"):
        raise ModelError(f"there is no engine {engine!r}; use auto, onnx or torch")
    only_torch = not (folder / "encoder.onnx").exists() and any(folder.glob("*.safetensors"))
    if engine == "torch" or (engine == "auto" and only_torch):
        return _torch_engine(folder, threads)
    from pocketsam.engines.onnx import OnnxEngine

    return OnnxEngine(folder, threads)


def _torch_engine(folder: Path, threads: int | None) -> Engine:
    try:
        from pocketsam.engines.torch import TorchEngine
    except ModuleNotFoundError as error:
        raise ModelError(f"the torch engine needs {error.name}: pip install 'pocketsam[train]'") from error
    return TorchEngine.load(folder, threads)

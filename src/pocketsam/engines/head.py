"""PyTorch as an engine of models with a head for another task: classification, detection, semantic segmentation."""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.config import HeadConfig, ModelConfig
from pocketsam.engines.base import EngineInfo
from pocketsam.engines.torch import find_device
from pocketsam.errors import InputError
from pocketsam.models.heads.base import Head, HeadModel, load_head_model


class HeadEngine:
    """A model with a head, on the device where its weights are, in float32.

    head: what it gives. config: what it expects of an image. info: how it runs.
    """

    def __init__(self, model: HeadModel, head: HeadConfig, config: ModelConfig) -> None:
        self.model, self.head, self.config = model.eval(), head, config
        self.device = next(model.parameters()).device
        self.info = EngineInfo("torch", str(self.device), "float32", torch.get_num_threads())

    @classmethod
    def load(
        cls, path: Path, engine: str = "auto", device: str = "auto", precision: str = "float32"
    ) -> "HeadEngine":
        """The model in a file or in FOLDER/model.safetensors.

        Raises InputError for another engine or precision, ModelError when the file or the device cannot be used.
        """
        if engine not in ("auto", "torch") or precision != "float32":
            raise InputError(
                f"{path}: models with a head run with --engine torch in float32 only; leave the option out"
            )
        model, head, config = load_head_model(path)
        return cls(model.to(find_device(device)), head, config)

    def predict(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """What the head predicts of an image (1, 3, S, S), by name: see the heads' `predict`."""
        with torch.inference_mode():
            maps = self.model.maps(torch.from_numpy(image).to(self.device))
            found = cast(Head, self.model.head).predict(maps)
        return {name: values.float().cpu().numpy() for name, values in found.items()}

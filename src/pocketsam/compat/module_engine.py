"""A published module as an engine, for everything mode: by the factored decoder, or by calling its modules."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.compat.modeling.decoding import unchanged
from pocketsam.config import PADDING, SAM, ModelConfig
from pocketsam.engines.base import Engine, EngineInfo, Prediction
from pocketsam.engines.torch import TorchEngine
from pocketsam.models.sam import Sam

Array = NDArray[np.float32]
TILE = 4


def engine_of(model: Any) -> Engine:
    """What runs a `modeling.Sam`, or any module with its parts; see `modeling.decoding`."""
    network = unchanged(model)
    precision = str(next(model.mask_decoder.parameters()).dtype).removeprefix("torch.")
    config = replace(
        SAM,
        image_size=int(model.image_encoder.img_size),
        mean=tuple(model.pixel_mean.flatten().tolist()),
        std=tuple(model.pixel_std.flatten().tolist()),
    )
    if network is None:
        return ModuleEngine(model, config, precision)
    return FactoredEngine(model, network, config, precision)


class FactoredEngine(TorchEngine):
    """An `Engine` on published modules: their own encoder, and the factored decoder with their weights."""

    def __init__(self, model: Any, network: Sam, config: ModelConfig, precision: str) -> None:
        super().__init__(network, config, precision)
        self.model = model

    def encode(self, image: Array) -> Array:
        """See `Engine.encode`."""
        return _encode(self.model, image)


class ModuleEngine:
    """An `Engine` on modules that are not, or no longer, the published ones, called as they are."""

    def __init__(self, model: Any, config: ModelConfig, precision: str) -> None:
        self.model, self.config = model, config
        self.info = EngineInfo("torch", str(model.device), precision, 1, batch=TILE)

    def encode(self, image: Array) -> Array:
        """See `Engine.encode`."""
        return _encode(self.model, image)

    def prepare(self, embedding: Array, mask_input: Array | None = None) -> Array:
        """See `Engine.prepare`; nothing is prepared here."""
        return embedding

    @torch.no_grad()
    def predict_iou(
        self,
        prepared: Array,
        points: Array,
        labels: NDArray[np.int32],
        sparse_embeddings: Array | None = None,
    ) -> Prediction:
        """See `Engine.predict_iou`; the masks are computed at once."""
        device, dtype = self.model.device, next(self.model.parameters()).dtype
        features = torch.from_numpy(prepared).to(device, dtype)
        clicks = labels[0] != PADDING  # the prompt encoder adds its own padding
        points, labels = points[:, clicks], labels[:, clicks]
        iou, masks = [], []
        for start in range(0, len(points), TILE):
            some = slice(start, start + TILE)
            sparse, dense = self.model.prompt_encoder(
                points=(torch.from_numpy(points[some]).to(device), torch.from_numpy(labels[some]).to(device)),
                boxes=None,
                masks=None,
            )
            logits, predicted = self.model.mask_decoder(
                image_embeddings=features,
                image_pe=self.model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
            masks.append(logits.float().cpu().numpy())
            iou.append(predicted.float().cpu().numpy())
        before = ((0, 0), (1, 0))  # the mask for unambiguous prompts, which is not computed
        return Prediction(np.pad(np.concatenate(iou), before), np.concatenate(masks))

    def decode_masks(self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]) -> Array:
        """See `Engine.decode_masks`."""
        masks: Array = np.pad(
            prediction.mask_inputs[np.asarray(objects, int)], ((0, 0), (1, 0), (0, 0), (0, 0))
        )
        return masks


@torch.no_grad()
def _encode(model: Any, image: Array) -> Array:
    pixels = torch.from_numpy(image).to(model.device, next(model.parameters()).dtype)
    embedding: Array = model.image_encoder(pixels).float().cpu().numpy()
    return embedding

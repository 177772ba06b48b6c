"""The network that finds the salient object in a photo's embedding, and how it is opened beside its encoder.

`saliency.py` says what it is for. It is a file of its own as it needs neither OpenCV nor Pillow: `pocketsam cutout`
imports these while the graphs are opened.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pocketsam.engines.base import INT8, Engine, EngineOptions, cores
from pocketsam.engines.onnx import OnnxEngine, open_graphs
from pocketsam.engines.registry import resolve
from pocketsam.errors import ModelError
from pocketsam.graphs import SALIENCY
from pocketsam.zoo import locate, open_engine_of

if TYPE_CHECKING:
    from pocketsam.segmenter import Photo


class SaliencyHead:
    """Finds the salient object of photos that a model has encoded.

    model: a name or a folder, which holds a `saliency.onnx` that was trained on this model's encoder.
    threads: how many CPU threads to use; all cores of this process when not given.
    Raises ModelError when the model is unknown, has no such head, or its file is damaged.
    """

    def __init__(self, model: str | Path = "pocket", threads: int | None = None) -> None:
        graphs, self.config = open_graphs(_folder(model), threads or cores(), [SALIENCY.name])
        self._graph = graphs[SALIENCY.name]

    def __call__(self, photo: "Photo") -> NDArray[np.float32]:
        """The logits of saliency, (S/4, S/4) float32; `photo.geometry.logits_to_photo` brings them to its size.

        Raises ModelError when another model has encoded the photo than the one that this head was trained on.
        """
        if photo.config.weights != self.config.weights:
            raise ModelError(
                f"the saliency head of {self.config.name} was trained on other weights than those of"
                f" {photo.config.name}; train it again: make train-saliency"
            )
        (logits,) = self._graph.run(None, {SALIENCY.inputs[0].name: photo.embedding})
        return np.asarray(logits[0, 0], np.float32)


def encoder_of(model: str | Path = "pocket", threads: int | None = None) -> OnnxEngine:
    """An engine that only encodes photos, for `SaliencyHead`: without the decoder it opens in less time.

    Its precision is what "auto" means for the model, see `open_engine`. Raises as `SaliencyHead` does.
    """
    folder = _folder(model)
    _, options = resolve(folder, "onnx", EngineOptions(precision="auto", threads=threads))
    return OnnxEngine(folder, threads, ["encoder"], int8=options.precision == INT8)


def open_both(
    model: str | Path, instances: bool = False, threads: int | None = None
) -> tuple[Engine, SaliencyHead]:
    """What `cut_out_photos` needs of a model, opened at the same time; its decoder, too, for `instances`.

    Raises ModelError as `Segmenter` does, and for a model without a saliency head.
    """
    with ThreadPoolExecutor() as pool:
        head = pool.submit(SaliencyHead, model, threads)
        engine = open_engine_of(model, "onnx", threads=threads) if instances else encoder_of(model, threads)
        return engine, head.result()


def _folder(model: str | Path) -> Path:
    """The folder of a model that has a saliency head."""
    source, _ = locate(model)
    if not (source / SALIENCY.file).is_file():
        raise ModelError(
            f"{model}: has no saliency head, which would be the file {SALIENCY.file} in its folder; use pocket, or"
            " train one by the recipe recipes/saliency/pocket.yaml"
        )
    return source

"""ONNX Runtime on the CPU, in float32 or with an encoder in INT8: the engine that comes with the package."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.engines.base import (
    INT8,
    EngineInfo,
    EngineOptions,
    Prediction,
    cores,
    mask_or_none,
    no_embeddings,
)
from pocketsam.engines.folder import Contents, open_folder
from pocketsam.engines.optimised import SessionSettings, open_session
from pocketsam.engines.segment_anything import Graph, SegmentAnythingEngine
from pocketsam.engines.source import onnx_folder, segment_anything_files
from pocketsam.engines.workers import TILE, Workers, tiles
from pocketsam.graphs import GRAPHS, MASK_FEATURES, PROJECTIONS

Values = dict[str, ort.OrtValue]


def load(source: Path, options: EngineOptions) -> "OnnxEngine | SegmentAnythingEngine":
    """See `open_engine`."""
    if files := segment_anything_files(source):
        threads = options.threads or cores()
        info = EngineInfo("onnx", "cpu", "float32", threads, thread_safe=True)
        settings = SessionSettings(threads)
        return SegmentAnythingEngine(files, lambda path: _open_theirs(path, settings), info)
    return OnnxEngine(onnx_folder(source, options.config), options.threads, int8=options.precision == INT8)


class OnnxEngine:
    """An `Engine` on the ONNX files in `folder`.

    Few prompts are computed one by one, by all threads together; of many, each thread takes a tile at a time, so that
    no thread waits for another. Masks are computed one by one, where there are several by one thread each.
    graphs: the names of those that will be needed; an encoder alone opens in a quarter of the time. int8: take the
    encoder that computes with integers.
    Raises ModelError when files are missing, damaged or foreign.
    """

    def __init__(
        self,
        folder: Path,
        threads: int | None = None,
        graphs: Iterable[str] = tuple(GRAPHS),
        int8: bool = False,
    ) -> None:
        self._folder, threads = folder, threads or cores()
        self._graphs, self.config = open_graphs(folder, threads, graphs, int8)
        numerics = self.config.numerics_in("float32")
        self.info = EngineInfo("onnx", "cpu", numerics, threads, thread_safe=True, batch=TILE)
        self._workers = Workers(threads)

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        embedding: NDArray[np.float32] = self._graphs["encoder"].run(None, {"image": image})[0]
        return embedding

    def prepare(
        self, embedding: NDArray[np.float32], mask_input: NDArray[np.float32] | None = None
    ) -> Values:
        """See `Engine.prepare`."""
        mask, has_mask = mask_or_none(self.config, mask_input)
        given = {"image_embeddings": embedding, "mask_input": mask, "has_mask_input": has_mask}
        return _run(self._graphs["decoder_prepare"], "decoder_prepare", _values(given))

    def predict_iou(
        self,
        prepared: Values,
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        sparse_embeddings: NDArray[np.float32] | None = None,
    ) -> Prediction:
        """See `Engine.predict_iou`."""
        count = len(points)
        size = TILE if count > TILE else 1
        graph = self._graphs["decoder_predict_iou"] if size == 1 else self._predict_iou_tile
        projections = {tensor.name: prepared[tensor.name] for tensor in PROJECTIONS}
        given = {
            "point_coords": points,
            "point_labels": labels,
            "sparse_embeddings": no_embeddings(count) if sparse_embeddings is None else sparse_embeddings,
        }

        def predict(tile: NDArray[np.intp]) -> Values:
            prompts = _values({name: values[tile] for name, values in given.items()})
            return _run(graph, "decoder_predict_iou", projections | prompts)

        mapped = map if size == 1 else self._workers.map
        rows = [row for outputs in mapped(predict, tiles(count, size)) for row in _rows(outputs)][:count]
        iou = [row.pop("iou_predictions").numpy() for row in rows]
        features = {tensor.name: prepared[tensor.name] for tensor in MASK_FEATURES}
        return Prediction(
            np.concatenate(iou) if iou else np.zeros((0, 4), np.float32), [features | row for row in rows]
        )

    def decode_masks(
        self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """See `Engine.decode_masks`."""
        together = len(objects) == 1 or self.info.threads == 1
        graph = self._graphs["decoder_masks"] if together else self._decode_masks_alone
        side = self.config.mask_size
        logits = np.empty((len(objects), 4, side, side), np.float32)

        def compute(k: int) -> None:
            outputs = _run(graph, "decoder_masks", prediction.mask_inputs[objects[k]])
            logits[k] = outputs["low_res_masks"].numpy()[0]

        self._workers.map(compute, range(len(objects)))
        return logits

    @cached_property
    def _predict_iou_tile(self) -> ort.InferenceSession:
        """Takes a tile of prompts, and computes in the thread that calls it."""
        return _open(self._folder / "decoder_predict_iou.onnx", SessionSettings(threads=1, objects=TILE))[0]

    @cached_property
    def _decode_masks_alone(self) -> ort.InferenceSession:
        """Takes one prompt, and computes in the thread that calls it."""
        return _open(self._folder / "decoder_masks.onnx", SessionSettings(threads=1))[0]


def open_graphs(
    folder: Path, threads: int, names: Iterable[str], int8: bool = False
) -> tuple[dict[str, ort.InferenceSession], ModelConfig]:
    """Some of the graphs in a model folder, by name, and its config. Raises as `open_folder` does."""
    settings = SessionSettings(threads)
    return open_folder(folder, lambda path: _open(path, settings), names, int8)


def _rows(outputs: Values) -> list[Values]:
    """The outputs for each prompt of a tile."""
    count = outputs["iou_predictions"].shape()[0]
    if count == 1:
        return [outputs]
    arrays = {name: value.numpy() for name, value in outputs.items()}
    return [_values({name: array[i : i + 1] for name, array in arrays.items()}) for i in range(count)]


def _run(session: ort.InferenceSession, name: str, values: Values) -> Values:
    outputs = GRAPHS[name].output_names
    return dict(zip(outputs, session.run_with_ort_values(outputs, values), strict=True))


def _values(arrays: dict[str, NDArray[Any]]) -> Values:
    return {
        name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
    }


def _open(path: Path, settings: SessionSettings) -> tuple[ort.InferenceSession, Contents]:
    session = open_session(path, settings)
    return session, Contents(
        [value.name for value in session.get_inputs()],
        [value.name for value in session.get_outputs()],
        session.get_modelmeta().custom_metadata_map,
    )


_DTYPES = {"float": "float32", "double": "float64"}  # all others are called as in NumPy


def _open_theirs(path: Path, settings: SessionSettings) -> Graph:
    """A file in segment_anything's layout."""
    session = open_session(path, settings)
    inputs = session.get_inputs()
    kinds = {value.name: value.type.removeprefix("tensor(").removesuffix(")") for value in inputs}
    return Graph(
        {value.name: [n if isinstance(n, int) else None for n in value.shape] for value in inputs},
        {name: np.dtype(_DTYPES.get(kind, kind)) for name, kind in kinds.items()},
        [value.name for value in session.get_outputs()],
        session.get_modelmeta().custom_metadata_map,
        lambda given, outputs: session.run(outputs, dict(given)),
    )

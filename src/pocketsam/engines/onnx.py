"""ONNX Runtime on the CPU, in float32: the engine that comes with the package."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pocketsam.config import METADATA_KEY
from pocketsam.engines import Prediction, cores, mask_or_none
from pocketsam.engines.folder import Contents, open_folder
from pocketsam.engines.workers import TILE, Workers, tiles
from pocketsam.graphs import GRAPHS, IMAGE_INPUTS, IMAGE_MASK_INPUTS

Values = dict[str, ort.OrtValue]


class OnnxEngine:
    """An `Engine` on the ONNX files in `folder`.

    Few prompts are asked about one by one, by all threads together; of many, each thread takes a tile at a time, and
    nobody waits for anybody. Masks are drawn one by one, where there are several by one thread each.
    Raises ModelError when files are missing, damaged or foreign.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self._folder, self._threads = folder, threads or cores()
        options = _options(self._threads)
        self._graphs, self.config = open_folder(folder, lambda path: _open(path, options))
        self._workers = Workers(self._threads)

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        embedding: NDArray[np.float32] = self._graphs["encoder"].run(None, {"image": image})[0]
        return embedding

    def prepare(
        self, embedding: NDArray[np.float32], mask_input: NDArray[np.float32] | None = None
    ) -> Values:
        """See `Engine.prepare`."""
        mask, has_mask = mask_or_none(self.config, mask_input)
        given = {"image_embedding": embedding, "mask_input": mask, "has_mask": has_mask}
        return _run(self._graphs["decoder_prepare"], "decoder_prepare", _values(given))

    def predict_iou(
        self, prepared: Values, points: NDArray[np.float32], labels: NDArray[np.int32]
    ) -> Prediction:
        """See `Engine.predict_iou`."""
        count = len(points)
        size = TILE if count > TILE else 1
        graph = self._graphs["decoder_predict_iou"] if size == 1 else self._predict_iou_tile
        side = {name: prepared[name] for name in IMAGE_INPUTS}

        def answer(prompts: NDArray[np.intp]) -> Values:
            return _run(
                graph,
                "decoder_predict_iou",
                side | _values({"points": points[prompts], "labels": labels[prompts]}),
            )

        mapped = map if size == 1 else self._workers.map
        rows = [row for answers in mapped(answer, tiles(count, size)) for row in _rows(answers)][:count]
        iou = [row.pop("predicted_iou").numpy() for row in rows]
        of_image = {name: prepared[name] for name in IMAGE_MASK_INPUTS}
        to_draw = [of_image | row for row in rows]
        return Prediction(np.concatenate(iou) if iou else np.zeros((0, 4), np.float32), to_draw)

    def decode_masks(
        self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """See `Engine.decode_masks`."""
        together = len(objects) == 1 or self._threads == 1
        graph = self._graphs["decoder_masks"] if together else self._decode_masks_alone
        side = self.config.mask_size
        logits = np.empty((len(objects), 4, side, side), np.float32)

        def draw(k: int) -> None:
            logits[k] = _run(graph, "decoder_masks", prediction.mask_inputs[objects[k]])["logits"].numpy()[0]

        self._workers.map(draw, range(len(objects)))
        return logits

    @cached_property
    def _predict_iou_tile(self) -> ort.InferenceSession:
        """Asks about a tile of prompts, computed by the thread that calls it."""
        return _open(self._folder / "decoder_predict_iou.onnx", _options(threads=1, objects=TILE))[0]

    @cached_property
    def _decode_masks_alone(self) -> ort.InferenceSession:
        """Draws one prompt's masks, computed by the thread that calls it."""
        return _open(self._folder / "decoder_masks.onnx", _options(threads=1))[0]


def _rows(answers: Values) -> list[Values]:
    """The answers to each prompt of a tile."""
    count = answers["predicted_iou"].shape()[0]
    if count == 1:
        return [answers]
    arrays = {name: value.numpy() for name, value in answers.items()}
    return [_values({name: array[i : i + 1] for name, array in arrays.items()}) for i in range(count)]


def _run(session: ort.InferenceSession, name: str, values: Values) -> Values:
    outputs = GRAPHS[name][1]
    return dict(zip(outputs, session.run_with_ort_values(outputs, values), strict=True))


def _values(arrays: dict[str, NDArray[Any]]) -> Values:
    return {
        name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
    }


def _options(threads: int, objects: int = 1) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads sleep instead of spinning: as fast on an idle machine, and much faster on a busy one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # With the number of prompts known, nearly all shapes are.
    options.add_free_dimension_override_by_name("objects", objects)
    options.log_severity_level = 4  # errors reach the user as exceptions; warnings are about graph internals
    return options


def _open(path: Path, options: ort.SessionOptions) -> tuple[ort.InferenceSession, Contents]:
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session, Contents(
        [value.name for value in session.get_inputs()],
        [value.name for value in session.get_outputs()],
        session.get_modelmeta().custom_metadata_map.get(METADATA_KEY),
    )

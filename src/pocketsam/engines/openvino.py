"""OpenVINO on the CPU, from the same ONNX files: Intel's engine, in float32 or in half precision."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from pocketsam.description import METADATA_KEY
from pocketsam.engines import Answers, cores, mask_or_none
from pocketsam.engines.folder import Contents, open_folder
from pocketsam.engines.workers import Workers
from pocketsam.errors import ModelError
from pocketsam.graphs import GRAPHS, IMAGE_SIDE, TO_DRAW

TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
BATCHED = ("points", "labels", *TO_DRAW)
"""Inputs whose first axis is the number of prompts."""

Values = dict[str, NDArray[Any]]


class OpenVinoEngine:
    """An `Engine` on the ONNX files in `folder`, whose arithmetic is in `precision`.

    The decoder takes one prompt at a time: with that axis known OpenVINO is faster by more than a batch saves. One
    prompt is computed by all threads together; of several, each thread takes one after the other.
    Raises ModelError when the files are missing, damaged or foreign, or the processor lacks the precision.
    """

    def __init__(self, folder: Path, precision: str = "float32", threads: int | None = None) -> None:
        self._core = ov.Core()
        self._threads = threads or cores()
        self._options = _options(precision, self._threads)
        self._models, self.description = open_folder(folder, lambda path: _read(self._core, path))
        for name in ("decoder_ask", "decoder_draw"):
            _one_at_a_time(self._models[name])
        self._together = {
            name: Requests(self._core.compile_model(model, "CPU", self._options), name, 1)
            for name, model in self._models.items()
        }
        self._workers = Workers(self._threads)
        if self._together["encoder"].precision != TYPES[precision]:
            raise ModelError(f"OpenVINO does not compute in {precision} on this processor; use float32")

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        return self._together["encoder"].run({"image": image})["image_embedding"]

    def prepare(
        self, embedding: NDArray[np.float32], mask_input: NDArray[np.float32] | None = None
    ) -> Values:
        """See `Engine.prepare`."""
        mask, has_mask = mask_or_none(self.description, mask_input)
        given = {"image_embedding": embedding, "mask_input": mask, "has_mask": has_mask}
        return self._together["decoder_prepare"].run(given)

    def ask(self, seen: Values, points: NDArray[np.float32], labels: NDArray[np.int32]) -> Answers:
        """See `Engine.ask`."""
        side = {name: seen[name] for name in IMAGE_SIDE}
        prompts = [{"points": points[i : i + 1], "labels": labels[i : i + 1]} for i in range(len(points))]
        answers = self._run_each("decoder_ask", [side | prompt for prompt in prompts])
        iou = [one.pop("predicted_iou") for one in answers]
        to_draw = [{"upscaled": seen["upscaled"]} | one for one in answers]
        return Answers(np.concatenate(iou) if iou else np.zeros((0, 4), np.float32), to_draw)

    def draw(self, answers: Answers, objects: Sequence[int] | NDArray[np.intp]) -> NDArray[np.float32]:
        """See `Engine.draw`."""
        drawn = self._run_each("decoder_draw", [answers.drawing[i] for i in objects])
        side = self.description.image_size // 4
        return np.concatenate([one["logits"] for one in drawn] or [np.empty((0, 4, side, side), np.float32)])

    def _run_each(self, name: str, given: Sequence[Values]) -> list[Values]:
        """The graph's outputs for one prompt after the other."""
        requests = (self._alone if len(given) > 1 < self._threads else self._together)[name]
        return self._workers.map(requests.run, given)

    @cached_property
    def _alone(self) -> dict[str, "Requests"]:
        """The decoder, of which each thread computes a prompt of its own."""
        options = self._options | {"NUM_STREAMS": self._threads}
        return {
            name: Requests(self._core.compile_model(self._models[name], "CPU", options), name, self._threads)
            for name in ("decoder_ask", "decoder_draw")
        }


class Requests:
    """A compiled graph, and so many places to run it at the same time."""

    def __init__(self, graph: ov.CompiledModel, name: str, places: int) -> None:
        self.precision = graph.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.graph = graph
        self._inputs, self._outputs = GRAPHS[name]
        self._idle: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(places):
            self._idle.put(graph.create_infer_request())

    def run(self, given: Mapping[str, NDArray[Any]]) -> Values:
        """The outputs, as arrays of their own that no later call overwrites."""
        request = self._idle.get()
        try:
            answer = request.infer(
                [np.ascontiguousarray(given[name]) for name in self._inputs], share_inputs=True
            )
            return {name: answer[i] for i, name in enumerate(self._outputs)}
        finally:
            self._idle.put(request)


def _one_at_a_time(model: ov.Model) -> None:
    shapes = {value: value.partial_shape for value in model.inputs}
    model.reshape(
        {value: [1, *shape[1:]] if value.any_name in BATCHED else shape for value, shape in shapes.items()}
    )


def _options(precision: str, threads: int) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": TYPES[precision],  # its own choice would be bfloat16 where there is any
        # Threads tied to cores are no faster on an idle machine, and two processes are tied to the same ones.
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": threads,
    }


def _read(core: ov.Core, path: Path) -> tuple[ov.Model, Contents]:
    model = core.read_model(path)
    metadata = ["framework", METADATA_KEY]  # where OpenVINO keeps what ONNX calls metadata_props
    return model, Contents(
        [value.any_name for value in model.inputs],
        [value.any_name for value in model.outputs],
        model.get_rt_info(metadata).astype(str) if model.has_rt_info(metadata) else None,
    )

"""OpenVINO on the CPU, from the same ONNX files: Intel's engine, in float32 or in half precision."""

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from pocketsam.config import METADATA_KEY
from pocketsam.engines import Prediction, cores, mask_or_none
from pocketsam.engines.folder import Contents, open_folder
from pocketsam.engines.workers import TILE, Workers, tiles
from pocketsam.errors import ModelError
from pocketsam.graphs import GRAPHS, IMAGE_INPUTS, IMAGE_MASK_INPUTS, MASK_INPUTS

TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
BATCHED = ("points", "labels", *MASK_INPUTS)
"""Inputs whose first axis is the number of prompts."""
BETWEEN = (*IMAGE_INPUTS, *IMAGE_MASK_INPUTS, *MASK_INPUTS)
"""What one graph of the decoder tells another, in the precision of the arithmetic."""
SPARE = 16
"""Tiles' memory kept for the next ones, at the most."""

Values = dict[str, ov.Tensor]


class Variant(NamedTuple):
    """A graph of the decoder, compiled for what it is to do.

    objects: prompts at a time. usual: for as many tokens a prompt as a lone click or a box has, not for any number;
    with all shapes known OpenVINO needs half the time in bfloat16. alone: each thread runs it by itself, not all of
    them together.
    """

    name: str
    objects: int
    usual: bool
    alone: bool


class OpenVinoEngine:
    """An `Engine` on the ONNX files in `folder`, whose arithmetic is in `precision`.

    Few prompts are asked about one by one, by all threads together; of many, each thread takes a tile at a time.
    Masks are drawn one by one, where there are several by one thread each.
    Raises ModelError when the files are missing, damaged or foreign, or the processor lacks the precision.
    """

    def __init__(self, folder: Path, precision: str = "float32", threads: int | None = None) -> None:
        self._core = ov.Core()
        self._threads = threads or cores()
        self._options = _options(precision, self._threads)
        models, self.config = open_folder(folder, lambda path: _read(self._core, path))
        self._models = {name: _in_precision(model, name, precision) for name, model in models.items()}
        # The second axes of what has any number of them, for the usual prompt.
        self._usual = dict.fromkeys(("points", "labels"), self.config.pad_points_to or 2)
        self._compiled: dict[Variant, Requests] = {}
        self._compiling = Lock()
        self._workers = Workers(self._threads)
        self._encoder, self._prepare = (
            Requests(self._core.compile_model(self._models[name], "CPU", self._options), name, 1)
            for name in ("encoder", "decoder_prepare")
        )
        if self._encoder.precision != TYPES[precision]:
            raise ModelError(f"OpenVINO does not compute in {precision} on this processor; use float32")
        asking = self._graph(Variant("decoder_predict_iou", 1, usual=True, alone=False))
        self._usual |= dict.fromkeys(("channels", "basis"), asking.second_axis("channels"))
        self._graph(Variant("decoder_masks", 1, usual=True, alone=False))

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        return np.array(self._encoder.run({"image": _tensor(image)})["image_embedding"].data)

    def prepare(
        self, embedding: NDArray[np.float32], mask_input: NDArray[np.float32] | None = None
    ) -> Values:
        """See `Engine.prepare`."""
        mask, has_mask = mask_or_none(self.config, mask_input)
        given = {"image_embedding": embedding, "mask_input": mask, "has_mask": has_mask}
        return self._prepare.run({name: _tensor(array) for name, array in given.items()})

    def predict_iou(
        self, prepared: Values, points: NDArray[np.float32], labels: NDArray[np.int32]
    ) -> Prediction:
        """See `Engine.predict_iou`."""
        count = len(points)
        size = TILE if count > TILE else 1
        usual = points.shape[1] == self._usual["points"]
        graph = self._graph(Variant("decoder_predict_iou", size, usual, alone=size > 1))
        side = {name: prepared[name] for name in IMAGE_INPUTS}

        def answer(prompts: NDArray[np.intp]) -> Tile:
            given = {"points": _tensor(points[prompts]), "labels": _tensor(labels[prompts])}
            return Tile(graph, side | given)

        answers = self._workers.map(answer, tiles(count, size))
        iou = [tile.values["predicted_iou"].data for tile in answers]
        of_image = {name: prepared[name] for name in IMAGE_MASK_INPUTS}
        to_draw = [MaskInputs(of_image, tile, row) for tile in answers for row in range(size)]
        return Prediction(
            np.concatenate(iou)[:count] if iou else np.zeros((0, 4), np.float32), to_draw[:count]
        )

    def decode_masks(
        self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """See `Engine.decode_masks`."""
        side = self.config.mask_size
        logits = np.empty((len(objects), 4, side, side), np.float32)

        def draw(k: int) -> None:
            given = prediction.mask_inputs[objects[k]].values
            usual = given["channels"].shape[1] == self._usual["channels"]
            graph = self._graph(Variant("decoder_masks", 1, usual, alone=len(objects) > 1))
            graph.run(given, [ov.Tensor(logits[k : k + 1], shared_memory=True)])

        self._workers.map(draw, range(len(objects)))
        return logits

    def _graph(self, variant: Variant) -> "Requests":
        """The variant, compiled when it is first wanted."""
        if self._threads == 1:
            variant = variant._replace(alone=False)
        with self._compiling:
            if variant not in self._compiled:
                self._compiled[variant] = self._compile(variant)
            return self._compiled[variant]

    def _compile(self, variant: Variant) -> "Requests":
        model = self._models[variant.name].clone()
        _reshape(model, variant.name, variant.objects, self._usual if variant.usual else {})
        options = dict(self._options)
        if variant.usual and variant.name == "decoder_predict_iou":
            # OpenVINO 2026.4 fails to fuse this graph ("Topological order is required, but not set").
            options["SNIPPETS_MODE"] = "DISABLE"
        if variant.alone:
            options["NUM_STREAMS"] = self._threads
        places = self._threads if variant.alone else 1
        return Requests(self._core.compile_model(model, "CPU", options), variant.name, places)


class Requests:
    """A compiled graph, and so many places to run it at the same time."""

    def __init__(self, graph: ov.CompiledModel, name: str, places: int) -> None:
        self.precision = graph.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.graph = graph
        self.spare: deque[Sequence[ov.Tensor]] = deque(maxlen=SPARE)
        self._inputs, self._outputs = GRAPHS[name]
        self._idle: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(places):
            self._idle.put(graph.create_infer_request())

    def run(self, given: Mapping[str, ov.Tensor], into: Sequence[ov.Tensor] | None = None) -> Values:
        """The outputs, as tensors of their own that no later call overwrites, or `into` those given."""
        outputs = into or self.room()
        request = self._idle.get()
        try:
            for i, name in enumerate(self._inputs):
                request.set_input_tensor(i, given[name])
            for i, output in enumerate(outputs):
                request.set_output_tensor(i, output)  # it grows where a shape is not known yet
            request.infer()
            return dict(zip(self._outputs, outputs, strict=True))
        finally:
            self._idle.put(request)

    def second_axis(self, output: str) -> int:
        """Of an output whose shape is known."""
        return int(self.graph.outputs[self._outputs.index(output)].partial_shape[1].get_length())

    def room(self) -> list[ov.Tensor]:
        """Memory for the outputs."""
        return [ov.Tensor(o.element_type, o.partial_shape.get_min_shape()) for o in self.graph.outputs]


class Tile:
    """The answers to a tile of prompts.

    They are megabytes, and memory that is new to a process costs it as much time as a quarter of the answers do. So
    once nobody needs a tile, the next one is written over it.
    """

    def __init__(self, graph: Requests, given: Mapping[str, ov.Tensor]) -> None:
        try:
            room: Sequence[ov.Tensor] = graph.spare.pop()
        except IndexError:
            room = graph.room()
        self.values = graph.run(given, room)
        finalize(self, graph.spare.append, room)


class MaskInputs(NamedTuple):
    """One prompt of a tile, and the photo that it is about."""

    of_image: Values
    tile: Tile
    row: int

    @property
    def values(self) -> Values:
        """What drawing its masks takes."""
        rows = {name: _row(self.tile.values[name], self.row) for name in MASK_INPUTS}
        return self.of_image | rows


def _in_precision(model: ov.Model, name: str, precision: str) -> ov.Model:
    """The model, taking and giving what stays between the decoder's graphs in the precision of the arithmetic.

    Otherwise an image's side would be converted anew for each prompt, which takes a fifth of the time.
    """
    if precision == "float32":
        return model
    inputs, outputs = GRAPHS[name]
    kind = getattr(ov.Type, TYPES[precision])
    steps = PrePostProcessor(model)
    for i, value in enumerate(inputs):
        if value in BETWEEN:
            steps.input(i).tensor().set_element_type(kind)
    for i, value in enumerate(outputs):
        if value in BETWEEN:
            steps.output(i).tensor().set_element_type(kind)
    return steps.build()


def _reshape(model: ov.Model, name: str, objects: int, known: Mapping[str, int]) -> None:
    """Fix the number of prompts, and the second axes that are known."""
    shapes = {}
    for value, port in zip(GRAPHS[name][0], model.inputs, strict=True):
        shape = port.partial_shape
        if value in BATCHED:
            shape[0] = objects
        if value in known:
            shape[1] = known[value]
        shapes[port] = shape
    model.reshape(shapes)


def _tensor(array: NDArray[Any]) -> ov.Tensor:
    return ov.Tensor(np.ascontiguousarray(array))


def _row(tensor: ov.Tensor, row: int) -> ov.Tensor:
    """One prompt's part of a tensor (N, …), as (1, …); nothing is copied."""
    rest = list(tensor.shape)[1:]
    return ov.Tensor(tensor, [row] + [0] * len(rest), [row + 1, *rest])


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

"""OpenVINO on the CPU, from the same ONNX files: Intel's engine, in float32, half precision or INT8."""

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
from pocketsam.engines.segment_anything import Graph, SegmentAnythingEngine
from pocketsam.engines.source import onnx_folder, segment_anything_files
from pocketsam.engines.workers import TILE, Workers, tiles
from pocketsam.errors import ModelError
from pocketsam.graphs import GRAPHS, MASK_FEATURES, MASK_INPUTS, PROJECTIONS, VERSION_KEY

TYPES = {"float32": ov.Type.f32, "bfloat16": ov.Type.bf16, "float16": ov.Type.f16}
INTERMEDIATE = {tensor.name for tensor in PROJECTIONS + MASK_FEATURES + MASK_INPUTS}
"""What one graph of the decoder passes to another, in the precision of the arithmetic."""
SPARE = 16
"""Tiles' memory kept for the next ones, at the most."""

CORE = ov.Core()
"""The process's only one, which all engines share and none frees.

OpenVINO's CPU plugin gives the thread that first uses a core an alternate stack for signals, and frees the stack with
the core. Where another thread frees the core, the next signal (Ctrl-C, a child process that ends) raises SIGSEGV.
"""

Values = dict[str, ov.Tensor]


def load(source: Path, options: EngineOptions) -> "OpenVinoEngine | SegmentAnythingEngine":
    """See `open_engine`."""
    if files := segment_anything_files(source):
        threads = options.threads or cores()
        settings = _options(options.precision, threads)
        info = EngineInfo("openvino", "cpu", options.precision, threads)
        return SegmentAnythingEngine(files, lambda path: _open_theirs(path, settings), info)
    return OpenVinoEngine(onnx_folder(source, options.config), options.precision, options.threads)


class Variant(NamedTuple):
    """A graph of the decoder, compiled for what it is to do.

    objects: prompts at a time. usual: for prompts of as many tokens as a single click or a box has, and no
    embeddings; with all shapes known OpenVINO needs half the time in bfloat16. alone: each thread runs it by itself,
    not all of them together.
    """

    name: str
    objects: int
    usual: bool
    alone: bool


class OpenVinoEngine:
    """An `Engine` on the ONNX files in `folder`, whose arithmetic is in `precision`; "int8" is that of the encoder.

    Few prompts are computed one by one, by all threads together; of many, each thread takes a tile at a time.
    Masks are computed one by one, where there are several by one thread each.
    Raises ModelError when the files are missing, damaged or foreign, or the processor lacks the precision.
    """

    def __init__(self, folder: Path, precision: str = "float32", threads: int | None = None) -> None:
        threads = threads or cores()
        int8 = precision == INT8
        precision = "float32" if int8 else precision
        self._options = _options(precision, threads)
        models, self.config = open_folder(folder, _read, int8=int8)
        numerics = self.config.numerics_in(precision)
        self.info = EngineInfo("openvino", "cpu", numerics, threads, thread_safe=True, batch=TILE)
        for name in models.keys() - {"encoder"}:
            _widen_weights(models[name])
        self._models = {name: _in_precision(model, name, precision) for name, model in models.items()}
        # The sizes of dynamic axes for the usual prompt.
        self._usual = {"points": self.config.pad_points_to or 2, "embeddings": 0}
        self._compiled: dict[Variant, Requests] = {}
        self._compiling = Lock()
        self._workers = Workers(threads)
        self._encoder, self._prepare = (
            Requests(CORE.compile_model(self._models[name], "CPU", self._options), name, 1)
            for name in ("encoder", "decoder_prepare")
        )
        if self._encoder.precision != TYPES[precision]:
            raise ModelError(f"OpenVINO does not compute in {precision} on this processor; use float32")
        predicting = self._graph(Variant("decoder_predict_iou", 1, usual=True, alone=False))
        self._usual["coefficients"] = predicting.second_axis("cell_coefficients")
        self._graph(Variant("decoder_masks", 1, usual=True, alone=False))

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        return np.array(self._encoder.run({"image": _tensor(image)})["image_embeddings"].data)

    def prepare(
        self, embedding: NDArray[np.float32], mask_input: NDArray[np.float32] | None = None
    ) -> Values:
        """See `Engine.prepare`."""
        mask, has_mask = mask_or_none(self.config, mask_input)
        given = {"image_embeddings": embedding, "mask_input": mask, "has_mask_input": has_mask}
        return self._prepare.run({name: _tensor(array) for name, array in given.items()})

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
        embeddings = no_embeddings(count) if sparse_embeddings is None else sparse_embeddings
        usual = (points.shape[1], embeddings.shape[1]) == (self._usual["points"], self._usual["embeddings"])
        graph = self._graph(Variant("decoder_predict_iou", size, usual, alone=size > 1))
        projections = {tensor.name: prepared[tensor.name] for tensor in PROJECTIONS}
        given = {"point_coords": points, "point_labels": labels, "sparse_embeddings": embeddings}

        def predict(tile: NDArray[np.intp]) -> Tile:
            return Tile(graph, projections | {name: _tensor(values[tile]) for name, values in given.items()})

        predicted = self._workers.map(predict, tiles(count, size))
        iou = [tile.values["iou_predictions"].data for tile in predicted]
        features = {tensor.name: prepared[tensor.name] for tensor in MASK_FEATURES}
        mask_inputs = [MaskInputs(features, tile, row) for tile in predicted for row in range(size)]
        return Prediction(
            np.concatenate(iou)[:count] if iou else np.zeros((0, 4), np.float32), mask_inputs[:count]
        )

    def decode_masks(
        self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """See `Engine.decode_masks`."""
        side = self.config.mask_size
        logits = np.empty((len(objects), 4, side, side), np.float32)

        def compute(k: int) -> None:
            given = prediction.mask_inputs[objects[k]].values
            usual = given["cell_coefficients"].shape[1] == self._usual["coefficients"]
            graph = self._graph(Variant("decoder_masks", 1, usual, alone=len(objects) > 1))
            graph.run(given, [ov.Tensor(logits[k : k + 1], shared_memory=True)])

        self._workers.map(compute, range(len(objects)))
        return logits

    def _graph(self, variant: Variant) -> "Requests":
        """The variant, compiled when it is first wanted."""
        if self.info.threads == 1:
            variant = variant._replace(alone=False)
        with self._compiling:
            if variant not in self._compiled:
                self._compiled[variant] = self._compile(variant)
            return self._compiled[variant]

    def _compile(self, variant: Variant) -> "Requests":
        model = self._models[variant.name].clone()
        _reshape(model, variant.name, {"objects": variant.objects} | (self._usual if variant.usual else {}))
        options = dict(self._options)
        if variant.usual and variant.name == "decoder_predict_iou":
            # OpenVINO 2026.4 fails to fuse this graph ("Topological order is required, but not set").
            options["SNIPPETS_MODE"] = "DISABLE"
        if variant.alone:
            options["NUM_STREAMS"] = self.info.threads
        requests = self.info.threads if variant.alone else 1
        return Requests(CORE.compile_model(model, "CPU", options), variant.name, requests)


class Requests:
    """A compiled graph, and so many requests that can run it at the same time."""

    def __init__(self, graph: ov.CompiledModel, name: str, requests: int) -> None:
        self.precision = graph.get_property("INFERENCE_PRECISION_HINT")
        self.graph = graph
        self.spare: deque[Sequence[ov.Tensor]] = deque(maxlen=SPARE)
        self._inputs, self._outputs = GRAPHS[name].input_names, GRAPHS[name].output_names
        self._idle: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(requests):
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
    """The outputs for a tile of prompts.

    They are megabytes, and memory that is new to a process costs a quarter of the time that computing them takes. So
    the memory of a tile that is no longer needed is used for the next one.
    """

    def __init__(self, graph: Requests, given: Mapping[str, ov.Tensor]) -> None:
        try:
            room: Sequence[ov.Tensor] = graph.spare.pop()
        except IndexError:
            room = graph.room()
        self.values = graph.run(given, room)
        finalize(self, graph.spare.append, room)


class MaskInputs(NamedTuple):
    """One prompt of a tile, and the features of the image that it is on."""

    features: Values
    tile: Tile
    row: int

    @property
    def values(self) -> Values:
        """The inputs of `decoder_masks`."""
        rows = {tensor.name: _row(self.tile.values[tensor.name], self.row) for tensor in MASK_INPUTS}
        return self.features | rows


def _widen_weights(model: ov.Model) -> None:
    """Make floats of weights that are stored as INT8, for arithmetic in float.

    OpenVINO would multiply by the stored integers, and by activations that it rounds to 8 bits itself. For several
    prompts at a time, the masks are then wrong (2026.4), and without AVX-512 some graphs do not compile.
    """
    for constant in [op for op in model.get_ordered_ops() if op.get_type_name() == "Constant"]:
        if constant.get_output_element_type(0) != ov.Type.i8:
            continue
        (convert,) = constant.output(0).get_target_inputs()
        (multiply,) = convert.get_node().output(0).get_target_inputs()
        product = multiply.get_node()
        if product.get_type_name() != "Multiply":  # another program's, with zero points
            continue
        _, scale = (value.get_source_output().get_node() for value in product.inputs())
        wide = ov.op.Constant(constant.data.astype(np.float32) * scale.data)
        product.output(0).replace(wide.output(0))


def _in_precision(model: ov.Model, name: str, precision: str) -> ov.Model:
    """The model, with what is passed between the decoder's graphs in the precision of the arithmetic.

    Otherwise an image's projections would be converted anew for each prompt, which takes a fifth of the time.
    """
    if precision == "float32":
        return model
    steps = PrePostProcessor(model)
    for i, tensor in enumerate(GRAPHS[name].inputs):
        if tensor.name in INTERMEDIATE:
            steps.input(i).tensor().set_element_type(TYPES[precision])
    for i, tensor in enumerate(GRAPHS[name].outputs):
        if tensor.name in INTERMEDIATE:
            steps.output(i).tensor().set_element_type(TYPES[precision])
    return steps.build()


def _reshape(model: ov.Model, name: str, known: Mapping[str, int]) -> None:
    """Fix the dynamic axes whose sizes are known."""
    shapes = {}
    for tensor, port in zip(GRAPHS[name].inputs, model.inputs, strict=True):
        shape = port.partial_shape
        for axis, axis_name in tensor.dynamic_axes.items():
            if axis_name in known:
                shape[axis] = known[axis_name]
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


def _read(path: Path) -> tuple[ov.Model, Contents]:
    model = CORE.read_model(path)
    # OpenVINO keeps ONNX metadata under "framework".
    keys = [key for key in (METADATA_KEY, VERSION_KEY) if model.has_rt_info(["framework", key])]
    return model, Contents(
        [value.any_name for value in model.inputs],
        [value.any_name for value in model.outputs],
        {key: model.get_rt_info(["framework", key]).astype(str) for key in keys},
    )


def _open_theirs(path: Path, options: dict[str, Any]) -> Graph:
    """A file in segment_anything's layout."""
    model, contents = _read(path)
    compiled = CORE.compile_model(model, "CPU", options)
    ports = {port.node.friendly_name: port for port in compiled.inputs}  # their names in the file

    def run(given: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        found = compiled({ports[name]: values for name, values in given.items()})
        return [np.array(found[name]) for name in outputs]

    return Graph(
        {
            name: [None if axis.is_dynamic else int(axis.get_length()) for axis in port.partial_shape]
            for name, port in ports.items()
        },
        {name: np.dtype(port.element_type.to_dtype()) for name, port in ports.items()},
        [name for port in compiled.outputs for name in port.names],
        contents.metadata,
        run,
    )

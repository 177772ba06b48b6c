"""OpenVINO on the CPU, from the same ONNX files: Intel's engine, in float32 or in half precision."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from pocketsam.description import METADATA_KEY
from pocketsam.engines.pair import DECODER_NAMES, Contents, open_pair
from pocketsam.errors import ModelError

TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVinoEngine:
    """An `Engine` on the ONNX files in `folder`, whose arithmetic is in `precision`.

    The decoder takes one object at a time: with that axis known OpenVINO is faster by more than a batch saves it.
    Raises ModelError when the files are missing, damaged or foreign, or the processor lacks the precision.
    """

    def __init__(self, folder: Path, precision: str = "float32", threads: int | None = None) -> None:
        core = ov.Core()
        encoder, decoder, self.description = open_pair(folder, lambda path: _read(core, path))
        decoder.reshape({name: [1, *decoder.input(name).partial_shape[1:]] for name in DECODER_NAMES[0]})
        options = _options(precision, threads)
        self._encoder = core.compile_model(encoder, "CPU", options)
        self._decoder = core.compile_model(decoder, "CPU", options)
        if self._encoder.get_property("INFERENCE_PRECISION_HINT").to_string() != TYPES[precision]:
            raise ModelError(f"OpenVINO does not compute in {precision} on this processor; use float32")

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        return _run(self._encoder, image)[0]

    def decode(
        self,
        embedding: NDArray[np.float32],
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        mask_input: NDArray[np.float32],
        has_mask: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Engine.decode`."""
        prompts = points, labels, mask_input, has_mask
        answers = [
            _run(self._decoder, embedding, *(part[i : i + 1] for part in prompts)) for i in range(len(points))
        ]
        logits, predicted_iou = zip(*answers, strict=True)
        return np.concatenate(logits), np.concatenate(predicted_iou)


def _run(model: ov.CompiledModel, *inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
    """The outputs, as arrays of their own that no later call overwrites."""
    answer = model([np.ascontiguousarray(values) for values in inputs], share_inputs=True)
    return [answer[i] for i in range(len(model.outputs))]


def _options(precision: str, threads: int | None) -> dict[str, Any]:
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": TYPES[precision],  # its own choice would be bfloat16 where there is any
        # Threads tied to cores are no faster on an idle machine, and two processes are tied to the same ones.
        "ENABLE_CPU_PINNING": False,
    }
    return options | ({"INFERENCE_NUM_THREADS": threads} if threads else {})


def _read(core: ov.Core, path: Path) -> tuple[ov.Model, Contents]:
    model = core.read_model(path)
    metadata = ["framework", METADATA_KEY]  # where OpenVINO keeps what ONNX calls metadata_props
    return model, Contents(
        [value.any_name for value in model.inputs],
        [value.any_name for value in model.outputs],
        model.get_rt_info(metadata).astype(str) if model.has_rt_info(metadata) else None,
    )

"""ONNX Runtime on the CPU, in float32: the engine that comes with the package."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pocketsam.description import METADATA_KEY
from pocketsam.engines import cores
from pocketsam.engines.pair import DECODER_NAMES, Contents, open_pair


class OnnxEngine:
    """An `Engine` on the ONNX files in `folder`.

    Raises ModelError when they are missing, damaged or foreign.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        options = _options(threads)
        self._encoder, self._decoder, self.description = open_pair(folder, lambda path: _open(path, options))

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.encode`."""
        embedding: NDArray[np.float32] = self._encoder.run(None, {"image": image})[0]
        return embedding

    def decode(
        self,
        embedding: NDArray[np.float32],
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        mask_input: NDArray[np.float32],
        has_mask: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Engine.decode`."""
        prompts = {"points": points, "labels": labels, "mask_input": mask_input, "has_mask": has_mask}
        logits, predicted_iou = self._decoder.run(DECODER_NAMES[1], {"image_embedding": embedding, **prompts})
        return logits, predicted_iou


def _options(threads: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    # Waiting threads sleep instead of spinning: as fast on an idle machine, and much faster on a busy one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors reach the user as exceptions; warnings are about graph internals
    return options


def _open(path: Path, options: ort.SessionOptions) -> tuple[ort.InferenceSession, Contents]:
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session, Contents(
        [value.name for value in session.get_inputs()],
        [value.name for value in session.get_outputs()],
        session.get_modelmeta().custom_metadata_map.get(METADATA_KEY),
    )

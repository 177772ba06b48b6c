"""The default engine: ONNX Runtime on the CPU.

A model folder holds `encoder.onnx` and `decoder.onnx`; both carry the model's Description in their metadata.
"""

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pocketsam.description import Description
from pocketsam.errors import ModelError

METADATA_KEY = "pocketsam"
ENCODER_NAMES = ["image"], ["image_embedding"]
DECODER_NAMES = ["image_embedding", "points", "labels", "mask_input", "has_mask"], ["logits", "predicted_iou"]


class OnnxEngine:
    """An `Engine` on the ONNX files in `folder`.

    Raises ModelError when they are missing, damaged or foreign.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        options = _options(threads)
        self._encoder, self.description = _open(folder / "encoder.onnx", ENCODER_NAMES, options)
        self._decoder, decoder_description = _open(folder / "decoder.onnx", DECODER_NAMES, options)
        if decoder_description != self.description:
            raise ModelError(
                f"{folder}: the encoder and the decoder are of different models; take both from one"
            )

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
    options.intra_op_num_threads = threads or _cores()
    # Waiting threads sleep instead of spinning: as fast on an idle machine, and much faster on a busy one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors reach the user as ModelError; warnings are about graph internals
    return options


def _cores() -> int:
    """The cores this process may use: ONNX Runtime's own default counts those of the whole machine."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open(
    path: Path, names: tuple[list[str], list[str]], options: ort.SessionOptions
) -> tuple[ort.InferenceSession, Description]:
    if not path.is_file():
        raise ModelError(f"{path}: is missing; a model folder holds encoder.onnx and decoder.onnx")
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelError(f"{path}: is damaged or not an ONNX model; get the file again") from error
    inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None or (inputs, outputs) != names:
        raise ModelError(f"{path}: is not the {path.stem} of a PocketSAM model; export it with PocketSAM")
    try:
        return session, Description.from_json(text)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: has an invalid description ({error}); export the model again") from error

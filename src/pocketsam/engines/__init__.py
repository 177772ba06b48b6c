"""Engines: a model that can `encode` a photo and `decode` prompts, whatever runs it.

The rest of PocketSAM knows only the four methods of `Engine` and the model's `ModelConfig`. Each way of
running a model has a file of its own, imported when it is asked for.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.errors import ModelError
from pocketsam.graphs import ONNX_FILES

ENGINES = ("auto", "onnx", "openvino", "torch")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "fp32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
}
"""Every way to write a precision, and its full name."""


PreparedImage: TypeAlias = Any
"""What an engine prepared of an embedded photo. Only that engine can read it."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What an engine says of N prompts, before it draws a mask.

    predicted_iou: (N, 4) float32, of the masks it would draw. drawing: what it needs for that; only it can read it.
    """

    predicted_iou: NDArray[np.float32]
    mask_inputs: Any


class Engine(Protocol):
    """A model that runs. S is `config.image_size`; N objects, P points each.

    A photo is encoded and prepared once. Then any number of prompts are asked about, and of those that turn out to be
    worth it the masks are drawn, which is half of the work.
    """

    config: ModelConfig

    def encode(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """A preprocessed photo (1, 3, S, S) to its image embedding (1, C, S/16, S/16)."""
        ...

    def prepare(
        self, embedding: NDArray[np.float32], mask_input: NDArray[np.float32] | None = None
    ) -> PreparedImage:
        """What of an embedded photo is the same for all prompts.

        mask_input: (1, 1, S/4, S/4) logits of a former answer; they are part of the photo then, for the prompts that
        come with them.
        """
        ...

    def predict_iou(
        self, prepared: PreparedImage, points: NDArray[np.float32], labels: NDArray[np.int32]
    ) -> Prediction:
        """How good the masks of N prompts would be.

        points (N, P, 2) in model pixels; P may be 0; labels (N, P): 1, 0, -1 padding, 2 and 3 box corners.
        """
        ...

    def decode_masks(
        self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """The masks of K of the N objects, given their numbers: logits (K, 4, S/4, S/4) float32.

        Mask 0 is the single answer; masks 1 to 3 are the readings of a lone click: the whole, part and subpart.
        """
        ...


def decode(
    engine: Engine,
    embedding: NDArray[np.float32],
    points: NDArray[np.float32],
    labels: NDArray[np.int32],
    mask_input: NDArray[np.float32],
    has_mask: NDArray[np.float32],
    prepared: PreparedImage | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Prompts on an embedded photo to logits (N, 4, S/4, S/4) and predicted IoU (N, 4), both float32.

    points, labels: as `Engine.predict_iou` takes them. mask_input: (N, 1, S/4, S/4) logits, used where
    has_mask (N,) is 1.
    prepared: what `engine.prepare` made of the embedding, where that is at hand.
    """
    side = engine.config.mask_size
    logits, iou = np.empty((len(points), 4, side, side), np.float32), np.empty((len(points), 4), np.float32)
    plain = np.flatnonzero(has_mask == 0)
    groups = [(plain, engine.prepare(embedding) if prepared is None else prepared)] if plain.size else []
    for i in np.flatnonzero(has_mask):
        groups.append((np.array([i]), engine.prepare(embedding, mask_input[i : i + 1])))
    for group, of_photo in groups:
        prediction = engine.predict_iou(of_photo, points[group], labels[group])
        logits[group], iou[group] = (
            engine.decode_masks(prediction, range(len(group))),
            prediction.predicted_iou,
        )
    return logits, iou


def mask_or_none(
    config: ModelConfig, mask_input: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A mask as a prompt, (1, 1, S/4, S/4), and whether there is one, (1,), as the exported graphs take them."""
    if mask_input is not None:
        return mask_input, np.ones(1, np.float32)
    side = config.mask_size
    return np.zeros((1, 1, side, side), np.float32), np.zeros(1, np.float32)


def open_engine(
    source: Path,
    engine: str = "auto",
    *,
    device: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
    compile: bool = False,
    config: ModelConfig | None = None,
) -> Engine:
    """The model in `source`, run by `engine`.

    source: a model folder (ONNX files, or model.safetensors, or all), or a checkpoint file.
    engine: "onnx", "openvino", "torch" or "auto", the fastest that is installed: PyTorch where it has weights and
    finds an NVIDIA device; else OpenVINO; else ONNX Runtime.
    device: "cpu", "cuda", "cuda:1" and so on, "mps" or "auto"; only torch knows others than the CPU.
    precision: "float32", "bfloat16" or "float16", of the arithmetic; what goes in and out is float32.
    threads: how many CPU threads to use; all cores of this process when not given.
    compile: whether PyTorch compiles the model first, which takes minutes.
    config: what is known of a checkpoint that its weights do not say.
    Raises ModelError when a name is unknown, the options exclude each other, the engine is not installed, or the
    model's files cannot be used.
    """
    _check("engine", engine, ENGINES)
    _check("device", re.sub(r"^cuda:\d+$", "cuda", device), DEVICES)
    _check("precision", precision, tuple(PRECISIONS))
    if threads is not None and threads < 1:
        raise ModelError(f"threads is {threads}, but at least 1 has to compute")
    precision = PRECISIONS[precision]
    if engine == "auto":
        engine = _choose(source, device, precision, compile)
    _refuse_nonsense(engine, device, precision, compile)
    if engine == "torch":
        return _torch_engine(source, device, precision, threads, compile, config)
    if engine == "openvino":
        return _openvino_engine(source, precision, threads, config)
    from pocketsam.engines.onnx import OnnxEngine

    return OnnxEngine(_onnx_folder(source, config), threads)


def cores() -> int:
    """The processor cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ModelError(f"there is no {what} {name!r}; use {', '.join(known[:-1])} or {known[-1]}")


def _choose(source: Path, device: str, precision: str, compile: bool) -> str:
    """The engine that "auto" is for this model and these options."""
    if compile or device not in ("auto", "cpu"):
        return "torch"
    if device == "auto" and _has_weights(source) and _finds_cuda():
        return "torch"
    if not _has_onnx(source) and _has_weights(source) and not _can_convert():
        return "torch"
    if precision == "float32" and not _installed("openvino"):
        return "onnx"
    return "openvino" if _installed("openvino") or not _has_weights(source) else "torch"


def _refuse_nonsense(engine: str, device: str, precision: str, compile: bool) -> None:
    if engine == "torch":
        return
    if device not in ("auto", "cpu"):
        raise ModelError(f"the {engine} engine runs on the CPU; for {device} use torch")
    if compile:
        raise ModelError(f"the {engine} engine needs no compiling; leave compile out, or use torch")
    if engine == "onnx" and precision != "float32":
        raise ModelError(f"the onnx engine computes in float32; for {precision} use openvino or torch")


def _torch_engine(
    source: Path,
    device: str,
    precision: str,
    threads: int | None,
    compile: bool,
    config: ModelConfig | None,
) -> Engine:
    if _has_onnx(source) and not _has_weights(source):
        raise ModelError(
            f"{source}: holds ONNX files, which the torch engine cannot run; use onnx or openvino, on the CPU"
        )
    try:
        from pocketsam.engines.torch import TorchEngine
    except ModuleNotFoundError as error:
        raise ModelError(f"the torch engine needs {error.name}: pip install 'pocketsam[export]'") from error
    return TorchEngine.load(source, device, precision, threads, compile, config)


def _openvino_engine(source: Path, precision: str, threads: int | None, config: ModelConfig | None) -> Engine:
    try:
        from pocketsam.engines.openvino import OpenVinoEngine
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the openvino engine needs {error.name}: pip install 'pocketsam[openvino]'"
        ) from error
    return OpenVinoEngine(_onnx_folder(source, config), precision, threads)


def _onnx_folder(source: Path, config: ModelConfig | None) -> Path:
    """The folder of the model's ONNX files, which are made of its weights where there are none."""
    if all((source / name).exists() for name in ONNX_FILES) or not _has_weights(source):
        return source
    try:
        from pocketsam.export.prepare import prepare

        return prepare(source, config)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{source}: holds weights, and {error.name} is needed to run them: pip install 'pocketsam[export]'"
        ) from error


def _has_onnx(source: Path) -> bool:
    return any((source / name).exists() for name in ONNX_FILES)


def _has_weights(source: Path) -> bool:
    return source.is_file() or (source / "model.safetensors").exists()


def _can_convert() -> bool:
    """Whether the ONNX files can be made of weights or, at least, nothing else could run them."""
    return _installed("onnx") or not _installed("torch")


def _finds_cuda() -> bool:
    """Whether PyTorch can use an NVIDIA device; it is imported only where a driver is there."""
    has_driver = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
    if not has_driver or not (_installed("torch") and _installed("safetensors")):
        return False
    from pocketsam.engines.torch import find_device

    return find_device("auto") == "cuda"


def _installed(package: str) -> bool:
    return find_spec(package) is not None

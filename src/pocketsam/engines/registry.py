"""The engines there are, and which of them opens a model.

A new engine is a file with a function `load(source, options)`, and a line in `_ENGINES` that says what it can do.
"""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Literal

from pocketsam.config import ModelConfig
from pocketsam.engines.base import INT8, Engine, EngineOptions
from pocketsam.engines.source import can_convert, has_int8, has_onnx, quantized_file, weights_file
from pocketsam.errors import ModelError
from pocketsam.graphs import INT8_ENCODER
from pocketsam.utils.install import how_to_install, installed
from pocketsam.utils.processor import multiplies_int8

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "int8": INT8,
    "fp32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
}
"""Every way to write a precision, and its full name."""


@dataclass(frozen=True)
class EngineEntry:
    """An engine, and what it can do.

    package: what must be installed; extra: the optional part of PocketSAM that installs it, "" for none. runs: "onnx"
    files (which can be made of weights, or be others' in segment_anything's layout), "weights", or the "scales" of a
    quantised model. devices, precisions: those that it knows. compiles: whether it knows the option `compile`.
    loads_slowly: whether opening a model takes longer than an image does, so that another engine is done sooner with
    a single image. module: what has its `load`; pocketsam.engines.NAME when not given.
    """

    name: str
    package: str
    runs: Literal["onnx", "weights", "scales"]
    extra: str = ""
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("float32",)
    compiles: bool = False
    loads_slowly: bool = False
    module: str = ""

    def does(self, options: EngineOptions) -> bool:
        """Whether it knows the device and the precision, and compiles if it has to."""
        device = options.device.partition(":")[0]
        return (
            (device == "auto" or device in self.devices)
            and options.precision in self.precisions
            and (self.compiles or not options.compile)
        )

    def can_load(self, source: Path) -> bool:
        """Whether the model in `source` has what it runs, or what that can be made of."""
        if self.runs == "scales":
            return quantized_file(source) is not None
        has_weights = weights_file(source) is not None
        if self.runs == "weights":
            return has_weights
        return has_onnx(source) or (has_weights and can_convert())

    def load(self, source: Path, options: EngineOptions) -> Engine:
        """The model in `source`. Raises ModelError when the engine is not installed, or cannot use the model."""
        try:
            module = import_module(self.module or f"pocketsam.engines.{self.name}")
        except ModuleNotFoundError as error:
            raise ModelError(
                f"the {self.name} engine needs {error.name}: {how_to_install(self.extra)}"
            ) from error
        engine: Engine = module.load(source, options)
        return engine


_HALF = ("float32", "bfloat16", "float16")
# The fastest first, as measured for one image and many prompts on a CPU.
_ENGINES = (
    EngineEntry("openvino", "openvino", "onnx", "openvino", precisions=(*_HALF, INT8), loads_slowly=True),
    EngineEntry("onnx", "onnxruntime", "onnx", precisions=("float32", INT8)),
    EngineEntry("torch", "torch", "weights", "export", ("cpu", "cuda", "mps"), _HALF, compiles=True),
    EngineEntry("fake-quant", "torch", "scales", "export", module="pocketsam.engines.fake_quant"),
)

ENGINES = {entry.name: entry for entry in _ENGINES}
"""All engines by name, the fastest first."""


def open_engine(
    source: Path,
    engine: str = "auto",
    *,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    compile: bool = False,
    config: ModelConfig | None = None,
    one_image: bool = False,
) -> Engine:
    """The model in `source`, run by `engine`.

    source: a model folder (ONNX files, or model.safetensors, or all), or a checkpoint file.
    engine: a name in `ENGINES`, or "auto", the fastest that is installed: PyTorch where the model has weights and
    there is an NVIDIA device; else OpenVINO; else ONNX Runtime.
    device: "cpu", "cuda", "cuda:1" and so on, "mps" or "auto"; only torch knows others than the CPU.
    precision: "float32", "bfloat16", "float16" or "int8", of the arithmetic; inputs and outputs are float32. "auto":
    "int8" where the model has an encoder for it, and the processor computes it faster; else "float32".
    threads: how many CPU threads to use; all cores of this process when not given.
    compile: whether PyTorch compiles the model first, which takes minutes.
    config: what is known of a checkpoint that its weights do not say.
    one_image: whether the model is opened for a single image, so that "auto" counts the time that loading takes.
    Raises ModelError when a name is unknown, the options exclude each other, the engine is not installed, or the
    model's files cannot be used.
    """
    wanted = EngineOptions(device, precision, threads, compile, config)
    entry, options = resolve(source, engine, wanted, one_image)
    return entry.load(source, options)


def resolve(
    source: Path, engine: str, wanted: EngineOptions, one_image: bool = False
) -> tuple[EngineEntry, EngineOptions]:
    """The engine and the options that `open_engine` takes for these, with what "auto" is here. Raises as it does."""
    _check("engine", engine, ("auto", *sorted(ENGINES)))
    _check("device", re.sub(r"^cuda:\d+$", "cuda", wanted.device), DEVICES)
    _check("precision", wanted.precision, ("auto", *PRECISIONS))
    if wanted.threads is not None and wanted.threads < 1:
        raise ModelError(f"threads is {wanted.threads}, but at least 1 has to compute")
    options = replace(wanted, precision=PRECISIONS.get(wanted.precision, "float32"))
    entry = choose(source, options, one_image) if engine == "auto" else ENGINES[engine]
    if wanted.precision == "auto" and INT8 in entry.precisions and has_int8(source) and multiplies_int8():
        options = replace(options, precision=INT8)
    _refuse_nonsense(entry, options)
    if options.precision == INT8 and not has_int8(source):
        raise ModelError(
            f"{source}: holds no {INT8_ENCODER}; leave the precision out, or make one: pocketsam quantize"
        )
    return entry, options


def choose(source: Path, options: EngineOptions, one_image: bool = False) -> EngineEntry:
    """The engine that "auto" is for this model and these options.

    Where nothing that is installed will do, the one whose error message says what is missing.
    """
    able = [entry for entry in ENGINES.values() if entry.does(options)] or list(ENGINES.values())
    able = [entry for entry in able if entry.can_load(source)] or able
    there = [entry for entry in able if installed(entry.package)]
    if not there:
        return able[0]
    if options.device == "auto":
        accelerated = [entry for entry in there if "cuda" in entry.devices and entry.can_load(source)]
        if accelerated and finds_cuda():
            return accelerated[0]
    if one_image:
        there.sort(key=lambda entry: entry.loads_slowly)
    return there[0]


def finds_cuda() -> bool:
    """Whether PyTorch can use an NVIDIA device; it is imported only where a driver is there."""
    has_driver = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
    if not has_driver or not (installed("torch") and installed("safetensors")):
        return False
    from pocketsam.engines.torch import find_device

    return find_device("auto") == "cuda"


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ModelError(f"there is no {what} {name!r}; use {', '.join(known[:-1])} or {known[-1]}")


def _refuse_nonsense(entry: EngineEntry, options: EngineOptions) -> None:
    device = options.device.partition(":")[0]
    if device not in ("auto", *entry.devices):
        others = _names(other for other in ENGINES.values() if device in other.devices)
        raise ModelError(f"the {entry.name} engine runs on the CPU; for {options.device} use {others}")
    if options.compile and not entry.compiles:
        others = _names(other for other in ENGINES.values() if other.compiles)
        raise ModelError(f"the {entry.name} engine needs no compiling; leave compile out, or use {others}")
    if options.precision not in entry.precisions:
        others = _names(other for other in ENGINES.values() if options.precision in other.precisions)
        raise ModelError(
            f"the {entry.name} engine computes in {' or '.join(entry.precisions)};"
            f" for {options.precision} use {others}"
        )


def _names(entries: Iterable[EngineEntry]) -> str:
    return " or ".join(entry.name for entry in entries)

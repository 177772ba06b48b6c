"""What a model's files can be run by: its ONNX files, its weights, or both."""

from pathlib import Path

from pocketsam.config import ModelConfig
from pocketsam.errors import ModelError
from pocketsam.graphs import INT8_ENCODER, ONNX_FILES
from pocketsam.utils.install import CHECKOUT, how_to_install, installed, runs_from_checkout

WEIGHTS_FILE = "model.safetensors"
QUANTIZED_FILE = "quantized.safetensors"
"""A model's weights and how to quantise them; under a name of its own, so that it never runs as the float model."""
PACKAGED = Path(__file__).parents[1] / "weights"
"""The folder of the models inside the package, which have ONNX files only: their weights are in the repository."""


def has_onnx(source: Path) -> bool:
    """Whether a model folder holds ONNX files, ours or others in segment_anything's layout."""
    return any((source / name).exists() for name in ONNX_FILES) or segment_anything_files(source) is not None


def has_int8(source: Path) -> bool:
    """Whether a model folder holds an encoder in INT8 beside the float one."""
    return (source / INT8_ENCODER).is_file()


def segment_anything_files(folder: Path) -> tuple[Path, Path] | None:
    """The encoder and the decoder in a folder that holds one of each in segment_anything's layout, else None."""
    found = [
        [path for path in sorted(folder.glob("*.onnx")) if path.stem.endswith(part) and path.stem != part]
        for part in ("encoder", "decoder")
    ]
    if any(len(paths) != 1 for paths in found):
        return None
    (encoder,), (decoder,) = found
    return encoder, decoder


def weights_file(source: Path) -> Path | None:
    """The weights of the model in `source`, a model folder or a checkpoint file; None if it has none.

    For a model inside the package, those in the repository, where the package runs from a checkout.
    """
    if source.is_file():
        return None if source.name == QUANTIZED_FILE else source
    paths = [source / WEIGHTS_FILE]
    if source.parent == PACKAGED and runs_from_checkout():
        paths.append(CHECKOUT / "checkpoints" / source.name / WEIGHTS_FILE)
    return next((path for path in paths if path.exists()), None)


def quantized_file(source: Path) -> Path | None:
    """The weights and scales of the quantised model in `source`, a folder or that file; None if it has none."""
    path = source if source.name == QUANTIZED_FILE else source / QUANTIZED_FILE
    return path if path.is_file() else None


def needs_weights(source: Path, engine: str) -> str:
    """Why an engine cannot run a model that has no weights, in one line, and what to do."""
    if source.parent == PACKAGED:
        return (
            f"the {engine} engine needs weights, and the installed package holds {source.name} as ONNX files only,"
            f" which onnx and openvino run on the CPU; run it from a checkout of the repository, whose"
            f" checkpoints/{source.name} holds them, or give the path of that folder as the model"
        )
    if has_onnx(source):
        return f"{source}: holds ONNX files, which the {engine} engine cannot run; use onnx or openvino, on the CPU"
    return f"{source}: holds no {WEIGHTS_FILE}, which the {engine} engine needs; give a folder or a file with weights"


def onnx_folder(source: Path, config: ModelConfig | None) -> Path:
    """The folder of the model's ONNX files, which are made of its weights where it has none.

    Raises ModelError when that cannot be done.
    """
    weights = weights_file(source)
    if weights is None or all((source / name).exists() for name in ONNX_FILES):
        return source
    try:
        from pocketsam.export.prepare import prepare

        return prepare(weights, config)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{source}: holds weights, and {error.name} is needed to run them: {how_to_install('export')}"
        ) from error


def can_convert() -> bool:
    """Whether ONNX files can be made of weights or, without PyTorch, nothing else could run the weights either."""
    return installed("onnx") or not installed("torch")

"""A checkpoint as other files of the same model: safetensors with its config, ONNX, or a PyTorch state dict."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from pocketsam.config import ModelConfig
from pocketsam.errors import InputError
from pocketsam.export.onnx import export_onnx
from pocketsam.graphs import INT8_ENCODER, ONNX_FILES
from pocketsam.models.checkpoints import FILE_NAME, round_to_half, save_model
from pocketsam.models.published import as_published
from pocketsam.models.sam import Sam, count_parameters


@dataclass(frozen=True)
class Converted:
    """What was written, and how many parameters the model has."""

    files: list[Path]
    parameters: int


def convert(
    sam: Sam,
    config: ModelConfig,
    output: Path,
    forms: Collection[str],
    *,
    half: bool = False,
    compact: bool = False,
    source: Path,
) -> Converted:
    """Write a model into the folder `output`, or into that .safetensors file.

    forms: any of "safetensors", "onnx" and "pt", a state dict as the code of the architecture's authors reads it.
    half: store weights in float16. compact: of ONNX files, the decoder's in INT8, the others in float16.
    source: the checkpoint, which may be replaced.
    Raises InputError when the files cannot be written, or would lie beside those of another model.
    """
    if output.suffix in (".safetensors", ".onnx") and "onnx" in forms:
        raise InputError(f"{output}: is one file, and ONNX files are several; give a folder")
    if output.suffix == ".safetensors" and "pt" in forms:
        raise InputError(f"{output}: is no place for a .pt file; give a folder")
    if compact and set(forms) != {"onnx"}:
        raise InputError("--compact: is for ONNX files; give --to onnx, and nothing else")
    _refuse_mixture(output, forms, source)
    if half:
        round_to_half(sam)
    files = []
    if "safetensors" in forms:
        files = [output if output.suffix == ".safetensors" else output / FILE_NAME]
        save_model(files[0], sam.state_dict(), config, half)
    if "onnx" in forms:
        files += export_onnx(sam, config, output, "compact" if compact else "float16" if half else "float32")
    if "pt" in forms:
        files.append(_save_published(sam, output / f"{config.name}.pt"))
    return Converted(files, count_parameters(sam))


def _save_published(sam: Sam, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(as_published(sam.state_dict()), path)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be written ({error})") from error
    return path


def _refuse_mixture(output: Path, forms: Collection[str], source: Path) -> None:
    """InputError if files of another model would stay beside those to be written: a folder is one model."""
    files: dict[str, tuple[str, ...]] = {
        "safetensors": (FILE_NAME,),
        "onnx": ONNX_FILES,
        "int8": (INT8_ENCODER,),
    }
    for form, names in files.items():
        for file in (output / name for name in names):
            if form not in forms and file.exists() and not (source.exists() and file.samefile(source)):
                added = "" if form == "int8" else f", add --to {form}"
                raise InputError(f"{file}: may be of another model; delete it{added}, or give another -o")

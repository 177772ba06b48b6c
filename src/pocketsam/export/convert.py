"""A checkpoint as other files of the same model: safetensors with its config, ONNX, or a PyTorch state dict."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from pocketsam.config import ModelConfig
from pocketsam.errors import InputError
from pocketsam.export.conversion import Conversion, Form
from pocketsam.export.onnx import export_onnx
from pocketsam.export.storage import Storage
from pocketsam.graphs import INT8_ENCODER, ONNX_FILES
from pocketsam.models.checkpoints import FILE_NAME, load_model, round_to_half, save_model
from pocketsam.models.published import as_published
from pocketsam.models.sam import Sam, count_parameters
from pocketsam.utils.files import check_writable


@dataclass(frozen=True)
class Converted:
    """What was written, and of what: the checkpoint, its config, and how many parameters the model has."""

    files: list[Path]
    source: Path
    config: ModelConfig
    parameters: int

    def __str__(self) -> str:
        side = self.config.image_size
        return (
            f"{self.source}: {self.config.architecture or 'an architecture without a name'},"
            f" {self.parameters / 1e6:.1f} M parameters, {side} × {side} pixels"
        )


def convert(wanted: Conversion, source: Path, config: ModelConfig | None = None) -> Converted:
    """Write the model in a checkpoint as other files, in the forms that are wanted.

    source: the checkpoint, which may be replaced. config: what is known of it that it does not say.
    Raises ModelError when the checkpoint cannot be used, InputError when the files cannot be written, or would lie
    beside those of another model.
    """
    sam, config = load_model(source, config)
    config = config.with_defaults(wanted.defaults or ())
    output = wanted.output or Path(config.name)
    forms = {form.value for form in wanted.to or [Form.safetensors]}
    _check_output(output, forms, wanted.compact)
    _refuse_mixture(output, forms, source)
    if wanted.half:
        round_to_half(sam)
    files = []
    if "safetensors" in forms:
        files = [output if output.suffix == ".safetensors" else output / FILE_NAME]
        save_model(files[0], sam.state_dict(), config, wanted.half)
    if "onnx" in forms:
        storage: Storage = "compact" if wanted.compact else "float16" if wanted.half else "float32"
        files += export_onnx(sam, config, output, storage)
    if "pt" in forms:
        files.append(_save_published(sam, output / f"{config.name}.pt"))
    return Converted(files, source, config, count_parameters(sam))


def _check_output(output: Path, forms: Collection[str], compact: bool) -> None:
    """InputError if the forms do not fit the output, or nothing can be written there."""
    if output.suffix in (".safetensors", ".onnx") and "onnx" in forms:
        raise InputError(f"{output}: is one file, and ONNX files are several; give a folder")
    if output.suffix == ".safetensors" and "pt" in forms:
        raise InputError(f"{output}: cannot hold a .pt file; give a folder")
    if compact and forms != {"onnx"}:
        raise InputError("--compact: is for ONNX files; give --to onnx, and nothing else")
    check_writable(output.parent if output.suffix == ".safetensors" else output, missing=True)


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

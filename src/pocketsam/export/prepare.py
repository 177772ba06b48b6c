"""Weights to the ONNX pair that the fast engines run, made once and kept."""

import hashlib
import sys
from pathlib import Path

from pocketsam.description import Description
from pocketsam.files import home


def prepare(source: Path, description: Description | None = None) -> Path:
    """The folder with `encoder.onnx` and `decoder.onnx` of a checkpoint, or of a folder that holds one.

    Made the first time, under `home()`/onnx, and again when the checkpoint changes. Raises ModelError when the
    checkpoint cannot be used, InputError when there is no room.
    """
    weights = source / "model.safetensors" if source.is_dir() else source
    folder = home() / "onnx" / f"{(description.name if description else weights.stem)}-{_mark(weights)}"
    if (folder / "encoder.onnx").exists() and (folder / "decoder.onnx").exists():
        return folder
    from pocketsam.export.onnx import export_onnx  # PyTorch is needed the first time only
    from pocketsam.models.checkpoints import load_model

    sam, found = load_model(weights, description)
    print(f"{weights.name}: made ready for the fast engines, once, in {folder}", file=sys.stderr)
    export_onnx(sam, found, folder)
    return folder


def _mark(path: Path) -> str:
    """Which file this is, and which version of it, without reading gigabytes."""
    status = path.stat() if path.exists() else None
    facts = (str(path.resolve()), status and status.st_size, status and status.st_mtime_ns)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]

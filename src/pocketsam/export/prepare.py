"""Weights to the ONNX files that the fast engines run, made once and kept."""

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from pocketsam.config import ModelConfig
from pocketsam.errors import InputError, ModelError
from pocketsam.graphs import ONNX_FILES, VERSION
from pocketsam.utils.files import home

STORED = "float32"
"""How the weights in these files are stored: as exactly as they are in the checkpoint."""


def prepare(weights: Path, config: ModelConfig | None = None) -> Path:
    """The folder with the ONNX files of a checkpoint.

    Made the first time, under `home()`/onnx, and again when the checkpoint or PocketSAM changes. Of several processes
    that need it at once, one makes it. Raises ModelError when the checkpoint cannot be used, or there is no room.
    """
    name = config.name if config else weights.stem
    folder = home() / "onnx" / f"{name}-{_mark(weights, config)}"
    if _is_there(folder):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not _is_there(folder):
                _make(weights, config, folder)
    except (InputError, OSError) as error:
        raise ModelError(
            f"{weights}: its ONNX files cannot be kept in {folder} ({error}); set POCKETSAM_HOME to a folder with"
            " room, or use the torch engine"
        ) from error
    return folder


def _is_there(folder: Path) -> bool:
    return all((folder / name).exists() for name in ONNX_FILES)


def _make(weights: Path, config: ModelConfig | None, folder: Path) -> None:
    from pocketsam.export.onnx import export_onnx  # PyTorch is needed the first time only
    from pocketsam.models.checkpoints import load_model

    sam, found = load_model(weights, config)
    print(f"pocketsam: {weights.name} is made ready for the fast engines, once, in {folder}", file=sys.stderr)
    export_onnx(sam, found, folder)


def _mark(weights: Path, config: ModelConfig | None) -> str:
    """Which version of which file this is, and what is made of it, without reading gigabytes."""
    status = weights.stat()
    file = (str(weights.resolve()), status.st_size, status.st_mtime_ns)
    facts = (*file, version("pocketsam"), VERSION, STORED, config)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]

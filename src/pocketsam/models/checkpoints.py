"""Weights on disk: safetensors that say which architecture and description they belong to. Nothing is unpickled."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pocketsam.description import Description
from pocketsam.errors import ModelError
from pocketsam.models.sam import MODELS, Sam

FILE_NAME = "model.safetensors"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write all of a file or none of it: a killed run or a full disk leaves the former file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({name: t.detach().contiguous() for name, t in tensors.items()}, beside, metadata)
        os.replace(beside, path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path}: cannot be written ({error}); the former file, if any, is intact"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and its metadata. Raises ModelError for a missing or damaged file."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: is damaged or not a safetensors file ({error}); get it again") from error


def save_model(
    path: Path,
    architecture: str,
    weights: Mapping[str, Tensor],
    description: Description,
    half: bool = False,
) -> None:
    """A model's weights in the published layout.

    half: matrices and convolutions in float16; vectors, which normalise, stay as they are.
    """
    if half:
        weights = {n: t.half() if t.is_floating_point() and t.ndim >= 2 else t for n, t in weights.items()}
    metadata = {"architecture": architecture, "pocketsam": description.to_json()}
    save_tensors(path, weights, metadata)


def load_model(path: Path) -> tuple[Sam, Description]:
    """The model in a file that `save_model` wrote, in float32, ready for inference.

    Raises ModelError when it does not fit.
    """
    tensors, metadata = load_tensors(path)
    try:
        description = Description.from_json(metadata["pocketsam"])
        sam = MODELS[metadata["architecture"]](description.image_size)
    except (KeyError, ValueError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: does not say which model it is; export it with PocketSAM") from error
    load_strictly(sam, tensors, path)
    return sam.eval(), description


def load_strictly(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load weights that must fit exactly; ModelError names what is missing, too much, or of another shape."""
    expected = module.state_dict()
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    shapes = [n for n, t in tensors.items() if n in expected and t.shape != expected[n].shape]
    for trouble, names in (("missing", missing), ("unknown", extra), ("of another shape", shapes)):
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise ModelError(f"{path}: does not fit this architecture; {trouble}: {shown}")
    module.load_state_dict(dict(tensors))

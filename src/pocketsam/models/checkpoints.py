"""Weights on disk: safetensors that say what their model expects, and the checkpoints that others publish.

What a file holds is told by its tensors' names and shapes alone, and must fit exactly. Only tensors are unpickled.
"""

import hashlib
import os
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pocketsam.config import EFFICIENT_SAM, METADATA_KEY, SAM, ModelConfig
from pocketsam.errors import ModelError
from pocketsam.models.architectures import ARCHITECTURES, architecture_of, like
from pocketsam.models.layers import Shapes
from pocketsam.models.published import rename, without_hq
from pocketsam.models.sam import Sam, variant_of

FILE_NAME = "model.safetensors"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write all of a file or none of it: a killed run or a full disk leaves the former file as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: t.detach().contiguous() for name, t in tensors.items()}, beside, metadata)
        os.replace(beside, path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path}: cannot be written ({error}); the former file, if any, is intact"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and its metadata. Raises ModelError for a missing or damaged file."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except PermissionError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: is damaged or not a safetensors file ({error}); get it again") from error


def save_model(
    path: Path,
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    half: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> ModelConfig:
    """Write a model's weights in the published layout; returns the config as written, with their digest.

    half: matrices and convolutions in float16; vectors, which normalise, stay as they are.
    metadata: what else the file says of the model.
    """
    if half:
        weights = {n: t.half() if _is_halved(t) else t for n, t in weights.items()}
    config = replace(config, weights=digest(weights), numerics="float16" if half else config.numerics)
    save_tensors(path, weights, {**(metadata or {}), METADATA_KEY: config.to_json()})
    return config


def round_to_half(sam: Sam) -> None:
    """Round the weights, in place, to what half-precision files keep of them: all files then are of one model."""
    for tensor in sam.state_dict().values():
        if _is_halved(tensor):
            tensor.copy_(tensor.half())


def _is_halved(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim >= 2


def load_model(path: Path, config: ModelConfig | None = None) -> tuple[Sam, ModelConfig]:
    """The model in a checkpoint of ours or of the family, in float32, ready for inference.

    config: what is known of the file that its weights do not say. If it names an architecture, the file
    must hold that one. Without it, ours say theirs; others are described by their family, and named as the file.
    Raises ModelError when the file is missing, damaged, unsafe, of an unknown family, or does not fit.
    """
    tensors, metadata = load_published(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes and all(name.startswith("image_encoder.") for name in shapes):
        raise ModelError(
            f"{path}: holds an image encoder alone, as from pretraining; train a model with it as init"
        )
    found = architecture_of(shapes)
    config = config or _describe(path, metadata, shapes)
    if config.architecture and config.architecture != found:
        raise ModelError(
            f"{path}: is {found or 'a network of a shape of its own'}, not {config.architecture};"
            " give another file, or say which model it is: rename it, or convert it with --as"
        )
    sam = _build(path, shapes, config.image_size)
    load_strictly(sam, tensors, path, assign=True)
    config = replace(
        config,
        image_size=sam.image_size,
        architecture=found,
        embedding_channels=sam.embedding_channels,
        weights=digest(tensors),
    )
    return sam.eval().requires_grad_(False), config


def load_published(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of any checkpoint of the family under our names, and its metadata.

    Floating-point tensors become float32. Raises ModelError when the file is missing, damaged or unsafe.
    """
    if path.suffix == ".onnx":
        raise ModelError(f"{path}: is one of a model's ONNX files; give the folder that holds them all")
    if path.suffix == ".safetensors":
        tensors, metadata = load_tensors(path)
    else:
        tensors, metadata = _load_pickle(path), {}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized or tensor.is_meta:
            raise ModelError(
                f"{path}: {name} is sparse, complex, quantised or empty; save the model in float32"
            )
    renamed = rename(tensors)
    kept = without_hq(renamed)
    if len(kept) < len(renamed):
        warnings.warn(
            f"{path}: is a SAM-HQ; SAM's own tensors are read, and its {len(renamed) - len(kept)} others, the HQ"
            " token and what makes its mask, are left out: masks are SAM's",
            stacklevel=2,
        )
    return {n: t.float() if t.is_floating_point() else t for n, t in kept.items()}, metadata


def config_of(path: Path) -> ModelConfig | None:
    """The config in a file of ours; None in another. Raises ModelError for one that is damaged."""
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    return _describe(path, metadata, {}) if METADATA_KEY in metadata else None


def mean_weights(paths: Sequence[Path], shares: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The mean of weights that were trained from one start: often better than each (arXiv 2203.05482).

    shares: how much each file counts, 1 in all; equally by default. What is no floating-point number is the first's.
    Raises ModelError for files that cannot be read, or are of different architectures.
    """
    every = [load_published(path)[0] for path in paths]
    for path, tensors in zip(paths, every, strict=True):
        if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in every[0].items()}:
            raise ModelError(f"{path}: is of another architecture than {paths[0]}; average weights of one")
    weights = torch.tensor(shares or [1 / len(every)] * len(every))
    return {
        name: torch.tensordot(weights, torch.stack([tensors[name].float() for tensors in every]), 1)
        if first.is_floating_point()
        else first
        for name, first in every[0].items()
    }


def load_strictly(
    module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path, assign: bool = False
) -> None:
    """Load weights that must fit exactly; ModelError names what is missing, too much, or of another shape.

    assign: the tensors become the module's own, instead of being copied into them.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    known = {name: tensor for name, tensor in tensors.items() if name in expected}
    shapes = [n for n, t in known.items() if t.shape != expected[n].shape]
    kinds = [n for n, t in known.items() if t.is_floating_point() != expected[n].is_floating_point()]
    troubles = {"missing": missing, "unknown": extra, "of another shape": shapes, "of another type": kinds}
    for trouble, names in troubles.items():
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise ModelError(f"{path}: does not fit this architecture; {trouble}: {shown}")
    module.load_state_dict(dict(tensors), assign=assign)


def digest(weights: Mapping[str, Tensor]) -> str:
    """sha256 of the weights as float32, in the order of their names: the same for every file they are kept in."""
    found = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        found.update(name.encode())
        found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()


def _load_pickle(path: Path) -> dict[str, Tensor]:
    """The state dict in a PyTorch file, also from under "model" and the like; no code in it is ever run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that will be refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except pickle.UnpicklingError as error:
        raise ModelError(_refusal(path, str(error))) from error
    except Exception as error:  # a damaged file can fail anywhere in PyTorch's reader
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path}: is damaged, incomplete or not a PyTorch checkpoint ({reason}); get the file again"
        ) from error
    for key in ("model", "state_dict", "model_state_dict", "model_state"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise ModelError(f"{path}: holds no state dict (names and tensors); save model.state_dict()")
    return {str(name): tensor for name, tensor in content.items()}


def _refusal(path: Path, reason: str) -> str:
    """Why PyTorch would not read a pickle, in one line."""
    unsafe = re.search(r"GLOBAL ([\w.]+)", reason)
    if not unsafe:
        return f"{path}: is damaged, or a pickle that torch.save did not write, and is refused; get the file again"
    return (
        f"{path}: holds pickled Python code ({unsafe[1]}), not only tensors, and is refused: loading it would run"
        " for safety; get a state dict or safetensors from its authors"
    )


def _describe(path: Path, metadata: Mapping[str, str], shapes: Shapes) -> ModelConfig:
    """What the file says of its model or, where it says nothing, what its family expects."""
    if METADATA_KEY not in metadata:
        return replace(_family(shapes), name=path.stem, licence="")
    try:
        return ModelConfig.from_json(metadata[METADATA_KEY])
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: has an invalid config ({error}); convert the model again") from error


def _family(shapes: Shapes) -> ModelConfig:
    """What a network with these shapes expects, as far as they tell."""
    if found := architecture_of(shapes):
        return ARCHITECTURES[found].config
    return SAM if variant_of(shapes) == "sam" else EFFICIENT_SAM


def _build(path: Path, shapes: Shapes, image_size: int) -> Sam:
    """The network with tensors of these shapes, which are not initialised: the file's will replace them."""
    try:
        with torch.device("meta"):
            return like(shapes, image_size)
    except KeyError as error:
        raise ModelError(
            f"{path}: does not fit this architecture; missing: image_encoder.{error.args[0]}"
        ) from error
    except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: its tensors make no network ({reason}); get the file again") from error
    except LookupError as error:
        raise ModelError(_unknown(path, shapes)) from error


def _unknown(path: Path, shapes: Shapes) -> str:
    shown = ", ".join(list(shapes)[:2]) or "nothing"
    return (
        f"{path}: is of no family that PocketSAM knows (it holds {shown} …); it reads SAM ViT, MobileSAM, TinySAM,"
        " EfficientSAM, Hugging Face's SamModel (SlimSAM) and its own"
    )

"""The registry of builders, which give a model with the weights of a checkpoint, or without any."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pocketsam.compat.engine_model import EngineModel, check_architecture
from pocketsam.config import SAM, ModelConfig
from pocketsam.errors import ModelError
from pocketsam.utils.install import how_to_install, installed
from pocketsam.zoo import locate

if TYPE_CHECKING:
    from pocketsam.compat.modeling import Sam

Model: TypeAlias = "Sam | EngineModel"


def build_sam(checkpoint: str | Path | None = None) -> Model:
    """The model in `checkpoint`, whatever its architecture; an uninitialised ViT-H when there is none.

    checkpoint: a checkpoint file (.pth, .pt, .safetensors, .bin) of a network that sees a photo as SAM does gives a
    `modeling.Sam`, and so does None, with random weights. All else gives an `EngineModel`: a folder with a model, a
    name that `pocketsam models` lists, other networks, and files where PyTorch is not installed.
    All builders raise ModelError when there is no such model, or the file does not hold one of the architecture.
    """
    return _build(checkpoint, "sam_vit_h", any_architecture=True)


def build_sam_vit_h(checkpoint: str | Path | None = None) -> Model:
    """SAM with its largest encoder; see `build_sam`."""
    return _build(checkpoint, "sam_vit_h")


def build_sam_vit_l(checkpoint: str | Path | None = None) -> Model:
    """SAM with its middle encoder; see `build_sam`."""
    return _build(checkpoint, "sam_vit_l")


def build_sam_vit_b(checkpoint: str | Path | None = None) -> Model:
    """SAM with its smallest encoder; see `build_sam`."""
    return _build(checkpoint, "sam_vit_b")


def build_sam_vit_t(checkpoint: str | Path | None = None) -> Model:
    """A TinyViT: MobileSAM, without a checkpoint uninitialised; TinySAM; PocketSAM's own. See `build_sam`."""
    return _build(checkpoint, "mobile_sam", "pocket")


sam_model_registry: dict[str, Callable[..., Any]] = {
    "default": build_sam,
    "vit_h": build_sam_vit_h,
    "vit_l": build_sam_vit_l,
    "vit_b": build_sam_vit_b,
    "vit_t": build_sam_vit_t,
}


def _build(checkpoint: str | Path | None, *architectures: str, any_architecture: bool = False) -> Model:
    if checkpoint is None:
        return _uninitialised(architectures[0])
    expected = () if any_architecture else architectures
    source, config = locate(checkpoint)
    if config is not None:  # known without opening it
        check_architecture(source, config, expected)
    named = Path(checkpoint) != source
    if named or source.is_dir() or not installed("torch") or not sees_as_sam(config or SAM):
        return EngineModel(source, config, expected)
    from pocketsam.models.checkpoints import load_model

    network, found = load_model(source, config)
    check_architecture(source, found, expected)
    if not sees_as_sam(found):
        return EngineModel(source, config, expected)
    from pocketsam.compat.modeling.published import with_weights_of

    return with_weights_of(network)


def _uninitialised(architecture: str) -> "Sam":
    if not installed("torch"):
        raise ModelError(
            f"a model without a checkpoint has random weights, and needs PyTorch: {how_to_install('export')}"
        )
    from pocketsam.compat.modeling.published import uninitialised

    return uninitialised(architecture)


def sees_as_sam(config: ModelConfig) -> bool:
    """Whether a model takes photos and prompts, and gives masks, just as SAM does."""
    names = ("resize", "resampling", "mean", "std", "prompt_masks", "pad_points_to", "takes_masks")
    return config.embedding_channels == SAM.embedding_channels and all(
        getattr(config, name) == getattr(SAM, name) for name in names
    )

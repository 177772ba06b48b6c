"""What a network holds and does: parameters and multiply-adds, module by module."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketsam.config import ModelConfig
from pocketsam.errors import ModelError
from pocketsam.evaluation.timing import single_clicks

if TYPE_CHECKING:
    from torch import nn

    from pocketsam.models.sam import Sam


@dataclass(frozen=True)
class Work:
    """What a module of a network holds, and its multiply-adds for one image or, in the decoder, for one click."""

    module: str
    parameters: int
    macs: int


def count_work(sam: "Sam", config: ModelConfig) -> list[Work]:
    """The parts of a network, each followed by its modules and by what it holds and does outside of them.

    The image encoder's stages or blocks are modules of their own. Multiply-adds are those of convolutions and matrix
    products. What takes no part in segmenting does not count (see `count_parameters`).
    sam: for this alone; its encoder's weights are dropped.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    sam = sam.eval().requires_grad_(False)
    sam.image_encoder.to("meta")  # what it would do is known without doing it
    size, side = sam.image_size, sam.embedding_side
    points, labels = (torch.from_numpy(values)[None] for values in single_clicks(config, 1)[:2])
    encoding, decoding = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH):  # written out: the counter does not know every fused kernel
        with encoding:
            sam.encode(torch.empty(1, 3, size, size, device="meta"))
        with decoding:
            sam.decode(torch.zeros(1, sam.embedding_channels, side, side), points, labels)
    decoder = list(_work("mask_decoder", sam.mask_decoder, decoding.get_flop_counts()))
    rest = decoding.get_total_flops() // 2 - decoder[0].macs
    return [
        *_work("image_encoder", sam.image_encoder, encoding.get_flop_counts()),
        Work("prompt_encoder", _parameters(sam.prompt_encoder), rest),
        *decoder,
    ]


def _work(name: str, part: "nn.Module", flops: dict[str, dict[Any, int]]) -> Iterator[Work]:
    """flops: by the names that the counter gives modules, which begin with the class of the part."""
    root = type(part).__name__
    macs = {module: sum(of_ops.values()) // 2 for module, of_ops in flops.items()}
    modules = [
        Work(f"{name}.{child}", _parameters(module), macs.get(f"{root}.{child}", 0))
        for child, module in _modules(part)
    ]
    whole = Work(name, _parameters(part), macs[root])
    own = Work(
        f"{name} itself",
        whole.parameters - sum(module.parameters for module in modules),
        whole.macs - sum(module.macs for module in modules),
    )
    yield whole
    yield from modules
    if own.parameters or own.macs:
        yield own


_IDLE = ("head", "norm_head")
"""The classifier of TinyViT's pretraining."""


def _modules(part: "nn.Module") -> Iterator[tuple[str, "nn.Module"]]:
    """The modules of a part by name, those in lists one by one."""
    from torch import nn

    for name, child in part.named_children():
        if name in _IDLE:
            continue
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{i}", item) for i, item in enumerate(child))
        else:
            yield name, child


def _parameters(module: "nn.Module") -> int:
    named = module.named_parameters()
    return sum(values.numel() for name, values in named if name.partition(".")[0] not in _IDLE)


def network_of(source: Path, config: ModelConfig) -> "Sam":
    """The model's network. Raises ModelError where neither weights nor a known name say what it is."""
    from pocketsam.models.architectures import ARCHITECTURES
    from pocketsam.models.checkpoints import FILE_NAME, load_model

    weights = source / FILE_NAME if source.is_dir() else source
    if weights.exists():
        return load_model(weights, config)[0]
    if config.architecture in ARCHITECTURES:
        return ARCHITECTURES[config.architecture].build(config.image_size)
    raise ModelError(
        f"{source}: ONNX files do not tell the parameters and multiply-adds of this network; put its"
        f" {FILE_NAME} beside them"
    )

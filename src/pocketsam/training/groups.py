"""The optimiser's groups of parameters: which ones decay, and how fast each one learns."""

import re
from collections.abc import Iterable

from torch import nn

from pocketsam.training.config import Recipe

ENCODER, NECK = "image_encoder.", "image_encoder.neck."


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """What AdamW takes, with the `rate` of each group: its learning rate as a fraction of the recipe's.

    Weight decay on matrices only: not on biases, scales or learned tokens. The encoder has a rate of its own and, by
    `layer_decay`, each of its blocks a lower one than the next.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    rates = _encoder_rates([name for name, _ in named], recipe)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        decay = recipe.weight_decay if parameter.ndim >= 2 and parameter.shape[0] > 4 else 0.0
        groups.setdefault((decay, rates.get(name, 1.0)), []).append(parameter)
    return [{"params": p, "weight_decay": decay, "rate": rate} for (decay, rate), p in groups.items()]


def _encoder_rates(names: Iterable[str], recipe: Recipe) -> dict[str, float]:
    """The rates of the encoder's parameters without its neck (BEiT, arXiv 2106.08254, appendix H).

    The embedding of patches is layer 0, the blocks are those from 1 on, and what follows them is one more.
    """
    encoder = [name for name in names if name.startswith(ENCODER) and not name.startswith(NECK)]
    blocks = list(dict.fromkeys(block for name in encoder if (block := _block(name))))
    layers, seen = {}, False
    for name in encoder:
        block = _block(name)
        seen = seen or bool(block)
        layers[name] = 1 + blocks.index(block) if block else (1 + len(blocks) if seen else 0)
    last = 1 + len(blocks)
    return {name: recipe.encoder_rate * recipe.layer_decay ** (last - at) for name, at in layers.items()}


def _block(name: str) -> str:
    """The block that a parameter belongs to, such as "blocks.3" or "layers.1.blocks.0"; "" for none."""
    found = re.match(r"image_encoder\.((?:layers\.\d+\.)?(?:blocks|downsample)(?:\.\d+)?)", name)
    return found[1] if found else ""

"""Prompts to masks with a published module's own weights, in less time where there are several objects.

One object is computed by the modules, whose order of operations is the published one: its masks equal the published
ones to the last digit. For several, `models/factored.py` computes the same with a third of the arithmetic, which
rounds otherwise. It reads the very parameters of the published modules, so that training, half precision and another
device count at once. Where a client has put another layer in the place of one, or hooks, its modules are called.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pocketsam.compat.modeling.mask_decoder import MaskDecoder
from pocketsam.compat.modeling.prompt_encoder import PromptEncoder
from pocketsam.compat.modeling.transformer import TwoWayTransformer
from pocketsam.models import sam as models
from pocketsam.models.factored import FactoredDecoder

CHANNELS, MASK_CHANNELS, IMAGE_SIZE = 256, 16, 1024
Layers = list[tuple[str, type[nn.Module], str]]


def decode(
    model: Any,
    features: Tensor,
    points: tuple[Tensor, Tensor] | None,
    boxes: Tensor | None,
    masks: Tensor | None,
    multimask_output: bool,
) -> tuple[Tensor, Tensor]:
    """The masks of N objects on one embedded image: logits (N, M, S/4, S/4) and predicted IoU (N, M).

    model: has prompt_encoder and mask_decoder. features (1, C, h, w). points: coordinates (N, P, 2) in pixels of the
    model and labels (N, P); boxes (N, 4); masks (N or 1, 1, S/4, S/4). M is 3 with multimask_output, else 1.
    """
    given = [len(prompt) for prompt in (points and points[0], boxes, masks) if prompt is not None]
    network = unchanged(model, features) if max(given, default=1) > 1 else None
    if network is None:
        sparse, dense = model.prompt_encoder(points=points, boxes=boxes, masks=masks)
        return cast(
            tuple[Tensor, Tensor],
            model.mask_decoder(
                image_embeddings=features,
                image_pe=model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask_output,
            ),
        )
    sparse, _ = model.prompt_encoder(points=points, boxes=boxes, masks=None)
    logits, iou = _decode_all(FactoredDecoder(network), features, sparse, masks)
    chosen = slice(1, None) if multimask_output else slice(1)
    return logits[:, chosen], iou[:, chosen]


def unchanged(model: Any, features: Tensor | None = None) -> models.Sam | None:
    """The network that `FactoredDecoder` takes, with the parameters of the published modules in `model`.

    It has no image encoder. None where the prompt encoder or the mask decoder is not, or no longer, the published
    one, or where `features` are not those of a square.
    """
    prompts, decoder = model.prompt_encoder, model.mask_decoder
    found = _layers("prompt_encoder", prompts), _layers("mask_decoder", decoder)
    if found != _published():
        return None
    size, pixels = tuple(prompts.image_embedding_size), tuple(prompts.input_image_size)
    if (
        size[0] != size[1]
        or pixels[0] != pixels[1]
        or (features is not None and tuple(features.shape[-2:]) != size)
    ):
        return None
    tensors = _tensors("prompt_encoder", prompts) | _tensors("mask_decoder", decoder)
    known = _networks.get(decoder)
    if known is None or any(known[0].get(name) is not tensor for name, tensor in tensors.items()):
        known = tensors, _network(tensors)
        _networks[decoder] = known
    known[1].image_size = pixels[0]
    return known[1]


_networks: WeakKeyDictionary[nn.Module, tuple[dict[str, Tensor], models.Sam]] = WeakKeyDictionary()


def _network(tensors: dict[str, Tensor]) -> models.Sam:
    """A network that has these tensors themselves, not copies."""
    with torch.device("meta"):
        network = models.Sam(cast(Any, nn.Identity()), IMAGE_SIZE)
    network.load_state_dict(tensors, assign=True)
    return network.eval()


@lru_cache(maxsize=1)
def _published() -> tuple[Layers, Layers]:
    """The layers of the prompt encoder and of the mask decoder of all published models."""
    side = IMAGE_SIZE // 16
    with torch.device("meta"):
        prompts = PromptEncoder(CHANNELS, (side, side), (IMAGE_SIZE, IMAGE_SIZE), MASK_CHANNELS)
        decoder = MaskDecoder(transformer_dim=CHANNELS, transformer=TwoWayTransformer(2, CHANNELS, 8, 2048))
    return _layers("prompt_encoder", prompts), _layers("mask_decoder", decoder)


def _layers(name: str, module: nn.Module) -> Layers:
    """A module and all its layers by name, type and settings; one that does more than its type says has no name."""
    changed = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    found = [("" if changed else name, type(module), module.extra_repr())]
    for child, layer in module._modules.items():
        if layer is not None:
            found += _layers(f"{name}.{child}", layer)
    return found


def _tensors(name: str, module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers themselves, by name."""
    own = {**module._parameters, **module._buffers}
    found = {f"{name}.{key}": tensor for key, tensor in own.items() if tensor is not None}
    for child, layer in module._modules.items():
        if layer is not None:
            found |= _tensors(f"{name}.{child}", layer)
    return found


def _decode_all(
    decoder: FactoredDecoder, features: Tensor, sparse: Tensor, masks: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Four masks of each object; a mask as a prompt is part of the image, which is prepared anew for each."""
    if masks is None or len(masks) == 1:
        return _decode_tiles(decoder, features, sparse, masks)
    if len(sparse) == 1:  # masks are the only prompts
        sparse = sparse.expand(len(masks), -1, -1)
    if len(sparse) != len(masks):
        raise RuntimeError(f"there are {len(masks)} masks for {len(sparse)} objects; give each its own")
    parts = [_decode_tiles(decoder, features, sparse[i : i + 1], masks[i : i + 1]) for i in range(len(masks))]
    return _joined(parts)


def _decode_tiles(
    decoder: FactoredDecoder, features: Tensor, sparse: Tensor, masks: Tensor | None
) -> tuple[Tensor, Tensor]:
    tile = 4 if features.device.type == "cpu" else 64  # of prompts, which stay in the processor's cache
    prepared = decoder.prepare(features, masks)
    parts = []
    for start in range(0, max(1, len(sparse)), tile):
        some = sparse[start : start + tile]
        no_points = some.new_zeros(len(some), 0, 2)
        prediction = decoder.predict_iou(prepared.projections, no_points, no_points[..., 0].long(), some)
        logits = decoder.decode_masks(prepared.mask_features, prediction.mask_inputs)
        parts.append((logits, prediction.iou_predictions))
    return _joined(parts)


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    logits, iou = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(iou)

"""A model that computes as if it was quantised: every matrix product of rounded operands, in float32.

This is how any number of bits is evaluated; nothing gets smaller or faster by it. The files hold the float weights
and the scales, as tensors and JSON. They are not named model.safetensors, so that nothing takes them for the float
model.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pocketsam.config import METADATA_KEY, ModelConfig
from pocketsam.errors import InputError, ModelError
from pocketsam.models.architectures import like
from pocketsam.models.checkpoints import digest, load_strictly, load_tensors, save_tensors
from pocketsam.models.encoders.tiny_vit import ConvNorm
from pocketsam.models.sam import Sam
from pocketsam.quantization.products import Product, Products, quantize_b
from pocketsam.quantization.quantizers import Quantizer
from pocketsam.quantization.search import Scales
from pocketsam.quantization.settings import QuantizationSettings

FILE_NAME = "quantized.safetensors"
KEY = "pocketsam_quantization"
"""Under this name the file's metadata says how the model is quantised, as JSON."""
_PREFIX = "quantization."


class QuantizedSam(nn.Module):
    """A `Sam` whose products are quantised by `scales`; those that have none stay in float.

    One call at a time: a second thread would take the first one's products for its own.
    """

    def __init__(self, sam: Sam, scales: Mapping[str, Scales]) -> None:
        super().__init__()
        self.sam, self.scales = fold_batch_norm(sam), dict(scales)
        self._weights: dict[str, Tensor] = {}

    def encode(self, pixels: Tensor) -> Tensor:
        """See `Sam.encode`."""
        with torch.no_grad(), Products(self.sam, self._compute):
            return self.sam.encode(pixels)

    def decode(
        self,
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_input: Tensor | None = None,
        has_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Sam.decode`."""
        with torch.no_grad(), Products(self.sam, self._compute):
            return self.sam.decode(embedding, points, labels, mask_input, has_mask)

    def _compute(self, product: Product) -> Tensor:
        scales = self.scales.get(product.name)
        if scales is None:
            return product.compute(product.a, product.b)
        if not product.has_weights:
            return product.compute(scales.a(product.a), scales.b(product.b))
        if product.name not in self._weights:
            self._weights[product.name] = quantize_b(product, scales.b)
        return product.compute(scales.a(product.a), self._weights[product.name])


def fold_batch_norm(sam: Sam) -> Sam:
    """A copy for inference, in which each batch normalisation is part of the convolution before it."""
    sam = copy.deepcopy(sam).eval().requires_grad_(False)
    for module in sam.modules():
        if isinstance(module, ConvNorm) and isinstance(module.bn, nn.BatchNorm2d):
            module.c = fuse_conv_bn_eval(module.c, module.bn).requires_grad_(False)
            cast(nn.Module, module).bn = nn.Identity()
    return sam


def numerics(settings: QuantizationSettings, scales: Mapping[str, Scales]) -> str:
    """What tells this quantisation from others of the same weights, such as "w8a8-1b2c3d4e"."""
    found = hashlib.sha256(repr(vars(settings)).encode())
    for name in sorted(scales):
        for quantizer in (scales[name].a, scales[name].b):
            facts = quantizer.bits, quantizer.unsigned, quantizer.groups, quantizer.shift
            found.update(f"{name} {facts}".encode())
            found.update(quantizer.scale.contiguous().numpy().tobytes())
    return f"{settings.kind}-{found.hexdigest()[:8]}"


def save_quantized(
    folder: Path, sam: Sam, config: ModelConfig, scales: Mapping[str, Scales], settings: QuantizationSettings
) -> ModelConfig:
    """Write FILE_NAME into a folder; returns the config as written. Raises ModelError when it cannot be written."""
    config = replace(config, weights=digest(sam.state_dict()), numerics=numerics(settings, scales))
    tensors = dict(sam.state_dict())
    products = {}
    for name, of_product in scales.items():
        sides = {"a": of_product.a, "b": of_product.b}
        tensors |= {f"{_PREFIX}{name}.{side}": quantizer.scale for side, quantizer in sides.items()}
        products[name] = {side: _description(quantizer) for side, quantizer in sides.items()}
    said = json.dumps({"settings": asdict(settings), "products": products})
    save_tensors(folder / FILE_NAME, tensors, {METADATA_KEY: config.to_json(), KEY: said})
    return config


def load_quantized(path: Path) -> tuple[QuantizedSam, ModelConfig]:
    """The model in a file that `save_quantized` wrote. Raises ModelError for any other."""
    tensors, metadata = load_tensors(path)
    if KEY not in metadata or METADATA_KEY not in metadata:
        raise ModelError(f"{path}: holds no quantised model; make one with `pocketsam quantize`")
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(_PREFIX)}
    try:
        config = ModelConfig.from_json(metadata[METADATA_KEY])
        said = json.loads(metadata[KEY])
        settings = QuantizationSettings(**said["settings"])
        scales = {
            name: Scales(
                *(Quantizer(scale=tensors[f"{_PREFIX}{name}.{side}"], **sides[side]) for side in "ab")
            )
            for name, sides in said["products"].items()
        }
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        with torch.device("meta"):
            sam = like(shapes, config.image_size)
    except (InputError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: is damaged ({error}); quantise the model again") from error
    load_strictly(sam, weights, path, assign=True)
    if config.numerics != numerics(settings, scales):
        raise ModelError(f"{path}: its scales are not those that it says; quantise the model again")
    return QuantizedSam(sam, scales), config


def _description(quantizer: Quantizer) -> dict[str, object]:
    return {
        "bits": quantizer.bits,
        "unsigned": quantizer.unsigned,
        "groups": quantizer.groups,
        "shift": quantizer.shift,
    }

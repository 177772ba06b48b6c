"""A quantised model in files whose encoder computes with 8-bit integers, for ONNX Runtime and OpenVINO.

The encoder's products have the scales of the calibration; what only the file quantises, the results of convolutions
that are added to others, has scales with the least squared error.

The decoder computes in float, with weights that are stored as INT8 and widened when a file is opened. In integers
`decoder_predict_iou` would be a tenth faster, for it multiplies a handful of tokens. What `decoder_prepare` computes
must fit together: variances follow from inner products (`models/factored.py`), and rounding these to 8 bits costs
more agreement with the float model than the whole encoder does.

By default, weights use 7 of their 8 bits: processors without VNNI add two products of 8 bits in 16, which overflows.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper
from torch import Tensor

from pocketsam.config import METADATA_KEY, ModelConfig
from pocketsam.errors import ModelError
from pocketsam.export.onnx import export_onnx, write_model
from pocketsam.export.storage import narrow, with_initializers
from pocketsam.graphs import CONFIG_FILE, ENCODER, GRAPHS, INT8_ENCODER
from pocketsam.models.sam import Sam
from pocketsam.quantization.graph import Found, is_transposed, quantize_graph
from pocketsam.quantization.products import Product, Products
from pocketsam.quantization.quantizers import Quantizer
from pocketsam.quantization.search import Scales
from pocketsam.quantization.settings import QuantizationSettings
from pocketsam.utils.files import write


def in_integers(sam: Sam) -> Callable[[str], bool]:
    """Whether the files compute the product of this name with integers: those of the encoder, but for some."""
    kept = tuple(f"image_encoder.{name}." for name in sam.image_encoder.kept_in_float)
    return lambda name: name.startswith("image_encoder.") and not name.startswith(kept)


def export_int8(
    sam: Sam,
    config: ModelConfig,
    scales: Mapping[str, Scales],
    images: Sequence[Tensor],
    settings: QuantizationSettings,
    folder: Path,
    encoder_only: bool = False,
) -> tuple[Path, ...]:
    """Write the graphs of a quantised model into a folder; returns their paths.

    sam: in float, its batch normalisations folded. config: with the numerics of the quantisation. scales, settings,
    images: of the calibration, which was for at most 8 bits. Products of the encoder without scales stay in float.
    encoder_only: write the encoder alone, for a folder that holds the same model's float files.
    Raises ModelError for more bits, InputError when a file cannot be written.
    """
    if settings.weight_bits > 8 or settings.activation_bits != 8:
        raise ModelError(
            f"{settings.kind}: integer files have 8-bit activations, and weights of at most 8 bits"
        )
    with tempfile.TemporaryDirectory() as made:
        floats = export_onnx(sam, config, Path(made))
        models = {path.stem: with_initializers(onnx.load(path)) for path in floats}
        metadata = {prop.key: prop.value for prop in onnx.load(floats[0]).metadata_props}
        said = (Path(made) / CONFIG_FILE).read_bytes()
    config = ModelConfig.from_json(metadata[METADATA_KEY])
    found = _of_encoder(sam, images[0], models[ENCODER], scales)
    feeds = [{GRAPHS[ENCODER].input_names[0]: image.numpy()} for image in images]
    models[ENCODER] = quantize_graph(models[ENCODER], feeds, settings, found)
    files = {ENCODER: INT8_ENCODER} if encoder_only else {name: GRAPHS[name].file for name in models}
    paths = []
    for name, file in files.items():
        model = models[name]
        narrow(model, keep=_scales_of(model))
        del model.graph.value_info[:]  # shapes of inner tensors, which every runtime infers
        helper.set_model_props(model, metadata)
        paths.append(folder / file)
        write_model(paths[-1], model, config)
    if not encoder_only:
        write(folder / CONFIG_FILE, said)
    return tuple(paths)


def _of_encoder(sam: Sam, image: Tensor, model: onnx.ModelProto, scales: Mapping[str, Scales]) -> Found:
    """Which of the encoder's tensors have which scales.

    Weights are recognised by their numbers. Products of activations have none: where there are as many in the file as
    in the model, they are in the same order.
    """
    products = _products(sam, image)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weighted = [node for node in nodes if node.input[1] in weights and weights[node.input[1]].ndim != 3]
    names_of_weighted = {node.name for node in weighted}
    others = [node for node in nodes if node.name not in names_of_weighted]
    activations: dict[str, Quantizer] = {}
    of_weights: dict[str, Quantizer] = {}
    floats = set()
    with_weights = [product for product in products if product.has_weights]
    for node in weighted:
        weight = weights[node.input[1]]
        ours = next((product for product in with_weights if _same(product, node, weight)), None)
        if ours is None:
            continue
        if ours.name not in scales:
            floats.add(node.name)
            continue
        _note(activations, node.input[0], scales[ours.name].a)
        of_weights[node.input[1]] = scales[ours.name].b
    names = set()
    for product, node in _pairs([one for one in products if not one.has_weights], others):
        if product.name in scales and node.input[1] not in weights:
            _note(activations, node.input[0], scales[product.name].a)
            _note(activations, node.input[1], scales[product.name].b)
            names.add(node.name)
    return Found(activations, of_weights, frozenset(names), frozenset(floats))


def _products(sam: Sam, image: Tensor) -> list[Product]:
    """The products that the encoder computes for an image, in their order."""
    products: list[Product] = []

    def note(product: Product) -> Tensor:
        products.append(product)
        return product.compute(product.a, product.b)

    with torch.no_grad(), Products(sam, note):
        sam.encode(image)
    return products


def _pairs(products: Sequence[Product], nodes: Sequence[NodeProto]) -> list[tuple[Product, NodeProto]]:
    """Products of activations and their nodes; none where there are not as many of these as of those."""
    return list(zip(products, nodes, strict=True)) if len(products) == len(nodes) else []


def _note(activations: dict[str, Quantizer], name: str, quantizer: Quantizer) -> None:
    """Of several products that read a tensor, the widest scale counts, which clips nothing that another needs."""
    former = activations.get(name)
    if former is None or float(former.scale) < float(quantizer.scale):
        activations[name] = quantizer


def _same(product: Product, node: NodeProto, weight: NDArray[Any]) -> bool:
    """Whether a node multiplies by the weights of a product."""
    if (product.kind == "conv") != (node.op_type == "Conv"):
        return False
    ours = product.b.numpy()
    theirs = weight.T if node.op_type != "Conv" and not is_transposed(node) else weight
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def _scales_of(model: onnx.ModelProto) -> set[str]:
    """The names of all scales, which must stay where they are."""
    kinds = ("QuantizeLinear", "DequantizeLinear")
    return {node.input[1] for node in model.graph.node if node.op_type in kinds}

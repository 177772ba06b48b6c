"""A quantised model in files that compute with 8-bit integers, for ONNX Runtime and OpenVINO.

The encoder's products have the scales of the calibration. What only the files quantise has scales with the least
squared error: the results of convolutions that are added to others, and the products of the factored decoder, which
are other ones than the trained decoder's. Large weights that stay in float are stored as float16.

By default, weights use 7 of their 8 bits: processors without VNNI add two products of 8 bits in 16, which overflows.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper
from torch import Tensor

from pocketsam.config import METADATA_KEY, ModelConfig
from pocketsam.errors import ModelError
from pocketsam.export.onnx import export_onnx, halve, write_model
from pocketsam.graphs import CONFIG_FILE, GRAPHS
from pocketsam.models.sam import Sam
from pocketsam.quantization.calibrate import random_prompts
from pocketsam.quantization.graph import Feeds, Found, is_transposed, quantize_graph, with_initializers
from pocketsam.quantization.products import Product, Products
from pocketsam.quantization.quantizers import Quantizer
from pocketsam.quantization.search import Scales
from pocketsam.quantization.settings import Settings
from pocketsam.utils.files import write

QUANTIZED_GRAPHS = ("encoder", "decoder_prepare", "decoder_predict_iou")
"""Those that multiply by weights; in `decoder_masks` there is next to nothing to quantise, and it stays in float."""


def export_int8(
    sam: Sam,
    config: ModelConfig,
    scales: Mapping[str, Scales],
    images: Sequence[Tensor],
    settings: Settings,
    folder: Path,
) -> tuple[Path, ...]:
    """Write the graphs of a quantised model into a folder; returns their paths.

    sam: in float, its batch normalisations folded. config: with the numerics of the quantisation. scales, settings,
    images: of the calibration, which was for at most 8 bits.
    Raises ModelError for more bits, InputError when a file cannot be written.
    """
    if settings.weight_bits > 8 or settings.activation_bits != 8:
        raise ModelError(
            f"{settings.kind}: integer files have 8-bit activations, and weights of at most 8 bits"
        )
    with tempfile.TemporaryDirectory() as made:
        floats = {path.stem: path for path in export_onnx(sam, config, Path(made))}
        models = {name: onnx.load(path) for name, path in floats.items()}
        metadata = {prop.key: prop.value for prop in models["encoder"].metadata_props}
        said = (Path(made) / CONFIG_FILE).read_bytes()
        feeds = _all_feeds(sam, floats, images, config.pad_points_to)
    config = ModelConfig.from_json(metadata[METADATA_KEY])
    models = {name: with_initializers(model) for name, model in models.items()}
    found = _of_encoder(sam, images[0], models["encoder"], scales)
    paths = []
    for name in models:
        model = models[name]
        if name in QUANTIZED_GRAPHS:
            model = quantize_graph(model, feeds[name], settings, found if name == "encoder" else None)
        halve(model, keep=_scales_of(model))
        helper.set_model_props(model, metadata)
        paths.append(folder / GRAPHS[name].file)
        write_model(paths[-1], model, f"{config.weights[:12]}-{config.numerics}")
    write(folder / CONFIG_FILE, said)
    return tuple(paths)


def _all_feeds(
    sam: Sam, floats: Mapping[str, Path], images: Sequence[Tensor], pad_points_to: int
) -> dict[str, list[Feeds]]:
    """The inputs of every graph for the images: random prompts and, as prompts, the masks of these."""
    sessions = {
        name: ort.InferenceSession(path, providers=["CPUExecutionProvider"]) for name, path in floats.items()
    }
    feeds: dict[str, list[Feeds]] = {name: [] for name in floats}
    side = sam.image_size // 4

    def run(name: str, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        names = [tensor.name for tensor in GRAPHS[name].inputs]
        feed = dict(zip(names, values, strict=True))
        feeds[name].append(feed)
        known = {value.name for value in sessions[name].get_inputs()}
        outputs: list[NDArray[Any]] = sessions[name].run(None, {n: v for n, v in feed.items() if n in known})
        return outputs

    for seed, image in enumerate(images):
        (embedding,) = run("encoder", [image.numpy()])
        points, labels = random_prompts(sam.image_size, pad_points_to, seed)
        prompts = [
            points[0].numpy(),
            labels[0].numpy().astype(np.int32),
            np.zeros((points.shape[1], 0, 256), np.float32),
        ]
        mask, has_mask = np.zeros((1, 1, side, side), np.float32), np.zeros(1, np.float32)
        for _ in range(2):  # the second time with a mask of the first
            prepared = run("decoder_prepare", [embedding, mask, has_mask])
            projections = len(GRAPHS["decoder_predict_iou"].inputs) - len(prompts)
            _, *inputs = run("decoder_predict_iou", [*prompts, *prepared[:projections]])
            (logits,) = run("decoder_masks", [*prepared[projections:], *inputs])
            mask, has_mask = logits[:1, :1], np.ones(1, np.float32)
    return feeds


def _of_encoder(sam: Sam, image: Tensor, model: onnx.ModelProto, scales: Mapping[str, Scales]) -> Found:
    """Which of the encoder's tensors have which scales.

    Weights are recognised by their numbers. Products of activations have none: where there are as many in the file as
    in the model, they are in the same order.
    """
    products: list[Product] = []

    def note(product: Product) -> Tensor:
        products.append(product)
        return product.compute(product.a, product.b)

    with torch.no_grad(), Products(sam, note):
        sam.encode(image)
    weighted = [product for product in products if product.has_weights and product.name in scales]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    activations: dict[str, Quantizer] = {}
    of_weights: dict[str, Quantizer] = {}
    others = []
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
        if node.op_type not in ("Conv", "MatMul", "Gemm"):
            continue
        weight = weights.get(node.input[1])
        if weight is None or weight.ndim == 3:
            others.append(node)
            continue
        ours = next((product for product in weighted if _same(product, node, weight)), None)
        if ours is not None:
            _note(activations, node.input[0], scales[ours.name].a)
            of_weights[node.input[1]] = scales[ours.name].b
    matmuls = [product for product in products if not product.has_weights]
    names = set()
    if len(matmuls) == len(others):
        for product, node in zip(matmuls, others, strict=True):
            if product.name in scales and node.input[1] not in weights:
                _note(activations, node.input[0], scales[product.name].a)
                _note(activations, node.input[1], scales[product.name].b)
                names.add(node.name)
    return Found(activations, of_weights, frozenset(names))


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

"""Every matrix product of every architecture is found, and its rows are those of the product."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.architectures import ARCHITECTURES, build
from pocketsam.models.encoders.efficientnet_lite import ConvNorm
from pocketsam.models.sam import Sam
from pocketsam.quantization.products import Product, Products, quantize_b
from pocketsam.quantization.quantizers import Quantizer
from pocketsam.quantization.rows import choose, operands, results, weight_matrix


def run(sam: Sam) -> dict[str, Product]:
    """The products of an image with a click, and with the mask of it."""
    found: dict[str, Product] = {}

    def note(product: Product) -> Tensor:
        found[product.name] = product
        return product.compute(product.a, product.b)

    points, labels = torch.full((1, 1, 2, 2), 9.0), torch.ones(1, 1, 2, dtype=torch.int64)
    with torch.no_grad(), Products(sam, note):
        embedding = sam.encode(torch.randn(1, 3, 64, 64))
        masks, _ = sam.decode(embedding, points, labels)
        if sam.variant == "sam":
            sam.decode(embedding, points, labels, masks[:, :, :1].squeeze(2))
    return found


@pytest.mark.parametrize(
    "name", ["efficientnet_lite0", "tiny_vit_1m", "vit_tiny", "slimsam_77", "efficient_sam_ti"]
)
def test_every_layer_of_an_architecture_is_found(name: str) -> None:
    sam = build(name, 64).eval()
    found = run(sam)
    layers = [n for n, m in sam.named_modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    layers = [n for n in layers if n != "image_encoder.head"]  # of TinyViT's pretraining
    weights = {name.rpartition(".")[0] for name, product in found.items() if product.has_weights}
    for layer in layers:  # EfficientNet-Lite's convolutions are computed by the module around them
        assert layer in weights or layer.rpartition(".")[0] in weights
    matmuls = Counter(product.kind for product in found.values())["matmul"]
    assert matmuls >= 15  # 7 attention layers of the decoder, and the masks
    groups = {product.groups for product in found.values()}
    assert groups == {"one", "softmax", "gelu"}


def test_a_normalised_convolution_has_its_multiplied_weights() -> None:
    layer = ConvNorm(3, 4, 3, 2).eval()
    nn.init.uniform_(layer.norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    found: list[Product] = []

    def note(product: Product) -> Tensor:
        found.append(product)
        return product.compute(product.a, product.b)

    with torch.no_grad(), Products(layer, note):
        layer(torch.randn(1, 3, 8, 8))
    scale = layer.norm.weight / (layer.norm.running_var + 1e-3).sqrt()  # type: ignore[operator]
    assert torch.allclose(found[0].b, layer.conv.weight * scale.view(-1, 1, 1, 1))


class Every(nn.Module):
    """One product of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, 2, 1)
        self.depthwise = nn.Conv2d(6, 6, 5, padding=2, groups=6)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2)
        self.linear = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.up(self.depthwise(self.conv(x)))).flatten(2).transpose(1, 2)
        q, k, v = self.linear(x).unflatten(2, (2, 4)).transpose(1, 2)[None].expand(3, -1, -1, -1, -1)
        return F.scaled_dot_product_attention(q, k, v)


def test_rows_of_every_kind_are_those_of_the_product() -> None:
    torch.manual_seed(0)
    kinds = Counter[str]()

    def compare(product: Product) -> Tensor:
        output = product.compute(product.a, product.b)
        chosen = choose(product, output.shape, 10, seed=3)
        a, b = operands(product, chosen)
        zero = product.compute(torch.zeros_like(product.a), product.b)  # the bias
        assert torch.allclose(a @ b, results(product, output - zero, chosen), atol=1e-5)
        kinds[product.kind] += 1
        return output

    model = Every()
    with torch.no_grad():
        plain = model(torch.randn(1, 4, 12, 12))
        torch.manual_seed(0)
        model = Every()
        with Products(model, compare):
            assert torch.allclose(model(torch.randn(1, 4, 12, 12)), plain, atol=1e-6)
    assert kinds == {"conv": 2, "transposed_conv": 1, "linear": 1, "matmul": 2}


def test_groups_reach_the_product_that_reads_them() -> None:
    groups = {}

    def note(product: Product) -> Tensor:
        groups[product.name] = product.groups
        return product.compute(product.a, product.b)

    model = Every()
    with torch.no_grad(), Products(model, note):
        model(torch.randn(1, 4, 12, 12))
    assert groups == {
        "conv.0": "one",
        "depthwise.0": "one",
        "up.0": "one",
        "linear.0": "gelu",
        "0": "one",
        "1": "softmax",
    }


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(4, 6, 2, 2), nn.Linear(4, 6)]
)
def test_weights_are_quantised_by_output_channel(layer: nn.Module) -> None:
    found: list[Product] = []

    def note(product: Product) -> Tensor:
        found.append(product)
        return product.compute(product.a, product.b)

    with torch.no_grad(), Products(layer, note):
        layer(torch.randn(1, 4, 4, 4))
    (product,) = found
    assert product.channels == 6
    scale = torch.full((6,), 1e-3)
    scale[2] = 100.0  # everything in this channel is rounded to 0
    rounded = quantize_b(product, Quantizer(8, scale))
    columns = weight_matrix(
        type(product)("", product.kind, product.a, rounded, product.compute, conv_groups=product.conv_groups)
    )
    of_channels = columns.transpose(1, 2).reshape(6, -1)
    assert not of_channels[2].any()
    assert all(of_channels[i].any() for i in (0, 1, 3, 4, 5))


def test_the_table_has_no_architecture_that_was_never_tried() -> None:
    kinds = {one.encoder for one in ARCHITECTURES.values()}
    assert kinds == {
        "efficientnet_lite:EfficientNetLite",
        "tiny_vit:TinyViT",
        "vit:ViT",
        "sam_vit:SamViT",
        "patches:Patches",
    }

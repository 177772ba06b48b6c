"""EfficientNet-Lite is the published network, under other names: its tensors, and what it makes of pixels."""

import itertools
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.errors import ModelError
from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.models.encoders.efficientnet_lite import ConvNorm, EfficientNetLite
from pocketsam.models.published import rename_classifier
from pocketsam.training.config import Recipe
from pocketsam.training.recipe import parse_recipe
from pocketsam.training.samples.stream import batches
from pocketsam.training.state import TrainingState
from pocketsam.training.student import make_student

STAGES = ((1, 3, 1), (6, 3, 2), (6, 5, 2), (6, 3, 2), (6, 5, 1), (6, 5, 2), (6, 3, 1))
"""Expansion, kernel and stride of the first block of each stage (arXiv 1905.11946, table 1)."""
VARIANTS = {
    "efficientnet_lite0": ((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    "efficientnet_lite2": ((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
}


def block_table(name: str) -> list[tuple[int, int, int, int, int]]:
    """In and out width, expansion, kernel and stride of each block."""
    blocks, width_in = [], 32
    for width, depth, (expansion, kernel, stride) in zip(*VARIANTS[name], STAGES, strict=True):
        for i in range(depth):
            blocks.append((width_in, width, expansion, kernel, stride if i == 0 else 1))
            width_in = width
    return blocks


def published(name: str) -> dict[str, Tensor]:
    """An ImageNet classifier's state dict as published for PyTorch, of random numbers."""
    torch.manual_seed(0)
    tensors: dict[str, Tensor] = {}

    def convolution(place: str, *shape: int) -> None:
        tensors[f"{place}.weight"] = torch.randn(shape) / (shape[1] * shape[2] * shape[3]) ** 0.5

    def norm(place: str, width: int) -> None:
        tensors[f"{place}.weight"] = 1 + 0.2 * torch.randn(width)
        tensors[f"{place}.bias"] = 0.2 * torch.randn(width)
        tensors[f"{place}.running_mean"] = 0.2 * torch.randn(width)
        tensors[f"{place}.running_var"] = 1 + torch.rand(width)
        tensors[f"{place}.num_batches_tracked"] = torch.tensor(7)

    convolution("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    for i, (width_in, width, expansion, kernel, _) in enumerate(block_table(name)):
        hidden = width_in * expansion
        if expansion > 1:
            convolution(f"_blocks.{i}._expand_conv", hidden, width_in, 1, 1)
            norm(f"_blocks.{i}._bn0", hidden)
        convolution(f"_blocks.{i}._depthwise_conv", hidden, 1, kernel, kernel)
        norm(f"_blocks.{i}._bn1", hidden)
        convolution(f"_blocks.{i}._project_conv", width, hidden, 1, 1)
        norm(f"_blocks.{i}._bn2", width)
    convolution("_conv_head", 1280, VARIANTS[name][0][-1], 1, 1)
    norm("_bn1", 1280)
    tensors |= {"_fc.weight": torch.randn(1000, 1280), "_fc.bias": torch.randn(1000)}
    return tensors


def literal_features(name: str, tensors: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The published network, step by step: convolution with TensorFlow's padding, normalisation, ReLU6."""

    def step(x: Tensor, conv: str, norm: str, stride: int = 1, activate: bool = True) -> Tensor:
        weight = tensors[f"{conv}.weight"]
        kernel = weight.shape[-1]
        sides = []
        for size in (x.shape[3], x.shape[2]):  # the output has ⌈size / stride⌉ cells
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            sides += [total // 2, total - total // 2]
        groups = x.shape[1] if weight.shape[1] == 1 and x.shape[1] > 1 else 1
        x = F.conv2d(F.pad(x, sides), weight, None, stride, groups=groups)
        values = (tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(x, *values, eps=1e-3)
        return x.clamp(0, 6) if activate else x

    x = step(x, "_conv_stem", "_bn0", 2)
    outputs = []
    for i, (width_in, width, expansion, _, stride) in enumerate(block_table(name)):
        place = f"_blocks.{i}"
        y = x if expansion == 1 else step(x, f"{place}._expand_conv", f"{place}._bn0")
        y = step(y, f"{place}._depthwise_conv", f"{place}._bn1", stride)
        y = step(y, f"{place}._project_conv", f"{place}._bn2", activate=False)
        x = x + y if stride == 1 and width_in == width else y
        outputs.append(x)
    ends = list(itertools.accumulate(VARIANTS[name][1]))
    return [outputs[ends[stage] - 1] for stage in (1, 2, 4, 6)]


@pytest.fixture(params=VARIANTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def recipe(name: str, weights: Path) -> Recipe:
    common = {"image_size": 64, "out": "x", "train": "drawn shapes", "steps": 1, "batch": 1, "workers": 0}
    return parse_recipe({"model": name, "encoder_weights": str(weights), **common})


def test_every_published_tensor_has_its_place(name: str, tmp_path: Path) -> None:
    tensors = published(name)
    torch.save(tensors, tmp_path / "classifier.pth")
    sam, config = make_student(recipe(name, tmp_path / "classifier.pth"))
    assert (config.mean, config.std) == ((127.0,) * 3, (128.0,) * 3)
    ours = {key: t for key, t in sam.image_encoder.state_dict().items() if not key.startswith("neck.")}
    renamed = rename_classifier(tensors)
    assert renamed.keys() == ours.keys()
    assert all(torch.equal(ours[key], tensor) for key, tensor in renamed.items())
    head = ("_conv_head.", "_bn1.", "_fc.")
    assert len(renamed) == sum(not key.startswith(head) for key in tensors), "no two names became one"
    block = sam.image_encoder.blocks[4]  # type: ignore[index]
    for place, conv, norm in (
        ("expand", "expand", 0),
        ("depthwise", "depthwise", 1),
        ("project", "project", 2),
    ):
        layer = getattr(block, place)
        assert torch.equal(layer.conv.weight, tensors[f"_blocks.4._{conv}_conv.weight"])
        for part in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(getattr(layer.norm, part), tensors[f"_blocks.4._bn{norm}.{part}"])


def test_weights_of_another_variant_are_refused(tmp_path: Path) -> None:
    torch.save(published("efficientnet_lite2"), tmp_path / "classifier.pth")
    with pytest.raises(ModelError, match=r"classifier\.pth: does not fit this architecture"):
        make_student(recipe("efficientnet_lite0", tmp_path / "classifier.pth"))


@torch.no_grad()
def test_it_computes_what_the_published_network_computes(name: str) -> None:
    tensors = {key: t.double() if t.is_floating_point() else t for key, t in published(name).items()}
    encoder = EfficientNetLite(*VARIANTS[name]).double().eval()
    missing, unexpected = encoder.load_state_dict(rename_classifier(tensors), strict=False)
    assert not unexpected and all(key.startswith("neck.") for key in missing)
    x = torch.randn(1, 3, 64, 128, dtype=torch.float64)
    features = encoder.forward_features(x)
    expected = literal_features(name, tensors, x)
    assert [f.shape[2] for f in features] == [16, 8, 4, 2]
    for ours, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("kernel", "stride", "depthwise"), [(1, 1, False), (3, 2, False), (3, 1, True), (5, 2, True)]
)
def test_the_folded_normalisation_is_the_unfolded_one(kernel: int, stride: int, depthwise: bool) -> None:
    torch.manual_seed(0)
    layer = ConvNorm(8, 8, kernel, stride, groups=8 if depthwise else 1).double().eval()
    for tensor in (layer.norm.weight, layer.norm.bias, layer.norm.running_mean):
        nn.init.normal_(tensor)  # type: ignore[arg-type]
    nn.init.uniform_(layer.norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    x = torch.randn(2, 8, 16, 16, dtype=torch.float64)
    unfolded = layer.norm(layer._convolve(x, layer.conv.weight, None))
    torch.testing.assert_close(layer(x), unfolded)


def test_frozen_statistics_stay_while_others_follow(tmp_path: Path) -> None:
    """A run that starts from ImageNet weights keeps their statistics; weights, scales and shifts learn."""
    torch.save(published("efficientnet_lite0"), tmp_path / "classifier.pth")
    frozen = recipe("efficientnet_lite0", tmp_path / "classifier.pth")
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    for chosen, learns in ((frozen, False), (frozen.model_copy(update={"encoder_weights": None}), True)):
        state = TrainingState(chosen, fabric)
        before = {key: t.clone() for key, t in state.model.image_encoder.state_dict().items()}
        state.train_step([next(iter(batches(state.task.samples, chosen, 0)))])
        after = state.model.image_encoder.state_dict()
        statistics = [key for key in before if key.endswith(("running_mean", "running_var"))]
        assert [not torch.equal(before[key], after[key]) for key in statistics] == [learns] * len(statistics)
        assert not torch.equal(before["stem.conv.weight"], after["stem.conv.weight"])
        assert not torch.equal(before["stem.norm.weight"], after["stem.norm.weight"])


def test_the_table_has_all_five() -> None:
    assert {f"efficientnet_lite{i}" for i in range(5)} <= ARCHITECTURES.keys()

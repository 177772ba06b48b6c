"""Calibration of whole, tiny models."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pocketsam.config import FOREGROUND
from pocketsam.models.architectures import build
from pocketsam.models.sam import Sam
from pocketsam.quantization import calibrate as module
from pocketsam.quantization.calibrate import calibrate, find_prompts, random_prompts, task_loss
from pocketsam.quantization.model import QuantizedSam, fold_batch_norm
from pocketsam.quantization.products import Handler, Product, Products, quantize_b
from pocketsam.quantization.search import Scales
from pocketsam.quantization.settings import QuantizationSettings
from pocketsam.utils.journal import Journal

MINMAX = QuantizationSettings(method="minmax", two_groups=False, rows=4)


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return build("patches", 64).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(1, 3, 64, 64) for _ in range(2)]


def test_more_bits_are_nearer_to_float(sam: Sam, images: list[Tensor]) -> None:
    points, labels = random_prompts(64, 0, seed=9)
    with torch.no_grad():
        exact, _ = sam.decode(sam.encode(images[0]), points, labels)
    errors = []
    for bits in (4, 8):
        scales = calibrate(sam, images, replace(MINMAX, weight_bits=bits, activation_bits=bits))
        quantized = QuantizedSam(sam, scales)
        masks, _ = quantized.decode(quantized.encode(images[0]), points, labels)
        errors.append(float((masks - exact).norm() / exact.norm()))
    assert errors[0] > 4 * errors[1] > 0


def test_boxes_are_around_what_the_model_finds(sam: Sam, images: list[Tensor]) -> None:
    anywhere, labels = random_prompts(64, 0, seed=3)
    points, labels_ = find_prompts(sam, sam.encode(images[0]), 0, seed=3)
    clicks = labels[0, :, 0] == FOREGROUND
    assert torch.equal(labels, labels_) and torch.equal(points[0, clicks], anywhere[0, clicks])
    with torch.no_grad():
        logits, iou = sam.decode(sam.encode(images[0]), points[:, clicks], labels[:, clicks])
    for box, masks, best in zip(points[0, ~clicks], logits[0], iou[0].argmax(-1), strict=True):
        ys, xs = torch.nonzero(masks[best] > 0, as_tuple=True)
        assert box.tolist() == [[4 * xs.min(), 4 * ys.min()], [4 * xs.max() + 4, 4 * ys.max() + 4]]


def test_the_gradients_are_finite_differences_of_the_task_loss(sam: Sam, images: list[Tensor]) -> None:
    """Of a product in the middle of the decoder, called twice; with so many bits that rounding is smooth."""
    fine = replace(MINMAX, weight_bits=16, activation_bits=16)
    records: dict[str, module._Record] = {}
    prompts = random_prompts(64, 0, seed=0)
    with torch.no_grad(), Products(sam, module._Recorder(records, fine, 0)):
        own = module._decoded(sam, sam.encode(images[0]), *prompts)
    with torch.no_grad():  # another image's masks, far from those of this one
        reference = module._decoded(sam, sam.encode(images[1]), *prompts)
    start = {name: module.initial_scales(record.samples(), fine) for name, record in records.items()}

    def loss(handler: Handler) -> Tensor:
        with Products(sam, handler):
            decoded = module._decoded(sam, sam.encode(images[0]), *prompts, own[0][0])
        losses = [
            task_loss((masks.double(), iou.double()), (masks_.double(), iou_.double()))
            for (masks, iou), (masks_, iou_) in zip(decoded, reference, strict=True)
        ]
        return torch.stack(losses).sum()

    loss(module._Gradients(records, start)).backward()
    name = "mask_decoder.output_hypernetworks_mlps.0.layers.0.0"
    gradient, rows = records[name].gradients[0], records[name].chosen[0].rows
    channel = int(gradient[0, 0].abs().argmax())

    def changed(by: float) -> float:
        calls = [0]

        def handle(product: Product) -> Tensor:
            scales = start[product.name]
            output = product.compute(scales.a(product.a), quantize_b(product, scales.b))
            if product.name == name and not calls[0]:
                calls[0] = 1
                output.view(-1, 256)[rows[0], channel] += by
            return output

        with torch.no_grad():
            return float(loss(handle))

    assert (changed(0.1) - changed(-0.1)) / 0.2 == pytest.approx(float(gradient[0, 0, channel]), rel=0.05)


def test_a_killed_calibration_goes_on(
    sam: Sam, images: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = calibrate(sam, images, MINMAX)
    finds = iter(range(10))

    def stop(*args: object) -> Scales:
        if next(finds) == 5:
            raise KeyboardInterrupt
        return find_scales(*args)  # type: ignore[arg-type]

    find_scales = module.find_scales
    monkeypatch.setattr(module, "find_scales", stop)
    with pytest.raises(KeyboardInterrupt):
        calibrate(sam, images, MINMAX, journal=Journal(tmp_path / "scales.jsonl", {}))
    searched = []

    def count(*args: object) -> Scales:
        searched.append(args)
        return find_scales(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "find_scales", count)
    resumed = calibrate(sam, images, MINMAX, journal=Journal(tmp_path / "scales.jsonl", {}))
    assert len(searched) == len(whole) - 5
    assert list(resumed) == list(whole)
    for name, scales in whole.items():
        assert torch.equal(resumed[name].a.scale, scales.a.scale)
        assert torch.equal(resumed[name].b.scale, scales.b.scale)


def test_folded_batch_normalisation_computes_the_same() -> None:
    torch.manual_seed(0)
    sam = build("tiny_vit_1m", 64).eval()
    for layer in sam.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]
    folded = fold_batch_norm(sam)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(folded.encode(pixels), sam.encode(pixels), atol=1e-4)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

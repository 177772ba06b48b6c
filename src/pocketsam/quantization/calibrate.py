"""The scales of all products of a model, from a few images (TinySAM, arXiv 2312.13789, section 3.3).

1. The images run through the model in float; of every product some rows are kept.
2. They run through it again, quantised by min-max, for the gradients of the task loss: the KL divergences between the
   masks and between the predicted IoUs of both. (In float, that loss has its minimum, and no gradient.)
3. The scales of each product are searched for by themselves. A killed run resumes with the product it was at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pocketsam.config import BOX_END, BOX_START, FOREGROUND, PADDING
from pocketsam.models.prompt_encoder import PromptEncoder
from pocketsam.models.sam import Sam
from pocketsam.quantization.products import Product, Products, quantize_b
from pocketsam.quantization.quantizers import Groups, Quantizer
from pocketsam.quantization.rows import Chosen, choose, operands, results
from pocketsam.quantization.search import Part, Samples, Scales, find_scales, initial_scales
from pocketsam.quantization.settings import QuantizationSettings
from pocketsam.utils.boxes import tight_box
from pocketsam.utils.journal import Journal

PROMPTS = 8
"""Clicks, and as many boxes, in each image."""
GROUPED = 4
"""A row of a depthwise convolution has few weights in each of its many channels: a quarter of the rows will do."""
_CALLS = 1000
"""More than any product is computed for one image."""

Decoded = tuple[Tensor, Tensor]
"""Mask logits and predicted IoU."""


def anything(name: str) -> bool:
    """All products."""
    return True


@dataclass
class _Record:
    """What is kept of one product while the images run."""

    groups: Groups
    has_weights: bool
    channels: int
    chosen: list[Chosen] = field(default_factory=list)
    a: list[Tensor] = field(default_factory=list)
    b: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    a_range: tuple[float, float] = (0.0, 0.0)
    b_range: tuple[float, float] = (0.0, 0.0)

    def samples(self) -> Samples:
        """With a part for each call; weights are the same in all."""
        b = self.b * len(self.a) if self.has_weights else self.b
        parts = [Part(a, b) for a, b in zip(self.a, b, strict=True)]
        gradients = _normalised(self.gradients)
        if gradients:
            parts = [replace(part, gradient=g) for part, g in zip(parts, gradients, strict=True)]
        return Samples(tuple(parts), self.a_range, self.b_range, self.groups, self.channels)


def calibrate(
    sam: Sam,
    images: Sequence[Tensor],
    settings: QuantizationSettings,
    *,
    pad_points_to: int = 0,
    chosen: Callable[[str], bool] = anything,
    journal: Journal | None = None,
    after_product: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Scales]:
    """The scales of all products of `sam` by their names, in the order in which they are computed first.

    images: preprocessed, (1, 3, S, S) float32 each. pad_points_to: see `ModelConfig`. chosen: whether the product of
    this name is quantised; the others compute in float.
    journal: has the scales that are found already, and is given those that are found.
    after_product: is called with the number of products that are done, and of all.
    """
    records = _run(sam, images, settings, pad_points_to, chosen)
    done = {name: scales_from_dict(entry) for name, entry in journal.entries.items()} if journal else {}
    found = {}
    for number, name in enumerate(records):
        if name not in done:
            done[name] = find_scales(records[name].samples(), settings)
            if journal:
                journal.add(name, scales_to_dict(done[name]))
        found[name] = done[name]
        after_product(number + 1, len(records))
    return found


def task_loss(quantized: Decoded, reference: Decoded) -> Tensor:
    """KL(mask_q, mask) + KL(iou_q, iou): the mean divergence of a quantised model's outputs from the float model's.

    Each value of a mask is the probability that a pixel is on the object; a predicted IoU is one, too.
    """
    mask = _divergence(torch.sigmoid(reference[0]), quantized[0])
    iou = _divergence(reference[1].clamp(0, 1), quantized[1].clamp(1e-4, 1 - 1e-4).logit())
    return mask + iou


def _divergence(probability: Tensor, logits: Tensor) -> Tensor:
    """The mean Kullback-Leibler divergence of sigmoid(logits) from `probability`."""
    entropy = -torch.xlogy(probability, probability) - torch.xlogy(1 - probability, 1 - probability)
    return F.binary_cross_entropy_with_logits(logits, probability) - entropy.mean()


@torch.no_grad()
def find_prompts(sam: Sam, embedding: Tensor, pad_points_to: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random clicks, and the boxes around what the model finds at them in an embedded image; see `random_prompts`.

    Users draw boxes around objects. The masks of boxes anywhere are less sure: their logits are smaller, and scales
    found for them would clip those of objects.
    """
    points, labels = random_prompts(sam.image_size, pad_points_to, seed)
    logits, iou = sam.decode(embedding, points[:, :PROMPTS], labels[:, :PROMPTS])
    best, cell = iou[0].argmax(-1), sam.image_size / logits.shape[-1]
    for corners, mask in zip(
        points[0, PROMPTS:, :2], logits[0, torch.arange(PROMPTS), best] > 0, strict=True
    ):
        if mask.any():
            corners[:] = cell * torch.from_numpy(tight_box(mask.numpy())).view(2, 2)
    return points, labels


def random_prompts(image_size: int, pad_points_to: int, seed: int) -> tuple[Tensor, Tensor]:
    """Clicks and boxes anywhere in an image: points (1, N, P, 2) in pixels, labels (1, N, P)."""
    generator = torch.Generator().manual_seed(seed)
    clicks = torch.rand(PROMPTS, 1, 2, generator=generator)
    corners = torch.rand(PROMPTS, 2, 2, generator=generator).sort(1).values
    points = torch.cat([torch.cat([clicks, torch.zeros_like(clicks)], 1), corners]) * image_size
    labels = torch.tensor([[FOREGROUND, PADDING]] * PROMPTS + [[BOX_START, BOX_END]] * PROMPTS)
    missing = max(0, pad_points_to - 2)
    return F.pad(points, (0, 0, 0, missing))[None], F.pad(labels, (0, missing), value=PADDING)[None]


def _run(
    sam: Sam,
    images: Sequence[Tensor],
    settings: QuantizationSettings,
    pad_points_to: int,
    chosen: Callable[[str], bool],
) -> dict[str, _Record]:
    """Steps 1 and 2."""
    records: dict[str, _Record] = {}
    prompts, references = [], []
    for number, image in enumerate(images):
        products = Products(sam, _Recorder(records, settings, number, chosen))
        with torch.no_grad():
            with products:
                embedding = sam.encode(image)
            prompts.append(find_prompts(sam, embedding, pad_points_to, seed=number))
            with products:
                references.append(_decoded(sam, embedding, *prompts[number]))
    if settings.method != "hessian":
        return records
    start = {
        name: initial_scales(record.samples(), replace(settings, method="minmax"))
        for name, record in records.items()
    }
    for number, image in enumerate(images):
        with torch.enable_grad():
            with Products(sam, _Gradients(records, start)):
                embedding = sam.encode(image)
                decoded = _decoded(sam, embedding, *prompts[number], references[number][0][0])
            losses = [
                task_loss(ours, theirs) for ours, theirs in zip(decoded, references[number], strict=True)
            ]
            torch.stack(losses).sum().backward()
    return records


def _decoded(
    sam: Sam, embedding: Tensor, points: Tensor, labels: Tensor, masks: Tensor | None = None
) -> list[Decoded]:
    """What the model makes of prompts on an image and, if masks can be prompts, of the resulting masks as well."""
    decoded = [sam.decode(embedding, points, labels)]
    if isinstance(sam.prompt_encoder, PromptEncoder):
        given = (decoded[0][0] if masks is None else masks)[:, :, 0].detach()
        decoded.append(sam.decode(embedding, points, labels, given))
    return decoded


class _Recorder:
    """Step 1: computes products as they are, and keeps rows of them."""

    def __init__(
        self,
        records: dict[str, _Record],
        settings: QuantizationSettings,
        image: int,
        chosen: Callable[[str], bool] = anything,
    ) -> None:
        self._records, self._rows, self._seed = records, settings.rows, image * _CALLS
        self._chosen = chosen

    def __call__(self, product: Product) -> Tensor:
        output = product.compute(product.a, product.b)
        if not self._chosen(product.name):
            return output
        record = self._records.setdefault(
            product.name, _Record(product.groups, product.has_weights, product.channels)
        )
        rows = self._rows if product.conv_groups == 1 else max(1, self._rows // GROUPED)
        chosen = choose(product, output.shape, rows, self._seed + len(record.chosen) % _CALLS)
        a, b = operands(product, chosen)
        record.chosen.append(chosen)
        record.a.append(a.clone())
        if not product.has_weights or not record.b:
            record.b.append(b.clone())
        record.a_range = _widened(record.a_range, product.a, len(record.chosen) == 1)
        record.b_range = _widened(record.b_range, product.b, len(record.chosen) == 1)
        return output


class _Gradients:
    """Step 2: computes products as quantised, and keeps the gradients of the same rows."""

    def __init__(self, records: dict[str, _Record], scales: dict[str, Scales]) -> None:
        self._records, self._scales = records, scales

    def __call__(self, product: Product) -> Tensor:
        if product.name not in self._records:
            return product.compute(product.a, product.b)
        record, scales = self._records[product.name], self._scales[product.name]
        output = product.compute(scales.a(product.a), quantize_b(product, scales.b))
        if not output.requires_grad:  # nothing before it can learn, but the loss depends on it
            output = output.detach().requires_grad_()
        number = len(record.gradients)
        chosen = record.chosen[number]
        record.gradients.append(torch.zeros_like(results(product, output, chosen)))

        def keep(gradient: Tensor) -> None:
            record.gradients[number] = results(product, gradient, chosen).clone()

        output.register_hook(keep)
        return output


def _widened(found: tuple[float, float], tensor: Tensor, first: bool) -> tuple[float, float]:
    low, high = float(tensor.min()), float(tensor.max())
    return (low, high) if first else (min(found[0], low), max(found[1], high))


def _normalised(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Of a mean square of 1, for squares of tiny gradients vanish; none where the loss does not depend on them."""
    count = sum(gradient.numel() for gradient in gradients)
    squares = sum(float(gradient.double().square().sum()) for gradient in gradients)
    if not squares:
        return []
    return [gradient * (count / squares) ** 0.5 for gradient in gradients]


def scales_to_dict(scales: Scales) -> dict[str, Any]:
    """As JSON can hold it."""
    return {side: _to_dict(quantizer) for side, quantizer in (("a", scales.a), ("b", scales.b))}


def scales_from_dict(entry: dict[str, Any]) -> Scales:
    """What `scales_to_dict` made."""
    return Scales(_from_dict(entry["a"]), _from_dict(entry["b"]))


def _to_dict(quantizer: Quantizer) -> dict[str, Any]:
    return {
        "bits": quantizer.bits,
        "scale": quantizer.scale.tolist(),
        "unsigned": quantizer.unsigned,
        "groups": quantizer.groups,
        "shift": quantizer.shift,
    }


def _from_dict(entry: dict[str, Any]) -> Quantizer:
    return Quantizer(**{**entry, "scale": torch.tensor(entry["scale"], dtype=torch.float32)})

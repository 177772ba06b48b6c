"""The scales of one matrix product A·B (TinySAM, arXiv 2312.13789, section 3.3; after PTQ4ViT, arXiv 2111.12293).

The paper's method tries n = 100 scales from θl = 0.01 to θu = 1.2 times A_max / 2^(b-1) for A while B is quantised
with its scale so far, keeps the best, does the same for B, and repeats both three times. The best has the least

    hessian-guided distance = Σ (∂L/∂O)² · (Ô - O)²,    O = A·B, Ô = Q(A)·Q(B)

where L is the task loss; it stands for how much the rounding errors change the masks. Weights have a scale for each
output channel, which is chosen by the distance in that channel.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pocketsam.quantization.quantizers import LARGEST_SHIFT, Groups, Quantizer, levels
from pocketsam.quantization.settings import QuantizationSettings

PERCENTILE = 0.999
SMALLEST = 1e-12
"""Of a scale; whatever is smaller is 0."""


@dataclass(frozen=True)
class Part:
    """Some rows of a product: a (G, R, K), b (G, K, N), and ∂L/∂O (G, R, N) where it is known."""

    a: Tensor
    b: Tensor
    gradient: Tensor | None = None

    @property
    def weight(self) -> Tensor | float:
        """By which squared errors count: the squared gradient."""
        return 1.0 if self.gradient is None else self.gradient.square()


@dataclass(frozen=True)
class Samples:
    """What is known of a product.

    parts: its sampled rows. a_range, b_range: the lowest and the highest number in A, in B, of all rows.
    groups: of the numbers in A. channels: how many scales the weights have; 0 where B is an activation.
    """

    parts: tuple[Part, ...]
    a_range: tuple[float, float]
    b_range: tuple[float, float]
    groups: Groups = "one"
    channels: int = 0


@dataclass(frozen=True)
class Scales:
    """How both operands are quantised. The scale of weights is (channels,)."""

    a: Quantizer
    b: Quantizer


def find_scales(samples: Samples, settings: QuantizationSettings) -> Scales:
    """The scales of a product, by the method that the settings name."""
    start = initial_scales(samples, settings)
    if not settings.searches:
        return start
    scales = start
    if settings.rounds == 1:
        return Scales(
            _search_a(samples, settings, start.a, None), _search_b(samples, settings, start.b, None)
        )
    for number in range(settings.rounds):
        a = _search_a(samples, settings, scales.a, scales.b)
        if number and a == scales.a:
            break  # B would be searched for with the same A again
        scales = replace(scales, a=a)
        scales = replace(scales, b=_search_b(samples, settings, scales.b, a))
    return scales


def initial_scales(samples: Samples, settings: QuantizationSettings) -> Scales:
    """The scales by the numbers of each tensor alone: what "minmax", "percentile" and "mse" give.

    The search starts with those of "minmax".
    """
    groups = samples.groups if settings.two_groups else "one"
    unsigned = samples.a_range[0] >= 0 and groups == "one"
    blank = torch.ones(())
    a = Quantizer(settings.activation_bits, blank, unsigned, groups)
    a = scale_of_numbers(a, [part.a for part in samples.parts], _largest(samples.a_range), settings)
    if samples.channels:
        of_channels = _by_channel(samples.parts[0].b, samples.channels)
        b = Quantizer(settings.weight_bits, torch.ones(samples.channels))
        return Scales(a, scale_of_numbers(b, [of_channels], of_channels.abs().amax(1), settings))
    b = Quantizer(settings.activation_bits, blank, samples.b_range[0] >= 0)
    return Scales(
        a, scale_of_numbers(b, [part.b for part in samples.parts], _largest(samples.b_range), settings)
    )


def distance(part: Part, quantized: Tensor) -> Tensor:
    """The distance of a quantised product (G, R, N) to the product, by output channel: (G, N)."""
    return ((quantized - part.a @ part.b).square() * part.weight).sum(1)


def _search_a(
    samples: Samples, settings: QuantizationSettings, start: Quantizer, other: Quantizer | None
) -> Quantizer:
    """The best quantiser of A, while B is quantised by `other`, or not at all."""
    parts = [
        (
            part,
            part.b if other is None else quantize_columns(other, part.b, samples.channels),
            part.a @ part.b,
        )
        for part in samples.parts
    ]

    def errors(quantizer: Quantizer) -> Iterator[Tensor]:
        for part, b, reference in parts:
            yield ((quantizer(part.a) @ b - reference).square() * part.weight).sum()

    best = _least(_grid(start, torch.tensor(_largest(samples.a_range)), settings), errors)
    return best if best.groups == "one" else _least(_shifts(best), errors)


def _search_b(
    samples: Samples, settings: QuantizationSettings, start: Quantizer, other: Quantizer | None
) -> Quantizer:
    """The best quantiser of B, of weights channel by channel, while A is quantised by `other`, or not at all."""
    parts = [(part, part.a if other is None else other(part.a), part.a @ part.b) for part in samples.parts]
    channels = samples.channels

    def errors(quantizer: Quantizer) -> Iterator[Tensor]:
        of_all = quantize_columns(quantizer, samples.parts[0].b, channels) if channels else None
        for part, a, reference in parts:
            output = a @ (quantizer(part.b) if of_all is None else of_all)
            error = ((output - reference).square() * part.weight).sum(1)
            yield error.reshape(channels, -1).sum(1) if channels else error.sum()

    if channels:
        largest = _by_channel(samples.parts[0].b, channels).abs().amax(1)
    else:
        largest = torch.tensor(_largest(samples.b_range))
    return _least(_grid(start, largest, settings), errors)


def quantize_columns(quantizer: Quantizer, b: Tensor, channels: int) -> Tensor:
    """B (G, K, N), weights with the scale of their channels. Channel by channel, N or N / taps columns each."""
    if not channels:
        return quantizer(b)
    groups, _, columns = b.shape
    scale = quantizer.scale.view(groups, -1)
    scale = scale.repeat_interleave(columns // scale.shape[1], 1)[:, None]
    return replace(quantizer, scale=scale)(b)


def _by_channel(b: Tensor, channels: int) -> Tensor:
    """The weights (G, K, N) of each output channel: (channels, …)."""
    return b.transpose(1, 2).reshape(channels, -1)


def scale_of_numbers(
    start: Quantizer, numbers: list[Tensor], largest: Tensor | float, settings: QuantizationSettings
) -> Quantizer:
    """The quantiser of a tensor, given numbers of it; of each row of (channels, …) where the scale is (channels,)."""
    largest = torch.as_tensor(largest)
    per_channel = start.scale.ndim == 1

    def errors(quantizer: Quantizer) -> Iterator[Tensor]:
        if per_channel:
            (rows,) = numbers
            yield (replace(quantizer, scale=quantizer.scale[:, None])(rows) - rows).square().sum(1)
            return
        for x in numbers:
            yield (quantizer(x) - x).square().sum()

    if settings.method == "mse":
        best = _least(_grid(start, largest, settings), errors)
    elif settings.method == "percentile":
        if per_channel:
            reach = numbers[0].abs().quantile(PERCENTILE, dim=1)
        else:
            reach = _quantile(torch.cat([x.flatten() for x in numbers]))
        best = replace(start, scale=_positive(reach / _top(start)))
    else:
        best = replace(start, scale=_positive(largest / _top(start)))
    return best if best.groups == "one" else _least(_shifts(best), errors)


def _quantile(numbers: Tensor) -> Tensor:
    kept = numbers.abs()
    rank = max(1, round(PERCENTILE * len(kept)))
    return kept.kthvalue(rank).values


def _top(quantizer: Quantizer) -> int:
    """The highest integer, which the largest number becomes."""
    return levels(quantizer.bits, quantizer.unsigned)[1]


def _grid(start: Quantizer, largest: Tensor, settings: QuantizationSettings) -> Iterator[Quantizer]:
    """The candidates: fractions of largest / 2^(b-1) or, without a sign, largest / 2^b; first the start itself.

    From the highest on, for the best one is near to it, and candidates far from the best need not be summed up.
    """
    yield start
    whole = largest / 2 ** (start.bits - (not start.unsigned))
    for fraction in torch.linspace(settings.highest, settings.lowest, settings.candidates):
        yield replace(start, scale=_positive(fraction * whole))


def _shifts(start: Quantizer) -> Iterator[Quantizer]:
    return (replace(start, shift=shift) for shift in range(LARGEST_SHIFT + 1))


def _least(candidates: Iterator[Quantizer], errors: Callable[[Quantizer], Iterator[Tensor]]) -> Quantizer:
    """The candidate with the least sum of errors; where these are of channels, the best scale of each channel."""
    best = next(candidates)
    least = _sum(errors(best))
    for candidate in candidates:
        found = _sum(errors(candidate), least)
        better = found < least
        if found.ndim:
            best = replace(best, scale=torch.where(better, candidate.scale, best.scale))
        elif better:
            best = candidate
        least = torch.minimum(least, found)
    return best


def _sum(terms: Iterator[Tensor], limit: Tensor | None = None) -> Tensor:
    """The sum of terms of 0 and above; of the first ones only, where these reach the limit everywhere."""
    total = next(terms).clone()
    for term in terms:
        if limit is not None and bool((total >= limit).all()):
            break
        total += term
    return total


def _largest(of: tuple[float, float]) -> float:
    return max(abs(of[0]), abs(of[1]))


def _positive(scale: Tensor) -> Tensor:
    """Where there are only zeros, any scale will do."""
    return torch.where(scale > SMALLEST, scale, 1.0)

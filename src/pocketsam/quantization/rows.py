"""A product as plain matrices: G products of A (R, K) with B (K, N), for a few of its rows.

A row of A is what one number of each output channel is made of: a token of a linear layer, the patch under a
convolution's kernel (its unfolded product), a cell of a transposed convolution, a query of an attention head.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pocketsam.quantization.products import Product

MOST_COLUMNS = 1024
"""Of an activation B; more are sampled, too."""
MULTIPLICATIONS = 2**23
"""Of one attention product's rows; they come from as many heads and prompts as possible, each with its own range."""
ROWS_OF_ENTRY = 16
"""Of a head and prompt, at least, where there are so many."""


@dataclass(frozen=True)
class Chosen:
    """Which rows: their numbers (R,) among all rows of all batch entries or, of a "matmul", of each chosen entry.

    entries: the numbers of these batch entries. columns: those of B that are kept, (N,); None for all.
    """

    rows: Tensor
    entries: Sequence[int] = ()
    columns: Tensor | None = None


def choose(product: Product, shape: torch.Size, count: int, seed: int) -> Chosen:
    """Rows of a product whose result has this shape; the same for the same name and seed.

    At most `count` of a convolution, and four times as many of a linear layer, whose tokens differ more. Of attention
    as many as can be paid for: few rows would leave out the prompt, the head or the token whose numbers are largest,
    and a scale that clips them moves the mask.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(product.name.encode()) + seed)
    if product.kind != "matmul":
        places = math.prod(shape) // (shape[-1] if product.kind == "linear" else shape[1])
        if product.kind == "transposed_conv":
            places //= math.prod(product.stride)
        return Chosen(_sample(places, 4 * count if product.kind == "linear" else count, generator))
    columns = _sample(shape[-1], MOST_COLUMNS, generator) if shape[-1] > MOST_COLUMNS else None
    affordable = max(count, MULTIPLICATIONS // (product.a.shape[-1] * min(shape[-1], MOST_COLUMNS)))
    entries = torch.randperm(math.prod(shape[:-2]), generator=generator)[: -(-affordable // ROWS_OF_ENTRY)]
    rows = _sample(shape[-2], affordable // len(entries), generator)
    return Chosen(rows, entries.tolist(), columns)


def operands(product: Product, chosen: Chosen) -> tuple[Tensor, Tensor]:
    """A (G, R, K) and B (G, K, N)."""
    a, b = product.a.detach(), product.b.detach()
    if product.kind == "linear":
        return a.reshape(-1, a.shape[-1])[chosen.rows][None], b.t()[None]
    if product.kind == "conv":
        patches = _patches(product, a, chosen.rows)
        return patches.unflatten(1, (product.conv_groups, -1)).transpose(0, 1), weight_matrix(product)
    if product.kind == "transposed_conv":
        return a.permute(0, 2, 3, 1).flatten(0, 2)[chosen.rows][None], weight_matrix(product)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (_entries(x.expand(*batch, *x.shape[-2:]), chosen.entries) for x in (a, b))
    return a[:, chosen.rows], b if chosen.columns is None else b[..., chosen.columns]


def weight_matrix(product: Product) -> Tensor:
    """The weights as B (G, K, N)."""
    b = product.b.detach()
    if product.kind == "linear":
        return b.t()[None]
    if product.kind == "conv":
        return cast(Tensor, b.flatten(1).unflatten(0, (product.conv_groups, -1)).transpose(1, 2))
    return b.flatten(1)[None]


def results(product: Product, values: Tensor, chosen: Chosen) -> Tensor:
    """Of values in the shape of the product's result, those of the chosen rows: (G, R, N)."""
    values = values.detach()
    if product.kind == "linear":
        return values.reshape(-1, values.shape[-1])[chosen.rows][None]
    if product.kind == "conv":
        flat = values.permute(0, 2, 3, 1).flatten(0, 2)[chosen.rows]
        return cast(Tensor, flat.unflatten(1, (product.conv_groups, -1)).transpose(0, 1))
    if product.kind == "transposed_conv":
        high, wide = product.stride
        cells = values.unflatten(3, (-1, wide)).unflatten(2, (-1, high))  # (B, C, y, of y, x, of x)
        found: Tensor = cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(0, 2)[chosen.rows][None]
        return found
    rows = _entries(values, chosen.entries)[:, chosen.rows]
    return rows if chosen.columns is None else rows[..., chosen.columns]


def _patches(product: Product, a: Tensor, rows: Tensor) -> Tensor:
    """The patches (R, C * k * k) under a convolution's kernel at these places."""
    high, wide = product.b.shape[2:]
    (down, right), (above, left) = product.stride, product.padding
    a = F.pad(a, (left, left, above, above))
    height, width = (a.shape[2] - high) // down + 1, (a.shape[3] - wide) // right + 1
    image, place = rows // (height * width), rows % (height * width)
    y = (place // width * down)[:, None] + torch.arange(high)
    x = (place % width * right)[:, None] + torch.arange(wide)
    found = a[image[:, None, None], :, y[:, :, None], x[:, None, :]]  # (R, k, k, C)
    return found.permute(0, 3, 1, 2).flatten(1)


def _entries(x: Tensor, numbers: Sequence[int]) -> Tensor:
    """Of (…, M, N), the matrices with these numbers: (G, M, N)."""
    places = np.unravel_index(numbers, x.shape[:-2])
    return x[tuple(torch.from_numpy(place) for place in places)]


def _sample(total: int, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` of the numbers below `total`, in order."""
    if total <= count:
        return torch.arange(total)
    return torch.randint(total, (count,), generator=generator).sort().values

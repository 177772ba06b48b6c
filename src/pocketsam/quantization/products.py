"""Every matrix product of a model, whatever its architecture: linear layers, convolutions, q·kᵀ and attention·v.

PyTorch tells a `Products` of each such call while a model runs, with the weights as they are then: those of a
convolution whose normalisation is multiplied into it are the multiplied ones. Fused attention is taken apart
into its two products, in the way in which the ONNX exporter does.

A product A·B is named after the module that computes it and its number in there, such as
"image_encoder.layers.1.blocks.0.attn.1".
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from pocketsam.quantization.quantizers import Groups, Quantizer

Kind = Literal["linear", "conv", "transposed_conv", "matmul"]


@dataclass(frozen=True)
class Product:
    """One call that computes A·B.

    a: an activation. b: weights as their layer has them or, for a "matmul", an activation, too.
    groups: the groups that the numbers in `a` fall into. stride, padding, conv_groups: of convolutions.
    compute: the product of other operands of the same shapes, with the layer's bias, if it has one.
    """

    name: str
    kind: Kind
    a: Tensor
    b: Tensor
    compute: Callable[[Tensor, Tensor], Tensor]
    groups: Groups = "one"
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    conv_groups: int = 1

    @property
    def has_weights(self) -> bool:
        """Whether `b` is the same in every call."""
        return self.kind != "matmul"

    @property
    def channels(self) -> int:
        """The output channels of the weights; 0 where there are none."""
        if not self.has_weights:
            return 0
        return self.b.shape[1 if self.kind == "transposed_conv" else 0]


def quantize_b(product: Product, quantizer: Quantizer) -> Tensor:
    """B as `quantizer` rounds it; the scale of weights is (channels,)."""
    if not product.has_weights:
        return quantizer(product.b)
    shape = [1] * product.b.ndim
    shape[1 if product.kind == "transposed_conv" else 0] = -1
    return replace(quantizer, scale=quantizer.scale.view(shape))(product.b)


Handler: TypeAlias = Callable[[Product], Tensor]
"""Computes a product in its own way."""

_GROUPS: dict[Any, Groups] = {
    torch.softmax: "softmax",
    torch.Tensor.softmax: "softmax",
    F.softmax: "softmax",
    F.gelu: "gelu",
}
_RESHAPING = {
    torch.flatten,
    torch.permute,
    torch.reshape,
    torch.transpose,
    torch.Tensor.contiguous,
    torch.Tensor.expand,
    torch.Tensor.flatten,
    torch.Tensor.permute,
    torch.Tensor.reshape,
    torch.Tensor.to,
    torch.Tensor.transpose,
    torch.Tensor.unflatten,
    torch.Tensor.view,
}
"""What leaves numbers as they are."""


class Products(TorchFunctionMode):
    """While this is entered, `handler` computes every matrix product of `model`."""

    def __init__(self, model: nn.Module, handler: Handler) -> None:
        super().__init__()
        self._model, self._handler = model, handler
        self._groups = WeakIdKeyDictionary()
        self._path: list[str] = []
        self._counts: list[int] = [0]

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func in _READERS:
            return self._compute(_READERS[func](*args, **kwargs))
        result = func(*args, **kwargs)
        if func in _GROUPS:
            self._groups[result] = _GROUPS[func]
        elif func in _RESHAPING and args[0] in self._groups:
            self._groups[result] = self._groups[args[0]]
        return result

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Keep note of which module is computing."""
        handles = []
        for name, module in self._model.named_modules():

            def enter(module: nn.Module, args: Any, name: str = name) -> None:
                self._path.append(name)
                self._counts.append(0)

            def leave(module: nn.Module, args: Any, result: Any) -> None:
                self._path.pop()
                self._counts.pop()

            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __enter__(self) -> "Products":
        self._hooks = self._named()
        self._hooks.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._hooks.__exit__(*error)

    def _compute(self, product: Product) -> Tensor:
        number = self._counts[-1]
        self._counts[-1] += 1
        name = f"{self._path[-1] if self._path else ''}.{number}".lstrip(".")
        return self._handler(replace(product, name=name, groups=self._groups.get(product.a, "one")))

    def _attention(
        self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *others: Any, **more: Any
    ) -> Tensor:
        root = q.shape[-1] ** -0.25  # on both sides, as the exporter has it
        scores = self._compute(_read_matmul(q * root, k.transpose(-1, -2) * root))
        weights = (scores if attn_mask is None else scores + attn_mask).softmax(-1)
        self._groups[weights] = "softmax"
        return self._compute(_read_matmul(weights, v))


def _read_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Product:
    return Product("", "linear", input, weight, lambda a, b: F.linear(a, b, bias))


def _read_matmul(a: Tensor, b: Tensor) -> Product:
    return Product("", "matmul", a, b, torch.matmul)


def _read_conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Product:
    def compute(a: Tensor, b: Tensor) -> Tensor:
        return F.conv2d(a, b, bias, stride, padding, dilation, groups)

    assert _pair(dilation) == (1, 1), "no architecture of the family has gaps in its kernels"
    return Product("", "conv", input, weight, compute, "one", _pair(stride), _pair(padding), groups)


def _read_transposed_conv(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, *others: Any, **more: Any
) -> Product:
    def compute(a: Tensor, b: Tensor) -> Tensor:
        return F.conv_transpose2d(a, b, bias, stride)

    assert _pair(stride) == tuple(weight.shape[2:]), "every cell must become pixels of its own"
    return Product("", "transposed_conv", input, weight, compute, "one", _pair(stride))


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


_READERS: dict[Any, Callable[..., Product]] = {
    F.linear: _read_linear,
    F.conv2d: _read_conv,
    F.conv_transpose2d: _read_transposed_conv,
    torch.matmul: _read_matmul,
    torch.Tensor.matmul: _read_matmul,
    torch.Tensor.__matmul__: _read_matmul,
}

"""EfficientNet-Lite, the image encoder of `pocket`: a convolutional network with published ImageNet weights.

Inverted residuals without squeeze-and-excitation and with ReLU6 (EfficientNet, arXiv 1905.11946, table 1; its Lite
variants were made for INT8 on phones). Four of its feature maps, at strides 4, 8, 16 and 32, go through a small
feature pyramid (arXiv 1612.03144) to SAM's embedding at stride 16. As in SAM 2 (arXiv 2408.00714, appendix C), the
maps at strides 8 and 4 also reach the mask decoder's upscaling, where they sharpen the outlines.
"""

import itertools
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.encoders.base import ImageEncoder
from pocketsam.models.encoders.depthwise import depthwise_conv2d
from pocketsam.models.layers import LayerNorm2d, Shapes, count

EXPANSION = (1, 6, 6, 6, 6, 6, 6)
KERNELS = (3, 3, 5, 3, 5, 5, 3)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""Of the seven stages; widths and depths are what the variants differ in."""
STEM_WIDTH = 32
PYRAMID_STAGES = (1, 2, 4, 6)
"""The stages whose outputs, at strides 4, 8, 16 and 32, make the pyramid."""


class ConvNorm(nn.Module):
    """A convolution with TensorFlow's "same" padding, and its batch normalisation.

    Normalisation with running statistics is a scale and a shift, which are multiplied into the weights: no pass over
    the feature map is spent on them.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(c_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm.training:
            return cast(Tensor, self.norm(self._convolve(x, self.conv.weight, None)))
        return self._convolve(x, *self._products())

    def folded(self) -> nn.Module:
        """Padding and convolution alone, for inference, with the normalisation in their weights."""
        weight, bias = self._products()
        (before, after), padding = self._padding()
        channels = weight.shape[0]
        conv = nn.Conv2d(
            weight.shape[1] * self.conv.groups,
            channels,
            self.conv.kernel_size,  # type: ignore[arg-type]
            self.conv.stride,  # type: ignore[arg-type]
            padding,
            groups=self.conv.groups,
        ).requires_grad_(False)
        conv.weight.copy_(weight)
        cast(Tensor, conv.bias).copy_(bias)
        return nn.Sequential(nn.ZeroPad2d((before, after) * 2), conv) if after else conv

    def _products(self) -> tuple[Tensor, Tensor]:
        """The weights and the bias of the convolution and its normalisation in one."""
        mean, variance = cast(Tensor, self.norm.running_mean), cast(Tensor, self.norm.running_var)
        scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
        weight, bias = self.conv.weight * scale.view(-1, 1, 1, 1), self.norm.bias - mean * scale
        return weight.to(self.conv.weight.dtype), bias.to(self.conv.weight.dtype)

    def _padding(self) -> tuple[tuple[int, int], int]:
        """By how much to pad before the convolution, above and left, below and right; and within it, on all sides."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if stride == 1:
            return (0, 0), kernel // 2
        total = kernel - stride  # uneven: one more below and right
        return (total // 2, total - total // 2), 0

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ConvNorm":
        # Called for every .to() and .half(): weight and normalisation are rounded once, as a product.
        def keep_digits(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype.itemsize >= tensor.dtype.itemsize else tensor.to(moved.device)

        self.conv._apply(fn, recurse)
        self.norm._apply(keep_digits, recurse)
        return self

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        outside, padding = self._padding()
        if any(outside):
            x = F.pad(x, outside * 2)
        stride = self.conv.stride[0]
        if self.conv.groups > 1:
            return depthwise_conv2d(x, weight, bias, stride, padding)
        return F.conv2d(x, weight, bias, stride, padding)


class InvertedResidual(nn.Module):
    """Widen, convolve depthwise, narrow; the input is added where the shape is still the same."""

    def __init__(self, c_in: int, c_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        self.expand = ConvNorm(c_in, hidden) if expansion > 1 else None
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = ConvNorm(hidden, c_out)
        self.is_residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = cast(Tensor, self.project(F.relu6(self.depthwise(y))))
        return x + y if self.is_residual else y


class FeaturePyramid(nn.Module):
    """Feature maps at strides 4, 8, 16 and 32 -> the image embedding (B, 1024, S/16, S/16).

    256 channels are SAM's, which prompts attend to. The others are the finer maps, cell by cell: 64 channels of the
    2 x 2 pixels of each cell at stride 8, and 32 channels of the 4 x 4 pixels at stride 4. So an embedding stays one
    array, in memory, between engines and in files.
    """

    def __init__(self, widths: tuple[int, int, int, int], channels: int = 256) -> None:
        super().__init__()
        fine, middle, main, coarse = widths
        self.lateral8 = nn.Conv2d(middle, channels, 3, 2, 1, bias=False)
        self.lateral16 = nn.Conv2d(main, channels, 1, bias=False)
        self.lateral32 = nn.Conv2d(coarse, channels, 1, bias=False)
        self.norm1 = LayerNorm2d(channels)
        self.output = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = LayerNorm2d(channels)
        self.skip8 = nn.Conv2d(middle, channels // 4, 1)
        self.skip4 = nn.Conv2d(fine, channels // 8, 1)
        for skip in (self.skip8, self.skip4):  # at first, finer maps do not change a trained decoder's masks
            nn.init.zeros_(skip.weight)
            nn.init.zeros_(cast(Tensor, skip.bias))

    def forward(self, stride4: Tensor, stride8: Tensor, stride16: Tensor, stride32: Tensor) -> Tensor:
        coarse = F.interpolate(self.lateral32(stride32), scale_factor=2.0, mode="nearest")
        x = F.gelu(self.norm1(self.lateral8(stride8) + self.lateral16(stride16) + coarse))
        x = self.norm2(self.output(x))
        finer = F.pixel_unshuffle(self.skip8(stride8), 2), F.pixel_unshuffle(self.skip4(stride4), 4)
        return torch.cat([x, *finer], dim=1)


class EfficientNetLite(ImageEncoder):
    """Pixels (B, 3, S, S), normalised, S a multiple of 64 -> image embedding (B, 1024, S/16, S/16)."""

    embedding_channels = 1024
    kept_in_float = ("stem", "blocks.0")

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM_WIDTH, 3, 2)
        blocks, width_in = [], STEM_WIDTH
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for i in range(depth):
                stride = STRIDES[stage] if i == 0 else 1
                blocks.append(InvertedResidual(width_in, width, EXPANSION[stage], KERNELS[stage], stride))
                width_in = width
        self.blocks = nn.ModuleList(blocks)
        ends = list(itertools.accumulate(depths))
        self.outputs = tuple(ends[stage] - 1 for stage in PYRAMID_STAGES)
        fine, middle, main, coarse = (widths[stage] for stage in PYRAMID_STAGES)
        self.neck = FeaturePyramid((fine, middle, main, coarse))

    @classmethod
    def matches(cls, shapes: Shapes) -> bool:
        """See `ImageEncoder.matches`."""
        return "blocks.0.depthwise.conv.weight" in shapes

    @classmethod
    def like(cls, shapes: Shapes) -> "EfficientNetLite":
        """See `ImageEncoder.like`."""
        blocks = [shapes[f"blocks.{i}.project.conv.weight"][0] for i in range(count(shapes, "blocks"))]
        stages = [(width, len(list(group))) for width, group in itertools.groupby(blocks)]
        widths, depths = zip(*stages, strict=True)
        return cls(widths, depths)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The feature maps at strides 4, 8, 16 and 32."""
        x = F.relu6(self.stem(x.contiguous(memory_format=torch.channels_last)))
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.outputs:
                maps.append(x)
        return maps

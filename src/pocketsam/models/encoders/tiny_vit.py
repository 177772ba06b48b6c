"""TinyViT, the image encoder of MobileSAM and TinySAM (arXiv 2207.10666; MobileSAM, section 3).

A convolutional stage, then three stages of window attention. The last downsampling keeps its
resolution, so that S x S pixels give an S/16 x S/16 embedding, the shape of SAM's ViT-H.
Parameter names and shapes are those of the published `mobile_sam.pt`.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.encoders.base import ImageEncoder
from pocketsam.models.layers import Shapes, check_heads, count, from_windows, neck, pad_to, to_windows


class ConvNorm(nn.Module):
    """A convolution without bias, and its batch normalisation."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.bn(self.c(x)))


class PatchEmbed(nn.Module):
    """Two stride-2 convolutions: (B, 3, S, S) -> (B, C, S/4, S/4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, channels // 2, 3, 2), nn.GELU(), ConvNorm(channels // 2, channels, 3, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.seq(x))


class MBConv(nn.Module):
    """Inverted residual: widen four times, look around depthwise, narrow again."""

    def __init__(self, channels: int, expansion: int = 4) -> None:
        super().__init__()
        hidden = channels * expansion
        self.conv1 = ConvNorm(channels, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        return F.gelu(x + self.conv3(y))


class PatchMerging(nn.Module):
    """Downsampling between stages; with stride 1 it only widens."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(c_in, c_out)
        self.conv2 = ConvNorm(c_out, c_out, 3, stride, groups=c_out)
        self.conv3 = ConvNorm(c_out, c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x))
        return cast(Tensor, self.conv3(x))


class WindowAttention(nn.Module):
    """Self-attention inside a window, with one learned bias a head and absolute offset (|dy|, |dx|)."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))

    def bias(self, side: int) -> Tensor:
        """The biases (heads, side², side²) between all positions of a window of `side` <= `window`."""
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        y, x = y.flatten(), x.flatten()
        offset = (y[:, None] - y).abs() * self.window + (x[:, None] - x).abs()
        return self.attention_biases[:, offset.to(self.attention_biases.device)]

    def forward(self, x: Tensor) -> Tensor:
        """A map (B, H, W, C) -> the same shape; a map smaller than the window is its own window."""
        height, width = x.shape[1:3]
        side = min(self.window, height, width)
        x = pad_to(x, side)
        qkv = self.qkv(self.norm(x)).unflatten(3, (self.heads, -1))
        q, k, v = (to_windows(part, side) for part in qkv.chunk(3, dim=-1))
        bias = self.bias(side).to(q.dtype)
        tokens = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        x = from_windows(tokens, side, *x.shape[1:3])
        return cast(Tensor, self.proj(x[:, :height, :width]))


class TokenMLP(nn.Module):
    """The transformer block's MLP, with its own normalisation first."""

    def __init__(self, channels: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, channels * expansion)
        self.fc2 = nn.Linear(channels * expansion, channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.fc2(F.gelu(self.fc1(self.norm(x)))))


class Block(nn.Module):
    """Window attention, a depthwise convolution across window borders, and an MLP."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.attn = WindowAttention(channels, heads, window)
        self.local_conv = ConvNorm(channels, channels, 3, groups=channels)
        self.mlp = TokenMLP(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W), kept in channels-last memory so that tokens are a view of it."""
        x = x + self.attn(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.local_conv(x)
        return x + cast(Tensor, self.mlp(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """A run of blocks and, but for the last stage, the step to the next width."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else cast(Tensor, self.downsample(x))


class TinyViT(ImageEncoder):
    """Pixels (B, 3, S, S), normalised, S a multiple of 64 -> image embedding (B, 256, S/16, S/16)."""

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 128, 160, 320),
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (2, 4, 5, 10),
        windows: tuple[int, ...] = (7, 7, 14, 7),
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(widths[0])
        strides = (2, 2, 1)  # the last one keeps its resolution (MobileSAM, section 3.1)
        self.layers = nn.ModuleList()
        for i, width in enumerate(widths):
            blocks: list[nn.Module] = [
                MBConv(width) if i == 0 else Block(width, heads[i], windows[i]) for _ in range(depths[i])
            ]
            last = i == len(widths) - 1
            self.layers.append(
                Stage(blocks, None if last else PatchMerging(width, widths[i + 1], strides[i]))
            )
        # The classifier of the pretraining: part of the published files, never used by SAM.
        self.norm_head = nn.LayerNorm(widths[-1])
        self.head = nn.Linear(widths[-1], classes)
        self.neck = neck(widths[-1])

    @classmethod
    def matches(cls, shapes: Shapes) -> bool:
        """See `ImageEncoder.matches`."""
        return "patch_embed.seq.0.c.weight" in shapes

    @classmethod
    def like(cls, shapes: Shapes) -> "TinyViT":
        """See `ImageEncoder.like`."""
        stages = range(count(shapes, "layers"))
        depths = [count(shapes, f"layers.{i}.blocks") for i in stages]
        biases = [shapes[f"layers.{i}.blocks.0.attn.attention_biases"] for i in stages[1:]]
        widths = [shapes["patch_embed.seq.2.c.weight"][0]]
        widths += [shapes[f"layers.{i}.blocks.0.attn.proj.weight"][0] for i in stages[1:]]
        return cls(
            tuple(widths),
            tuple(depths),
            heads=(0, *(heads for heads, _ in biases)),
            windows=(0, *(math.isqrt(positions) for _, positions in biases)),
            classes=shapes["head.weight"][0],
        )

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """One map (B, the last stage's width, S/16, S/16)."""
        x = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        for layer in self.layers:
            x = layer(x)
        return [x]

"""`ImageEncoderViT`, with the published constructor and parts (arXiv 2304.02643, appendix A; 2203.16527).

`models/encoders/sam_vit.py` is the same network for one size and one set of layers. Clients take this one apart:
they call its blocks, and put modules of their own in the place of its layers.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.compat.modeling.common import LayerNorm2d, MLPBlock
from pocketsam.models.layers import pad_to

Norm = Callable[[int], nn.Module]
Biases = tuple[Tensor, Tensor]
TILE = 2**19  # scores, which are 2 MB


class ImageEncoderViT(nn.Module):
    """Normalised pixels (B, in_chans, S, S), S = img_size -> image embedding (B, out_chans, S/patch, S/patch).

    window_size: the side of the windows in which blocks attend, in patches, but for those numbered in
    global_attn_indexes, which attend over the whole map; 0: all do. mlp_ratio: of an MLP's inner width and embed_dim.
    """

    def __init__(
        self,
        img_size: int = 1024,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        out_chans: int = 256,
        qkv_bias: bool = True,
        norm_layer: Norm = nn.LayerNorm,
        act_layer: type[nn.Module] = nn.GELU,
        use_abs_pos: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        global_attn_indexes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        side = img_size // patch_size
        patch = (patch_size, patch_size)
        self.img_size = img_size
        self.patch_embed = PatchEmbed(patch, patch, in_chans=in_chans, embed_dim=embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, embed_dim)) if use_abs_pos else None
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                mlp_ratio,
                qkv_bias,
                norm_layer,
                act_layer,
                use_rel_pos,
                rel_pos_zero_init,
                window_size=0 if i in global_attn_indexes else window_size,
                input_size=(side, side),
            )
            for i in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(embed_dim, out_chans, 1, bias=False),
            LayerNorm2d(out_chans),
            nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False),
            LayerNorm2d(out_chans),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.neck(x.permute(0, 3, 1, 2)))


class Block(nn.Module):
    """Attention, in windows or over the whole map, and an MLP: (B, H, W, dim) -> the same shape.

    input_size: (H, W), in patches; it need not be known where there are no relative positions.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_layer: Norm = nn.LayerNorm,
        act_layer: type[nn.Module] = nn.GELU,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        attends_to = (window_size, window_size) if window_size else input_size
        self.attn = Attention(dim, num_heads, qkv_bias, use_rel_pos, rel_pos_zero_init, attends_to)
        self.norm2 = norm_layer(dim)
        self.mlp = MLPBlock(dim, int(dim * mlp_ratio + 1e-6), act_layer)  # + 1e-6: a ratio is rounded
        self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        kept, x = x, self.norm1(x)
        if self.window_size:
            size = x.shape[1], x.shape[2]
            x, padded = window_partition(x, self.window_size)
            x = window_unpartition(self.attn(x), self.window_size, padded, size)
        else:
            x = self.attn(x)
        x = kept + x
        return x + cast(Tensor, self.mlp(self.norm2(x)))


class Attention(nn.Module):
    """Self-attention over a map or a window (B, H, W, dim) -> the same shape.

    With relative positions, the bias between a query and a key is q . Rh[dy] + q . Rw[dx] (arXiv 2112.01526, eq. 4).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        width = dim // num_heads
        self.scale = width**-0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            assert input_size is not None, "relative positions need input_size"
            rows, columns = input_size
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * rows - 1, width))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * columns - 1, width))
            if not rel_pos_zero_init:
                nn.init.trunc_normal_(self.rel_pos_h, std=0.02)
                nn.init.trunc_normal_(self.rel_pos_w, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1], x.shape[2]
        parts = self.qkv(x).flatten(1, 2).unflatten(2, (3, self.num_heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4).flatten(1, 2)  # each (B * heads, H * W, c)
        biases = None
        if self.use_rel_pos:
            size = (height, width)
            biases = _position_biases(q, self.rel_pos_h, self.rel_pos_w, size, size)
        attended = (_attend_in_tiles if _is_inference_on_cpu(x) else _attend)(q, k, v, self.scale, biases)
        heads = attended.unflatten(0, (-1, self.num_heads)).transpose(1, 2)
        return cast(Tensor, self.proj(heads.flatten(2).unflatten(1, (height, width))))


def _is_inference_on_cpu(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    )


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, biases: Biases | None) -> Tensor:
    """Attention of N heads between L tokens, by PyTorch's fused kernels: each (N, L, c) -> (N, L, c)."""
    mask = None
    if biases is not None:
        rows, columns = biases
        mask = (rows[..., :, None] + columns[..., None, :]).flatten(2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def _attend_in_tiles(q: Tensor, k: Tensor, v: Tensor, scale: float, biases: Biases | None) -> Tensor:
    """The same in the published order of operations, so that masks equal the published ones to the pixel.

    A tile of scores stays in the processor's cache, which makes this faster than the fused kernel on a CPU.
    """
    length = q.shape[1]
    heads, queries = max(1, TILE // length**2), max(1, TILE // length)
    attended = torch.empty_like(q)
    for first in range(0, len(q), heads):
        some = slice(first, first + heads)
        keys, values = k[some].transpose(1, 2), v[some]
        for start in range(0, length, queries):
            tile = some, slice(start, start + queries)
            scores = (q[tile] * scale) @ keys
            if biases is not None:
                scores = _add_biases(scores, biases[0][tile], biases[1][tile])
            attended[tile] = scores.softmax(-1) @ values
    return attended


class PatchEmbed(nn.Module):
    """An image as patches, channels last: (B, in_chans, S, S) -> (B, S/stride, S/stride, embed_dim)."""

    def __init__(
        self,
        kernel_size: tuple[int, int] = (16, 16),
        stride: tuple[int, int] = (16, 16),
        padding: tuple[int, int] = (0, 0),
        in_chans: int = 3,
        embed_dim: int = 768,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.proj(x).permute(0, 2, 3, 1))


def window_partition(x: Tensor, window_size: int) -> tuple[Tensor, tuple[int, int]]:
    """A map (B, H, W, C) as windows (B * windows, side, side, C), and its size after padding with zeros."""
    x = pad_to(x, window_size)
    height, width = x.shape[1], x.shape[2]
    x = x.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size))  # (B, rows, side, columns, side, C)
    return x.transpose(2, 3).flatten(0, 2), (height, width)


def window_unpartition(
    windows: Tensor, window_size: int, pad_hw: tuple[int, int], hw: tuple[int, int]
) -> Tensor:
    """`window_partition` undone: windows of a map padded to pad_hw -> (B, H, W, C), where hw is (H, W)."""
    rows, columns = pad_hw[0] // window_size, pad_hw[1] // window_size
    x = windows.unflatten(0, (-1, rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return cast(Tensor, x[:, : hw[0], : hw[1]].contiguous())


def get_rel_pos(q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
    """The relative position of every query and key along an axis: rel_pos (L, C) -> (q_size, k_size, C).

    It is stretched where L is not that of these sizes.
    """
    length = 2 * max(q_size, k_size) - 1
    if len(rel_pos) != length:
        rel_pos = F.interpolate(rel_pos.T[None], size=length, mode="linear")[0].T
    q = torch.arange(q_size, device=rel_pos.device)[:, None] * max(k_size / q_size, 1.0)
    k = torch.arange(k_size, device=rel_pos.device) * max(q_size / k_size, 1.0)
    offsets = (q - k + (k_size - 1) * max(q_size / k_size, 1.0)).long()
    return rel_pos[offsets]


def add_decomposed_rel_pos(
    attn: Tensor,
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> Tensor:
    """Scores (B, queries, keys) with the bias of relative positions; q (B, queries, C)."""
    return _add_biases(attn, *_position_biases(q, rel_pos_h, rel_pos_w, q_size, k_size))


def _position_biases(
    q: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, q_size: tuple[int, int], k_size: tuple[int, int]
) -> Biases:
    """q (B, H * W, C) -> what scores gain by a key's row (B, H * W, keys' H), and column (B, H * W, keys' W)."""
    grid = q.unflatten(1, q_size)
    of_rows = get_rel_pos(q_size[0], k_size[0], rel_pos_h).transpose(1, 2)
    of_columns = get_rel_pos(q_size[1], k_size[1], rel_pos_w).transpose(1, 2)
    columns = (grid.transpose(1, 2) @ of_columns).transpose(1, 2)
    return (grid @ of_rows).flatten(1, 2), columns.flatten(1, 2)


def _add_biases(scores: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Scores (B, queries, keys) with `_position_biases` added."""
    by_place = scores.unflatten(2, (rows.shape[2], columns.shape[2]))
    return cast(Tensor, (by_place + rows[..., :, None] + columns[..., None, :]).flatten(2))

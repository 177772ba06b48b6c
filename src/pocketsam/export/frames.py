"""Between the convention that programs for Segment Anything have built in, and a model's own: parts of graphs.

These programs scale a photo so that its longer side has 1024 pixels, the frame. They give prompts in those pixels,
and masks as prompts in 256 × 256 cells, of which the photo covers the upper left part. A model has a square of its
own, of another size, into which a photo is padded or squashed (`predict/geometry.py`).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.config import BOX_START, PADDING, ModelConfig

FRAME = 1024
"""The longer side of a photo, in the pixels that prompts are given in."""
FRAME_CELLS = FRAME // 4
"""The side of a mask that is a prompt, and of the low-resolution mask."""


class PhotoInput(nn.Module):
    """A photo (H, W, 3) to the model's input (1, 3, S, S): resized, normalised, padded (`predict/image.py`).

    And `content`, (2,) the rows and columns of the frame that the photo covers. Some programs give a photo in a black
    frame, of which a model whose square it fills is not to see anything.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig, framed: bool = True) -> None:
        """framed: whether the photo may come shrunk and in a black frame."""
        super().__init__()
        self.config, self.size = config, config.image_size
        self.framed = framed and config.resize != "pad"
        self.shrinks_from = FRAME * framed if config.resampling == "antialiased" else math.inf
        self.register_buffer("mean", torch.tensor(config.mean))
        self.register_buffer("std", torch.tensor(config.std))

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        pixels = ((photo - self.mean) / self.std).permute(2, 0, 1)
        brightest = photo.amax(2)
        lines = brightest.amax(1), brightest.amax(0)
        lengths = photo_size(photo)
        size = torch.stack([_used(line) for line in lines]) if self.framed else lengths
        inside = inside_square(size, self.config)
        # A photo of at most 1024 pixels a side was shrunk by the program, which has averaged pixels already.
        shrinks = lengths.max() > self.shrinks_from
        axes = zip(inside, lines, size, strict=True)
        rows, columns = (_resampling(self.size, to, line, of, shrinks) for to, line, of in axes)
        # Pixels outside the photo stay 0, as padding is.
        is_row, is_column = (torch.arange(self.size) < length for length in inside)
        image = (rows * is_row[:, None]) @ pixels @ (columns * is_column[:, None]).T
        return image[None], (size * (FRAME / lengths.max()) + 0.5).floor()


class Pack(nn.Module):
    """The embedding with a channel of its own for `content`, which programs then hand to the decoder.

    Where the model's square is padded, nothing is added: the embedding stays that of the published models.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, embedding: Tensor, content: Tensor) -> Tensor:
        if self.config.resize == "pad":
            return embedding
        side = self.config.embedding_size
        return torch.cat([embedding, F.pad(content, (0, side**2 - 2)).view(1, 1, side, side)], 1)


class Unpack(nn.Module):
    """The embedding and `content` of what the encoder gave."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, packed: Tensor, photo_size: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.resize == "pad":
            return packed, _resized(photo_size, FRAME)
        return packed[:, :-1], packed[0, -1, 0, :2]


class PromptInput(nn.Module):
    """Points, labels and a mask as these programs give them to those that the model takes (`predict/prompts.py`)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(
        self, points: Tensor, labels: Tensor, mask: Tensor, content: Tensor, photo_size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        inside = inside_square(photo_size, self.config)
        points = points * (inside / content).flip(0)
        kept = self._tokens(labels[0])
        least = max(1, self.config.pad_points_to)
        points = torch.cat([points, torch.zeros(1, least, 2)], 1).index_select(1, kept)
        labels = torch.cat([labels, torch.full((1, least), float(PADDING))], 1).index_select(1, kept)
        return points, labels.to(torch.int32), self._mask(mask, inside / 4, content / 4)

    def _tokens(self, labels: Tensor) -> Tensor:
        """Which tokens to keep, of the given ones and of padding behind them.

        Programs add a padding point to every prompt, to boxes too. SAM has one where there is no box.
        """
        real = labels != PADDING
        if self.config.pad_points_to:
            missing = self.config.pad_points_to - real.sum()
        else:
            missing = (real.any() & ~(labels == BOX_START).any()).to(torch.int64)
        added = torch.arange(max(1, self.config.pad_points_to)) < missing
        return torch.cat([real, added]).nonzero()[:, 0]

    def _mask(self, mask: Tensor, inside: Tensor, content: Tensor) -> Tensor:
        """A mask of the frame to one of the model's square."""
        if _same_frame(self.config):
            return mask
        axes = zip(inside, content, strict=True)
        rows, columns = (_resampling(self.config.mask_size, to, mask[0, 0, 0], of) for to, of in axes)
        return rows @ mask @ columns.T


class MaskOutput(nn.Module):
    """The four masks of a prompt to the one that it means (`predict/candidates.py`), in two sizes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(
        self,
        logits: Tensor,
        ious: Tensor,
        labels: Tensor,
        has_mask: Tensor,
        content: Tensor,
        photo_size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ambiguous = ((labels != PADDING).sum() == 1) & (has_mask[0] == 0)
        clicks, others = (
            _most_confident(ious, masks) for masks in (self.config.click_masks, self.config.prompt_masks)
        )
        chosen = torch.where(ambiguous, clicks, others)
        logits, iou = logits.index_select(1, chosen), ious.index_select(1, chosen)
        return self._of_photo(logits, content, photo_size), iou, self._of_frame(logits, content, photo_size)

    def _of_photo(self, logits: Tensor, content: Tensor, photo_size: Tensor) -> Tensor:
        """The mask in the photo's size, as `Geometry.logits_to_photo` has it."""
        size = self.config.image_size
        covered = content * (photo_size.max() / FRAME)  # the photo or, in a black frame, a part of it
        height, width = covered.round().to(torch.int64)
        if self.config.resampling == "plain":
            photo = F.interpolate(logits, (height, width), mode="bicubic", align_corners=False)
        else:
            square = F.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
            if self.config.resize == "pad":
                rows, columns = inside_square(photo_size, self.config).to(torch.int64)
                square = square[:, :, :rows, :columns]
            photo = F.interpolate(square, (height, width), mode="bilinear", align_corners=False)
        ends = zip(photo_size, (height, width), strict=True)
        rows, columns = (torch.arange(whole.to(torch.int64)).minimum(part - 1) for whole, part in ends)
        return photo.index_select(2, rows).index_select(3, columns)

    def _of_frame(self, logits: Tensor, content: Tensor, photo_size: Tensor) -> Tensor:
        """The mask in the cells of the frame; beyond the photo, its border goes on."""
        if _same_frame(self.config):
            return logits
        axes = zip(content / 4, inside_square(photo_size, self.config) / 4, strict=True)
        rows, columns = (_resampling(FRAME_CELLS, to, logits[0, 0, 0], of) for to, of in axes)
        return rows @ logits @ columns.T


def _same_frame(config: ModelConfig) -> bool:
    """Whether the model's square is the frame that programs use, as it is in SAM."""
    return config.resize == "pad" and config.image_size == FRAME


def inside_square(photo_size: Tensor, config: ModelConfig) -> Tensor:
    """(2,) rows and columns of the photo in the model's square."""
    if config.resize == "squash":
        return torch.full((2,), float(config.image_size))
    return _resized(photo_size, config.image_size)


def _resized(photo_size: Tensor, side: int) -> Tensor:
    """(2,) rows and columns of a photo whose longer side is scaled to `side`, rounded as SAM does it."""
    return (photo_size * (side / photo_size.max()) + 0.5).floor()


def photo_size(photo: Tensor) -> Tensor:
    """(2,) rows and columns of a photo (H, W, 3), as numbers that stay variable in the graph."""
    return torch.stack([torch.ones_like(line).sum() for line in (photo[:, 0, 0], photo[0, :, 0])])


def _used(line: Tensor) -> Tensor:
    """How many values a line has up to the last that is not black."""
    return (torch.ones_like(line).cumsum(0) * (line > 0)).max().clamp(min=1.0)


def _most_confident(ious: Tensor, masks: tuple[int, ...]) -> Tensor:
    """The number (1,) of the mask with the highest predicted IoU among some, ious (1, 4)."""
    allowed = torch.tensor(masks)
    return allowed[ious[0, allowed].argmax(0, keepdim=True)]


def _resampling(
    count: int,
    inside: Tensor | float,
    line: Tensor,
    covered: Tensor | float,
    antialias: Tensor | bool = False,
) -> Tensor:
    """Bilinear weights (count, len(line)), which resize the first `covered` values of a line to `inside` values.

    antialias: average over all values that shrink into one, as Pillow does. Beyond `inside`, the last value goes on.
    """
    scale = covered / inside
    width = torch.where(torch.as_tensor(antialias), torch.as_tensor(scale).clamp(min=1.0), torch.ones(()))
    centres = ((torch.arange(count) + 0.5) * scale).minimum(torch.as_tensor(covered - scale / 2))
    positions = torch.ones_like(line).cumsum(0) - 0.5
    weights = (1 - (centres[:, None] - positions).abs() / width).clamp(min=0.0) * (positions < covered)
    return weights / weights.sum(1, keepdim=True)

"""Object detection and instance segmentation: a one-stage head for boxes, and a head for the mask of each box.

ViTDet (arXiv 2203.16527) puts Mask R-CNN's two stages on its feature pyramid. Here boxes come in one stage, from FCOS
(arXiv 1904.01355): every cell of every level says which class its object has, how far it is to the four sides of its
box, and how well that box fits. Masks come from Mask R-CNN's mask head (arXiv 1703.06870, section 3): a small network
on the features inside a box.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.heads.base import EncoderShape
from pocketsam.models.heads.pyramid import FeaturePyramid
from pocketsam.utils.boxes import nms

STRIDES = (4, 8, 16, 32, 64)
"""Of the pyramid; boxes come from all levels but the first, which is for masks."""
FINEST_BOXES = 1
ROI_SIDE = 14
"""Cells a side of the features of a box; its mask has twice as many."""
RARE = 0.01
"""The probability of each class in each cell, before anything is learned (arXiv 1708.02002, section 4.1)."""
MOST_CANDIDATES, LEAST_SCORE, SAME_OBJECT, MOST_OBJECTS = 1000, 0.05, 0.6, 100
"""Of the candidates for a photo: how many count, their least score, the IoU above which two of a class are the same
object, and how many stay."""


class Cells(NamedTuple):
    """What the cells of all levels say of B images, L cells in each.

    classes: (B, L, K) logits. sides: (B, L, 4), the distances to the left, top, right and bottom side of the box, in
    pixels. quality: (B, L) logits of the IoU of that box. centres: (L, 2), x and y of the cells in pixels.
    strides: (L,), pixels a cell.
    """

    classes: Tensor
    sides: Tensor
    quality: Tensor
    centres: Tensor
    strides: Tensor

    def boxes(self) -> Tensor:
        """The boxes (B, L, 4), XYXY in pixels."""
        return boxes_of(self.centres, self.sides)


class Found(NamedTuple):
    """What the head makes of B images: what cells say of boxes, and the features from which masks are made."""

    cells: Cells
    levels: list[Tensor]


class Detector(nn.Module):
    """Feature maps -> what the cells say of boxes, and, for given boxes, their masks.

    classes: K. channels: of the pyramid. depth: convolutions before the outputs of each head. masks: whether there is
    a mask head.
    """

    def __init__(
        self, shape: EncoderShape, classes: int, channels: int = 256, depth: int = 4, masks: bool = True
    ) -> None:
        super().__init__()
        self.pyramid = FeaturePyramid(shape, channels, STRIDES)
        self.box_head = BoxHead(classes, channels, depth)
        self.mask_head = MaskHead(classes, channels, depth) if masks else None

    def forward(self, maps: Sequence[Tensor]) -> Found:
        """The encoder's maps (B, C_i, H_i, W_i) -> what the box head says of each cell, and the pyramid's levels."""
        levels = self.pyramid(maps)
        return Found(self.box_head(levels[FINEST_BOXES:]), levels)

    def predict(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Of one image, the best first: `boxes` (N, 4) XYXY in pixels, `scores` (N,), `classes` (N,) and, with a mask
        head, `masks` (N, 28, 28), the probability of each cell of the box."""
        found = self(maps)
        boxes, scores, classes = best_boxes(found.cells)
        parts = {"boxes": boxes, "scores": scores, "classes": classes}
        if self.mask_head is not None:
            images = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
            parts["masks"] = self.mask_head(found.levels, boxes, images, classes).sigmoid()
        return parts


class BoxHead(nn.Module):
    """The levels (B, C, h, w) -> Cells; the same convolutions on every level (FCOS, section 3)."""

    def __init__(self, classes: int, channels: int, depth: int) -> None:
        super().__init__()
        self.class_tower, self.box_tower = _tower(channels, depth), _tower(channels, depth)
        self.classify = nn.Conv2d(channels, classes, 3, padding=1)
        self.sides = nn.Conv2d(channels, 4, 3, padding=1)
        self.quality = nn.Conv2d(channels, 1, 3, padding=1)
        for layer in (self.classify, self.sides, self.quality):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(cast(Tensor, layer.bias))
        nn.init.constant_(cast(Tensor, self.classify.bias), -math.log((1 - RARE) / RARE))
        nn.init.ones_(cast(Tensor, self.sides.bias))

    def forward(self, levels: Sequence[Tensor]) -> Cells:
        parts = []
        for level, stride in zip(levels, STRIDES[FINEST_BOXES:], strict=True):
            of_class, of_box = self.class_tower(level), self.box_tower(level)
            classes = self.classify(of_class).flatten(2).transpose(1, 2)
            sides = stride * F.softplus(self.sides(of_box).float()).flatten(2).transpose(1, 2)
            quality = self.quality(of_box).flatten(1)
            centres = cell_centres(level.shape[2], level.shape[3], stride, level.device)
            strides = torch.full((len(centres),), float(stride), device=level.device)
            parts.append(Cells(classes.float(), sides, quality.float(), centres, strides))
        return Cells(
            *(torch.cat(part, 1) for part in zip(*(cells[:3] for cells in parts), strict=True)),
            *(torch.cat(part) for part in zip(*(cells[3:] for cells in parts), strict=True)),
        )


class MaskHead(nn.Module):
    """The features inside boxes -> a mask for each box, of its class (Mask R-CNN, figure 4)."""

    def __init__(self, classes: int, channels: int, depth: int) -> None:
        super().__init__()
        self.tower = _tower(channels, depth)
        self.enlarge = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.mask = nn.Conv2d(channels, classes, 1)

    def forward(self, levels: Sequence[Tensor], boxes: Tensor, images: Tensor, classes: Tensor) -> Tensor:
        """levels: (B, C, h, w) each; of N boxes (N, 4), the image (N,) that each is in, and its class (N,).

        Returns logits (N, 28, 28).
        """
        x = self.tower(features_of_boxes(levels, boxes, images))
        x = self.mask(F.gelu(self.enlarge(x)))
        return cast(Tensor, x[torch.arange(len(x), device=x.device), classes.long()].float())


def _tower(channels: int, depth: int) -> nn.Sequential:
    """Convolutions with group normalisation, which does not depend on the batch."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(channels // 8, channels),
            nn.GELU(),
        ]
    return nn.Sequential(*layers)


def cell_centres(height: int, width: int, stride: int, device: torch.device | str = "cpu") -> Tensor:
    """The centres of a level's cells in pixels, row by row: (height * width, 2)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return (torch.stack([x, y], -1).flatten(0, 1) + 0.5) * stride


def boxes_of(centres: Tensor, sides: Tensor) -> Tensor:
    """Boxes (…, L, 4) XYXY from the cells' centres (L, 2) and the distances to their sides (…, L, 4)."""
    return torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], -1)


def best_boxes(cells: Cells) -> tuple[Tensor, Tensor, Tensor]:
    """Of one image: the boxes (N, 4), scores (N,) and classes (N,) that stay, the best first.

    A score is the geometric mean of the class's probability and the box's quality (FCOS's released code).
    """
    scores = (cells.classes[0].sigmoid() * cells.quality[0].sigmoid()[:, None]).sqrt()
    best, places = scores.flatten().topk(min(MOST_CANDIDATES, scores.numel()))
    places = places[best > LEAST_SCORE]
    best = best[best > LEAST_SCORE]
    rows, classes = places // scores.shape[1], places % scores.shape[1]
    size = float((cells.centres + cells.strides[:, None] / 2).max())
    boxes = cells.boxes()[0, rows].clamp(0, size)
    apart = boxes + 2 * size * classes[:, None]  # so that boxes of two classes never overlap
    kept = torch.from_numpy(nms(apart.cpu().numpy(), best.cpu().numpy(), SAME_OBJECT))[:MOST_OBJECTS]
    kept = kept.to(boxes.device)
    return boxes[kept], best[kept], classes[kept]


def features_of_boxes(
    levels: Sequence[Tensor], boxes: Tensor, images: Tensor, side: int = ROI_SIDE
) -> Tensor:
    """RoIAlign (Mask R-CNN, section 3): the features inside boxes, side × side cells each -> (N, C, side, side).

    Each box is read from the level whose cells suit its size (arXiv 1612.03144, equation 1, with 56 pixels on the
    finest level), by bilinear interpolation at the centre of each of its cells.
    """
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1).prod(1).sqrt()
    wanted = (sizes / 56).log2().floor().clamp(0, len(levels) - 2).long()
    features = levels[0].new_zeros(len(boxes), levels[0].shape[1], side, side)
    for number, level in enumerate(levels):
        grid = sampling_grid(boxes, STRIDES[number] * level.shape[3], STRIDES[number] * level.shape[2], side)
        for image in images[wanted == number].unique():
            ours = ((wanted == number) & (images == image)).nonzero()[:, 0]
            stacked = grid[ours].flatten(0, 1)[None].to(level.dtype)  # all boxes of an image below each other
            read = F.grid_sample(level[image][None], stacked, padding_mode="border", align_corners=False)
            cells = read[0].unflatten(1, (-1, side)).transpose(0, 1)
            features = features.index_copy(0, ours, cells.to(features.dtype))
    return features


def sampling_grid(boxes: Tensor, width: int, height: int, side: int) -> Tensor:
    """The centres of side × side cells of boxes (N, 4), as `F.grid_sample` takes them: (N, side, side, 2).

    width, height: of what is sampled, in the boxes' pixels.
    """
    steps = (torch.arange(side, device=boxes.device) + 0.5) / side
    x = boxes[:, None, 0] + steps * (boxes[:, None, 2] - boxes[:, None, 0])
    y = boxes[:, None, 1] + steps * (boxes[:, None, 3] - boxes[:, None, 1])
    columns = (2 * x / width - 1)[:, None, :].expand(-1, side, -1)
    rows = (2 * y / height - 1)[:, :, None].expand(-1, -1, side)
    return torch.stack([columns, rows], -1)

"""Proposals: what everything mode finds in a photo, and every file it can become.

There may be hundreds of masks, so they are kept as COCO run lengths; none is ever as large as the photo.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pocketsam.predict.conversions import Conversions
from pocketsam.predict.drawing import draw_masks
from pocketsam.predict.formats.result import DEFAULT_NAME, photo_of
from pocketsam.utils.rle import RLE

Row: TypeAlias = tuple[
    RLE, NDArray[np.int64], int, np.float32, float, NDArray[np.float64], tuple[int, int, int, int]
]
Index: TypeAlias = slice | Sequence[int] | NDArray[Any]


@dataclass(frozen=True, eq=False)
class Proposals(Conversions):
    """N masks of a photo of H × W pixels, found without a prompt. len() and selecting work as on arrays.

    rle: N COCO run lengths {"size": [H, W], "counts": str}; `pocketsam.utils.rle.decode` gives a mask (H, W).
    boxes: (N, 4) int64 XYXY, the outermost pixels themselves: x1 is the last column. Zeros for an empty mask.
    areas: (N,) int64 pixels. predicted_iou, stability: (N,) float32.
    points: (N, 2) float64, the point that gave each mask. crop_boxes: (N, 4) int64 XYXY, the crop it was found in.
    image: uint8 (H, W, 3) RGB, for overlays. file_name: the photo's, for COCO.
    """

    rle: list[RLE]
    boxes: NDArray[np.int64]
    areas: NDArray[np.int64]
    predicted_iou: NDArray[np.float32]
    stability: NDArray[np.float32]
    points: NDArray[np.float64]
    crop_boxes: NDArray[np.int64]
    image: NDArray[np.uint8] | None = None
    file_name: str = "photo"

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Proposals":
        """One proposal a row: its fields in the order above."""
        columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(7)]
        rle, boxes, areas, predicted_iou, stability, points, crop_boxes = columns
        return cls(
            rle,
            np.array(boxes, np.int64).reshape(-1, 4),
            np.array(areas, np.int64),
            np.array(predicted_iou, np.float32),
            np.array(stability, np.float32),
            np.array(points, np.float64).reshape(-1, 2),
            np.array(crop_boxes, np.int64).reshape(-1, 4),
        )

    @classmethod
    def join(cls, parts: Sequence["Proposals"]) -> "Proposals":
        """All the proposals of `parts`, which are of one photo, in order."""
        rle = [rle for part in parts for rle in part.rle]
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS
        }
        return replace(parts[0], rle=rle, **arrays)

    def __len__(self) -> int:
        return len(self.rle)

    def __getitem__(self, index: Index) -> "Proposals":
        kept = np.arange(len(self))[index]
        arrays = {name: getattr(self, name)[kept] for name in _ARRAYS}
        return replace(self, rle=[self.rle[i] for i in kept], **arrays)

    def __repr__(self) -> str:
        return f"Proposals({len(self)} of {self.file_name})"

    def overlay(self) -> NDArray[np.uint8]:
        """The photo uint8 (H, W, 3) with the masks drawn on it, small ones above large ones.

        Raises InputError when the masks were found without the photo.
        """
        return draw_masks(photo_of(self.image, self.file_name), self.rle)

    def details(self) -> list[dict[str, Any]]:
        """What files say of each mask beside its pixels, name and predicted IoU: its stability and its click."""
        return [
            {"stability_score": round(float(stability), 4), "point": [round(x, 2), round(y, 2)]}
            for stability, (x, y) in zip(self.stability, self.points.tolist(), strict=True)
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """The class name of each mask; everything mode gives no classes."""
        return (DEFAULT_NAME,) * len(self)

    @property
    def logits(self) -> None:
        """Not kept, as there may be hundreds of masks."""
        return None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the photo."""
        if self.image is None and self.rle:
            height, width = self.rle[0]["size"]
            return height, width
        height, width, _ = photo_of(self.image, self.file_name).shape
        return height, width


_ARRAYS = ("boxes", "areas", "predicted_iou", "stability", "points", "crop_boxes")

"""What a format is written from: N masks of one photo, wherever they come from."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pocketsam.errors import InputError
from pocketsam.utils.rle import RLE

DEFAULT_NAME = "object"
"""The class of a mask that nobody named."""


class Result(Protocol):
    """N masks of a photo of `size` (H, W), as `Masks`, `Proposals` and `LabelledPhoto` are. Attributes are only read.

    rle: N COCO run lengths. names: the class name of each mask. predicted_iou: (N,) float32, NaN where unknown.
    empty: (N,) bool, whether a mask has so few pixels that nothing was found. image: uint8 (H, W, 3) RGB, or None.
    file_name: the photo's. logits: (N, h, w) float32 at low resolution, or None where they were not kept.
    """

    @property
    def rle(self) -> list[RLE]: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def predicted_iou(self) -> NDArray[np.float32]: ...
    @property
    def empty(self) -> NDArray[np.bool_]: ...
    @property
    def image(self) -> NDArray[np.uint8] | None: ...
    @property
    def file_name(self) -> str: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def logits(self) -> NDArray[np.float32] | None: ...

    def __len__(self) -> int: ...

    def overlay(self) -> NDArray[np.uint8]:
        """The photo uint8 (H, W, 3) with the masks drawn on it. Raises InputError when there is no photo."""
        ...

    def details(self) -> list[dict[str, Any]]:
        """What is known of each mask beside its pixels, name and predicted IoU: JSON values by name."""
        ...


def photo_of(image: NDArray[np.uint8] | None, file_name: str) -> NDArray[np.uint8]:
    """The photo that masks were found in. Raises InputError when they carry none."""
    if image is None:
        raise InputError(
            f"{file_name}: these masks carry no photo; open the photo itself, with its embedding if you like"
        )
    return image

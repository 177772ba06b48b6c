"""`ResizeLongestSide`: images and coordinates to the model's input, as the published code does it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pocketsam.config import SAM, ModelConfig
from pocketsam.predict.geometry import Geometry

if TYPE_CHECKING:
    from torch import Tensor


class ResizeLongestSide:
    """Photos and coordinates to the model's input of `target_length` pixels a side; original_size is (H, W).

    config: of a model that resizes otherwise than SAM, as EfficientSAM and pocket do, which squash. A
    predictor's `transform` is that of its model.
    """

    def __init__(self, target_length: int, config: ModelConfig = SAM) -> None:
        self.target_length = target_length
        self._config = config

    def apply_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) to uint8 (h, w, 3)."""
        height, width = self._geometry(image.shape).resized
        if self._config.resampling == "plain":
            return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        resized = Image.fromarray(np.ascontiguousarray(image)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        return np.array(resized)

    def apply_coords(self, coords: ArrayLike, original_size: Sequence[int]) -> NDArray[np.float64]:
        """(…, 2) as (x, y) in photo pixels to model pixels."""
        return np.array(coords, np.float64) * self._scale(original_size)

    def apply_boxes(self, boxes: ArrayLike, original_size: Sequence[int]) -> NDArray[np.float64]:
        """(B, 4) or (4,) XYXY in photo pixels to (B, 4) in model pixels."""
        return self.apply_coords(np.reshape(boxes, (-1, 2, 2)), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: "Tensor") -> "Tensor":
        """float (B, 3, H, W) to (B, 3, h, w); close to `apply_image`, which is what models expect."""
        from torch.nn.functional import interpolate

        size = self._geometry(image.shape[2:]).resized
        antialias = self._config.resampling == "antialiased"
        return interpolate(image, size, mode="bilinear", align_corners=False, antialias=antialias)

    def apply_coords_torch(self, coords: "Tensor", original_size: Sequence[int]) -> "Tensor":
        """See `apply_coords`; float32, on the device of `coords`."""
        coords = coords.float()
        return coords * coords.new_tensor(self._scale(original_size).tolist())

    def apply_boxes_torch(self, boxes: "Tensor", original_size: Sequence[int]) -> "Tensor":
        """See `apply_boxes`; float32, on the device of `boxes`."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """(h, w) of a photo whose longest side becomes `long_side_length`."""
        return Geometry(oldh, oldw, long_side_length).resized

    def _scale(self, original_size: Sequence[int]) -> NDArray[np.float64]:
        height, width = self._geometry(original_size).resized
        return np.array([width / original_size[1], height / original_size[0]])

    def _geometry(self, size: Sequence[int]) -> Geometry:
        config: Any = replace(self._config, image_size=self.target_length)
        return Geometry.of(config, size[0], size[1])

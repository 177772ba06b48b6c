"""`SamPredictor`: an image is set once, then prompts are predicted, with the published arguments and results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.compat.engine_model import EngineModel
from pocketsam.compat.tensors import find_torch, to_array, to_tensor
from pocketsam.compat.utils.transforms import ResizeLongestSide
from pocketsam.predict.image import load_image

if TYPE_CHECKING:
    from torch import Tensor

    from pocketsam.compat.modeling import Sam


class SamPredictor:
    """Encodes a photo once, then segments it by any number of prompts.

    All attributes may be assigned, also before `__init__` or without it, as subclasses do.
    model: a `modeling.Sam`, any module with its parts, or an `EngineModel`. transform: the way from the photo's
    pixels to the model's. features: the image embedding (1, C, S/16, S/16), a tensor or, where PyTorch is not
    installed, an array. original_size, input_size: (H, W) of the photo and of the resized photo.
    """

    model: Any
    transform: Any
    is_image_set: bool = False
    features: Any = None
    original_size: Any = None
    input_size: Any = None

    def __init__(self, sam_model: "Sam | EngineModel") -> None:
        super().__init__()
        self.model = sam_model
        if isinstance(sam_model, EngineModel):
            config = sam_model.engine.config
            self.transform = ResizeLongestSide(config.image_size, config)
        else:
            self.transform = ResizeLongestSide(int(sam_model.image_encoder.img_size))  # type: ignore[arg-type]
        self.reset_image()

    def reset_image(self) -> None:
        """Forgets the photo."""
        self.is_image_set = False
        self.features = self.original_size = self.input_size = None

    @property
    def device(self) -> Any:
        """Where the model is: a torch.device or, where PyTorch is not installed, its name."""
        return self.model.device

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encodes a photo uint8 (H, W, 3) whose channels are in the order "RGB" or "BGR".

        Raises InputError when it is no photo.
        """
        assert image_format in ("RGB", "BGR"), f"image_format is {image_format!r}: give 'RGB' or 'BGR'"
        pixels = load_image(image)
        if image_format != self.model.image_format:
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        resized = np.asarray(self.transform.apply_image(pixels)).transpose(2, 0, 1)[None]
        if find_torch() is None:
            self._set(self.model.encode(resized.astype(np.float32), pixels.shape), resized, pixels.shape)
        else:
            self.set_torch_image(to_tensor(resized, self.device), pixels.shape[:2])

    def set_torch_image(self, transformed_image: "Tensor", original_image_size: Sequence[int]) -> None:
        """Encodes a photo (1, 3, h, w), values 0 to 255, that `transform` has resized from (H, W)."""
        import torch

        side = self.model.image_encoder.img_size
        shape = transformed_image.shape
        assert len(shape) == 4 and shape[1] == 3 and max(shape[2:]) == side, (
            f"the image has shape {tuple(shape)}, but the model takes (1, 3, h, w) whose longer side is {side}:"
            " resize it with predictor.transform"
        )
        self.reset_image()
        if isinstance(self.model, EngineModel):
            embedding = self.model.encode(to_array(transformed_image), original_image_size)
            features = to_tensor(embedding, self.device)
        else:
            with torch.no_grad():
                features = self.model.image_encoder(self.model.preprocess(transformed_image))
        self._set(features, transformed_image, original_image_size)

    def _set(self, features: Any, resized: Any, original_size: Sequence[int]) -> None:
        self.features = features
        self.original_size = tuple(original_size[:2])
        self.input_size = tuple(resized.shape[-2:])
        self.is_image_set = True

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
        """The masks of one object on the photo that was set.

        point_coords (P, 2) as (x, y) in photo pixels; point_labels (P,): 1 on the object, 0 not on it, any other
        a position without a meaning; box (4,) XYXY; mask_input (1, S/4, S/4): low-resolution logits of an earlier
        answer.
        multimask_output: three masks, in the model's own order, instead of one. The one is the model's mask for
        unambiguous prompts or, where it has none (TinySAM, EfficientSAM), the most confident of the three.
        Returns masks (C, H, W) bool, or float32 logits with return_logits; predicted IoU (C,); and low-resolution
        logits (C, S/4, S/4), which is 256 × 256 for SAM.
        Raises RuntimeError before a photo is set, and for several boxes; ValueError for points and masks of other
        shapes; InputError when the prompts do not fit together or the model.
        """
        self._check_set("before masks are predicted")
        coords = labels = boxes = logits = None
        if point_coords is not None:
            assert point_labels is not None, (
                "point_coords need their point_labels: 1 on the object, 0 not on it"
            )
            if np.ndim(point_coords) != 2:
                raise ValueError(f"point_coords must be (P, 2), not {np.shape(point_coords)}")
            coords = self.transform.apply_coords(np.asarray(point_coords), self.original_size)
            coords = np.asarray(coords, np.float32).reshape(1, -1, 2)
            labels = np.asarray(point_labels).astype(np.int32).reshape(1, -1)
        if box is not None:
            boxes = np.asarray(self.transform.apply_boxes(np.asarray(box), self.original_size), np.float32)
            if len(boxes) != 1:
                raise RuntimeError(f"box holds {len(boxes)} boxes; predict_torch takes several")
        if mask_input is not None:
            logits = to_array(mask_input)[None]
            if logits.ndim != 4:
                raise ValueError(
                    f"mask_input must be (1, H, W), such as logits[i : i + 1], not {logits.shape[1:]}"
                )
        if find_torch() is None:
            low_res, iou = self.model.decode(self.features, coords, labels, boxes, logits, multimask_output)
            masks = self.model.enlarge(low_res, self.original_size, return_logits)
            return masks[0], iou[0], low_res[0]
        answer = self.predict_torch(
            self._tensor(coords),
            self._tensor(labels),
            self._tensor(boxes),
            self._tensor(logits),
            multimask_output,
            return_logits=return_logits,
        )
        masks, iou, low_res = (tensor[0].detach().cpu().numpy() for tensor in answer)
        return masks, iou, low_res

    def predict_torch(
        self,
        point_coords: "Tensor | None",
        point_labels: "Tensor | None",
        boxes: "Tensor | None" = None,
        mask_input: "Tensor | None" = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> "tuple[Tensor, Tensor, Tensor]":
        """The masks of B objects, in tensors; coordinates are the model's, as `transform` gives them. Needs PyTorch.

        point_coords (B, P, 2), point_labels (B, P), boxes (B, 4), mask_input (B or 1, 1, S/4, S/4).
        Returns masks (B, C, H, W), predicted IoU (B, C), low-resolution logits (B, C, S/4, S/4); see `predict`.
        """
        self._check_set("before masks are predicted")
        assert point_coords is None or point_labels is not None, (
            "point_coords need their point_labels: 1 on the object, 0 not on it"
        )
        if isinstance(self.model, EngineModel):
            return self._predict_by_engine(
                self.model, point_coords, point_labels, boxes, mask_input, multimask_output, return_logits
            )
        import torch

        from pocketsam.compat.modeling.decoding import decode

        points = None if point_coords is None or point_labels is None else (point_coords, point_labels)
        with torch.no_grad():
            low_res, iou = decode(self.model, self.features, points, boxes, mask_input, multimask_output)
            masks = self.model.postprocess_masks(low_res, self.input_size, self.original_size)
            return masks if return_logits else masks > self.model.mask_threshold, iou, low_res

    def _predict_by_engine(
        self,
        model: EngineModel,
        point_coords: "Tensor | None",
        point_labels: "Tensor | None",
        boxes: "Tensor | None",
        mask_input: "Tensor | None",
        multimask_output: bool,
        return_logits: bool,
    ) -> "tuple[Tensor, Tensor, Tensor]":
        prompts = point_coords, point_labels, boxes, mask_input
        coords, labels, corners, logits = (None if tensor is None else to_array(tensor) for tensor in prompts)
        features = to_array(self.features)
        low_res, iou = model.decode(features, coords, labels, corners, logits, multimask_output)
        masks = model.enlarge(low_res, self.original_size, return_logits)
        device = self.device
        return to_tensor(masks, device), to_tensor(iou, device), to_tensor(low_res, device)

    def _tensor(self, array: NDArray[Any] | None) -> "Tensor | None":
        return None if array is None else to_tensor(array, self.device)

    def get_image_embedding(self) -> Any:
        """The image embedding (1, 256, S/16, S/16): a tensor or, where PyTorch is not installed, an array."""
        self._check_set("before there is an embedding")
        return self.features

    def _check_set(self, before: str) -> None:
        if not self.is_image_set:
            raise RuntimeError(f"no image is set: call set_image {before}")

"""`SamPredictor`: an image is set once, then prompts are predicted, with the published arguments and results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.compat.base import OpenModel
from pocketsam.compat.tensors import find_torch, to_array, to_tensor
from pocketsam.compat.transforms import ResizeLongestSide
from pocketsam.config import ModelConfig
from pocketsam.engines import PreparedImage
from pocketsam.engines import decode as decode_prompts
from pocketsam.errors import InputError
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import load_image, preprocess
from pocketsam.predict.prompts import Prompts

if TYPE_CHECKING:
    from torch import Tensor

NO_LABELS = "point_coords need their point_labels: 1 on the object, 0 not on it"


class SamPredictor:
    """Encodes a photo once, then segments it by any number of prompts.

    original_size, input_size: (H, W) of the photo and of the resized photo; None before one is set.
    features: the image embedding, as `get_image_embedding` gives it, or None. It can be assigned, with
    original_size and is_image_set, to go on from an embedding that was kept.
    """

    def __init__(self, sam_model: OpenModel) -> None:
        self.model = sam_model
        self.reset_image()

    def reset_image(self) -> None:
        """Forgets the photo."""
        self.is_image_set = False
        self.original_size: tuple[int, int] | None = None
        self.input_size: tuple[int, int] | None = None
        self._embedding: NDArray[np.float32] | None = None
        self._prepared: tuple[NDArray[np.float32], PreparedImage] | None = None

    @property
    def device(self) -> Any:
        """See `Sam.device`."""
        return self.model.device

    @property
    def transform(self) -> ResizeLongestSide:
        """The way from the photo's pixels to the model's."""
        config = self.model.engine.config
        return ResizeLongestSide(config.image_size, config)

    @property
    def features(self) -> Any:
        """The image embedding, or None."""
        if self._embedding is None or find_torch() is None:
            return self._embedding
        return to_tensor(self._embedding, self.device)

    @features.setter
    def features(self, embedding: "Tensor | ArrayLike | None") -> None:
        self._embedding = None if embedding is None else to_array(embedding)

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encodes a photo uint8 (H, W, 3) whose channels are in the order "RGB" or "BGR".

        Raises InputError when it is no photo.
        """
        assert image_format in ("RGB", "BGR"), f"image_format is {image_format!r}: give 'RGB' or 'BGR'"
        pixels = load_image(image)
        if image_format != self.model.image_format:
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        self._encode(preprocess(pixels, self.model.engine.config), pixels.shape[:2])

    def set_torch_image(self, transformed_image: "Tensor", original_image_size: Sequence[int]) -> None:
        """Encodes a photo (1, 3, h, w), values 0 to 255, that `transform` has resized from (H, W)."""
        config = self.model.engine.config
        pixels = to_array(transformed_image)
        height, width = Geometry.of(config, original_image_size[0], original_image_size[1]).resized
        assert pixels.shape == (1, 3, height, width), (
            f"the image has shape {pixels.shape}, but a photo of {tuple(original_image_size)} takes"
            f" (1, 3, {height}, {width}) with this model: resize it with predictor.transform"
        )
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (config.mean, config.std))
        padded = np.zeros((1, 3, config.image_size, config.image_size), np.float32)
        padded[..., :height, :width] = (pixels - mean) / std
        self._encode(padded, original_image_size)

    def _encode(self, pixels: NDArray[np.float32], original_size: Sequence[int]) -> None:
        self.reset_image()
        engine = self.model.engine
        self._embedding = engine.encode(pixels)
        self.original_size = original_size[0], original_size[1]
        self.input_size = Geometry.of(engine.config, *self.original_size).resized
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

        point_coords (P, 2) as (x, y) in photo pixels; point_labels (P,): 1 on the object, 0 not on it;
        box (4,) XYXY; mask_input (1, S/4, S/4): low-resolution logits of an earlier answer.
        multimask_output: three masks, in the model's own order, instead of one. The one is the model's mask for
        unambiguous prompts or, where it has none (TinySAM, EfficientSAM), the most confident of the three.
        Returns masks (C, H, W) bool, or float32 logits with return_logits; predicted IoU (C,); and low-resolution
        logits (C, S/4, S/4), which is 256 × 256 for SAM.
        Raises RuntimeError before a photo is set; InputError when the prompts do not fit together or the model.
        """
        self._check_set("before masks are predicted")
        assert point_coords is None or point_labels is not None, NO_LABELS
        coords = labels = boxes = logits = None
        if point_coords is not None:
            coords = self.transform.apply_coords(np.reshape(point_coords, (1, -1, 2)), self._size)
            labels = np.reshape(np.asarray(point_labels), (1, -1))
        if box is not None:
            boxes = self.transform.apply_boxes(box, self._size)
            assert len(boxes) == 1, f"box holds {len(boxes)} boxes; predict_torch takes several"
        if mask_input is not None:
            logits = np.asarray(mask_input, np.float32)[None]
        masks, iou, low_res = self._predict(coords, labels, boxes, logits, multimask_output, return_logits)
        return masks[0], iou[0], low_res[0]

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
        given = (point_coords, point_labels, boxes, mask_input)
        coords, labels, corners, logits = (None if tensor is None else to_array(tensor) for tensor in given)
        answer = self._predict(coords, labels, corners, logits, multimask_output, return_logits)
        masks, iou, low_res = (to_tensor(array, self.device) for array in answer)
        return masks, iou, low_res

    def get_image_embedding(self) -> Any:
        """The image embedding (1, 256, S/16, S/16): a tensor or, where PyTorch is not installed, an array."""
        self._check_set("before there is an embedding")
        return self.features

    def _check_set(self, before: str) -> None:
        if not self.is_image_set:
            raise RuntimeError(f"no image is set: call set_image {before}")

    @property
    def _size(self) -> tuple[int, int]:
        assert self.original_size is not None, "original_size is not set: it belongs to the embedding"
        return self.original_size

    def _prepare(self, embedding: NDArray[np.float32]) -> PreparedImage:
        """What the engine prepares once of an embedding, however it was set."""
        if self._prepared is None or self._prepared[0] is not embedding:
            self._prepared = embedding, self.model.engine.prepare(embedding)
        return self._prepared[1]

    def _predict(
        self,
        coords: NDArray[Any] | None,
        labels: NDArray[Any] | None,
        boxes: NDArray[Any] | None,
        mask_input: NDArray[Any] | None,
        multimask_output: bool,
        return_logits: bool,
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
        """The masks of B objects: arrays as in `predict_torch`."""
        engine = self.model.engine
        config = engine.config
        if mask_input is not None and not config.takes_masks:
            raise InputError(f"{config.name} takes no mask as a prompt; give it points or a box")
        prompts = _prompts(coords, labels, boxes, mask_input)
        square = Geometry.of(config, config.image_size, config.image_size)  # model pixels already
        tokens = prompts.tokens(square, config.pad_points_to)
        assert self._embedding is not None, "features are not set"
        side = config.mask_size
        answer = np.zeros((0, 4, side, side), np.float32), np.zeros((0, 4), np.float32)
        if len(prompts):  # a detector may have found no boxes
            mask_tokens = prompts.mask_tokens(square)
            answer = decode_prompts(
                engine, self._embedding, *tokens, *mask_tokens, prepared=self._prepare(self._embedding)
            )
        logits, iou = _asked_for(*answer, multimask_output, config)
        geometry = Geometry.of(config, *self._size)
        masks = np.empty((*iou.shape, *self._size), np.float32 if return_logits else np.bool_)
        for index in np.ndindex(iou.shape):
            full = geometry.logits_to_photo(logits[index])
            masks[index] = full if return_logits else full > self.model.mask_threshold
        return masks, iou, logits


def _prompts(
    coords: NDArray[Any] | None,
    labels: NDArray[Any] | None,
    boxes: NDArray[Any] | None,
    mask_input: NDArray[Any] | None,
) -> Prompts:
    """The prompts of B objects; unlike `Prompts.of`, and as published, wherever they lie."""
    boxes = None if boxes is None else boxes.reshape(-1, 4).astype(np.float32)
    mask_input = None if mask_input is None else mask_input.reshape(-1, *mask_input.shape[-2:])
    n = next((len(given) for given in (coords, boxes, mask_input) if given is not None), 1)
    if mask_input is not None and len(mask_input) == 1:  # one mask is everybody's
        mask_input = np.repeat(mask_input, n, axis=0)
    if coords is None:
        coords, labels = np.zeros((n, 0, 2)), np.zeros((n, 0))
    assert labels is not None, NO_LABELS
    if labels.shape != coords.shape[:2]:
        raise InputError(
            f"the points have shape {coords.shape}, their labels {labels.shape}: give each its own"
        )
    counts = {len(given) for given in (coords, boxes, mask_input) if given is not None}
    if len(counts) > 1:
        listed = " or ".join(map(str, sorted(counts)))
        raise InputError(f"the prompts are for {listed} objects; give each object its own")
    return Prompts(coords.astype(np.float32), labels.astype(np.int32), boxes, mask_input)


def _asked_for(
    logits: NDArray[np.float32], iou: NDArray[np.float32], multimask_output: bool, config: ModelConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of four masks of B objects, the three of the multimask output or the single one: (B, C, h, w) and (B, C)."""
    if multimask_output:
        return logits[:, 1:], iou[:, 1:]
    answers = np.array(config.prompt_masks)
    best = answers[iou[:, answers].argmax(axis=1)][:, None]
    objects = np.arange(len(iou))[:, None]
    return logits[objects, best], iou[objects, best]

"""The API that people already use: a script for `segment_anything` runs with its import changed to this one.

    from pocketsam.compat import SamPredictor, SamAutomaticMaskGenerator, sam_model_registry

Names, argument order, defaults, output keys and types are the published ones, on any model and engine of PocketSAM.
PyTorch is imported only where a tensor is asked for or given. What differs, and why, is in
docs/how-to/move-from-segment-anything.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pocketsam.automatic.generator import segment_everything
from pocketsam.automatic.options import Options
from pocketsam.config import SAM, ModelConfig
from pocketsam.engines import Engine, PreparedImage, open_engine
from pocketsam.engines import decode as decode_prompts
from pocketsam.errors import InputError, ModelError
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import load_image, preprocess
from pocketsam.predict.prompts import Prompts
from pocketsam.utils.rle import RLE, decode
from pocketsam.zoo import locate

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device

NO_LABELS = "point_coords need their point_labels: 1 on the object, 0 not on it"
OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


class Sam:
    """A model as `sam_model_registry` gives it: a handle that opens its engine when first needed.

    source, config: see `zoo.locate`. architectures: those it may have; any, when there are none.
    `engine` raises ModelError when the model cannot be used or has another architecture.
    """

    image_format = "RGB"
    mask_threshold = 0.0

    def __init__(
        self, source: Path, config: ModelConfig | None = None, architectures: tuple[str, ...] = ()
    ) -> None:
        self._source = source
        self._config = config
        self._architectures = architectures
        self._device = "cpu"
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """What runs the model, on the device it was last sent to."""
        if self._engine is None:
            engine = open_engine(self._source, device=self._device, config=self._config)
            check_architecture(self._source, engine.config, self._architectures)
            self._engine = engine
        return self._engine

    def to(self, device: "str | Device") -> "Sam":
        """The same model, to be run on "cpu", "cuda", "cuda:0" or "mps", or the torch.device of one."""
        if str(device) != self._device:
            self._device, self._engine = str(device), None
        return self

    def cpu(self) -> "Sam":
        """The same model, to be run on the CPU."""
        return self.to("cpu")

    def cuda(self, device: int = 0) -> "Sam":
        """The same model, to be run on an NVIDIA device."""
        return self.to(f"cuda:{device}")

    def eval(self) -> "Sam":
        """The same model: it is never in training here."""
        return self

    @property
    def device(self) -> Any:
        """Where the model runs: a torch.device or, where PyTorch is not installed, its name."""
        torch = _torch()
        return torch.device(self._device) if torch else self._device

    @property
    def image_encoder(self) -> SimpleNamespace:
        """Knows `img_size`, the side of the model's input in pixels, and nothing else."""
        return SimpleNamespace(img_size=self.engine.config.image_size)

    def __call__(
        self, batched_input: Sequence[dict[str, Any]], multimask_output: bool
    ) -> "list[dict[str, Tensor]]":
        """Several photos with their prompts, one after the other. Needs PyTorch.

        Of each photo: image (3, h, w), resized by `ResizeLongestSide`, and original_size (H, W); and, in pixels of
        the resized image, any of point_coords (B, N, 2) with point_labels (B, N), boxes (B, 4),
        mask_inputs (B, 1, S/4, S/4).
        Returns for each: masks (B, C, H, W) bool, iou_predictions (B, C), low_res_logits (B, C, S/4, S/4).
        """
        answers = []
        for photo in batched_input:
            predictor = SamPredictor(self)
            predictor.set_torch_image(photo["image"][None], photo["original_size"])
            masks, iou, logits = predictor.predict_torch(
                photo.get("point_coords"),
                photo.get("point_labels"),
                photo.get("boxes"),
                photo.get("mask_inputs"),
                multimask_output,
            )
            answers.append({"masks": masks, "iou_predictions": iou, "low_res_logits": logits})
        return answers


def check_architecture(source: Path, config: ModelConfig, expected: tuple[str, ...]) -> None:
    """ModelError, naming both, when the model is none of the architectures `expected`; () expects nothing."""
    found = config.architecture
    if expected and found not in expected:
        raise ModelError(
            f"{source}: is {found or 'a network of a shape of its own'}, not {' or '.join(expected)};"
            ' use the name of its architecture, or "default", which takes any'
        )


def build_sam(checkpoint: str | Path | None = None) -> Sam:
    """The model in `checkpoint`, whatever its architecture; SAM's ViT-H when none is given.

    checkpoint: a checkpoint file (.pth, .pt, .safetensors, .bin), a folder with a model, or a name that
    `pocketsam models` lists. The published builders take None for random weights; here the published weights are
    fetched, unless they are on disk. All builders raise ModelError when there is no such model.
    """
    return Sam(*locate("sam_vit_h" if checkpoint is None else checkpoint))


def build_sam_vit_h(checkpoint: str | Path | None = None) -> Sam:
    """SAM with its largest encoder; see `build_sam`."""
    return _build(checkpoint, "sam_vit_h")


def build_sam_vit_l(checkpoint: str | Path | None = None) -> Sam:
    """SAM with its middle encoder; see `build_sam`."""
    return _build(checkpoint, "sam_vit_l")


def build_sam_vit_b(checkpoint: str | Path | None = None) -> Sam:
    """SAM with its smallest encoder; see `build_sam`."""
    return _build(checkpoint, "sam_vit_b")


def build_sam_vit_t(checkpoint: str | Path | None = None) -> Sam:
    """A TinyViT: MobileSAM, fetched when there is no checkpoint; TinySAM; PocketSAM's own. See `build_sam`."""
    return _build(checkpoint, "mobile_sam", "pocket")


def _build(checkpoint: str | Path | None, *architectures: str) -> Sam:
    source, config = locate(architectures[0] if checkpoint is None else checkpoint)
    if config is not None:  # known without opening it
        check_architecture(source, config, architectures)
    return Sam(source, config, architectures)


sam_model_registry: dict[str, Callable[..., Sam]] = {
    "default": build_sam,
    "vit_h": build_sam_vit_h,
    "vit_l": build_sam_vit_l,
    "vit_b": build_sam_vit_b,
    "vit_t": build_sam_vit_t,
}


class ResizeLongestSide:
    """Photos and coordinates to the model's input of `target_length` pixels a side; original_size is (H, W).

    config: of a model that resizes otherwise than SAM, as EfficientSAM and pocket do, which squash. A
    predictor's `transform` is that of its model.
    """

    def __init__(self, target_length: int, config: ModelConfig = SAM) -> None:
        self.target_length = target_length
        self._config = replace(config, image_size=target_length)

    def apply_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) to uint8 (h, w, 3)."""
        height, width = self._geometry(image.shape).resized
        if self._config.resampling == "plain":
            return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def apply_coords(self, coords: ArrayLike, original_size: Sequence[int]) -> NDArray[np.float32]:
        """(…, 2) as (x, y) in photo pixels to model pixels."""
        return self._geometry(original_size).to_model(coords)

    def apply_boxes(self, boxes: ArrayLike, original_size: Sequence[int]) -> NDArray[np.float32]:
        """(B, 4) or (4,) XYXY in photo pixels to (B, 4) in model pixels."""
        return self.apply_coords(np.reshape(boxes, (-1, 2, 2)), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: "Tensor") -> "Tensor":
        """float (B, 3, H, W) to (B, 3, h, w); close to `apply_image`, which is what models expect."""
        from torch.nn.functional import interpolate

        size = self._geometry(image.shape[2:]).resized
        antialias = self._config.resampling == "antialiased"
        return interpolate(image, size, mode="bilinear", align_corners=False, antialias=antialias)

    def apply_coords_torch(self, coords: "Tensor", original_size: Sequence[int]) -> "Tensor":
        """See `apply_coords`."""
        return _tensor(self.apply_coords(_array(coords), original_size), coords.device)

    def apply_boxes_torch(self, boxes: "Tensor", original_size: Sequence[int]) -> "Tensor":
        """See `apply_boxes`."""
        return _tensor(self.apply_boxes(_array(boxes), original_size), boxes.device)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """(h, w) of a photo whose longest side becomes `long_side_length`."""
        return Geometry(oldh, oldw, long_side_length).resized

    def _geometry(self, size: Sequence[int]) -> Geometry:
        return Geometry.of(self._config, size[0], size[1])


class SamPredictor:
    """Encodes a photo once, then answers any number of prompts on it.

    original_size, input_size: (H, W) of the photo and of the resized photo; None before one is set.
    features: the image embedding, as `get_image_embedding` gives it, or None. It can be assigned, with
    original_size and is_image_set, to go on from an embedding that was kept.
    """

    def __init__(self, sam_model: Sam) -> None:
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
        if self._embedding is None or _torch() is None:
            return self._embedding
        return _tensor(self._embedding, self.device)

    @features.setter
    def features(self, embedding: "Tensor | ArrayLike | None") -> None:
        self._embedding = None if embedding is None else _array(embedding)

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
        pixels = _array(transformed_image)
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
        coords, labels, corners, logits = (None if tensor is None else _array(tensor) for tensor in given)
        answer = self._predict(coords, labels, corners, logits, multimask_output, return_logits)
        masks, iou, low_res = (_tensor(array, self.device) for array in answer)
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
    """Of the four masks of B objects, the three readings or the one answer: (B, C, h, w) and (B, C)."""
    if multimask_output:
        return logits[:, 1:], iou[:, 1:]
    answers = np.array(config.prompt_masks)
    best = answers[iou[:, answers].argmax(axis=1)][:, None]
    objects = np.arange(len(iou))[:, None]
    return logits[objects, best], iou[objects, best]


class SamAutomaticMaskGenerator:
    """Masks of all there is in a photo. The options are those of `automatic.options.Options`.

    output_mode: the form of "segmentation": "binary_mask" (H, W) bool; "uncompressed_rle", COCO run lengths as a
    list of numbers; or "coco_rle", as a string.
    """

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[ArrayLike] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        assert (points_per_side is None) != (point_grids is None), (
            "give either points_per_side or point_grids"
        )
        assert output_mode in OUTPUT_MODES, f"output_mode is {output_mode!r}: give one of {OUTPUT_MODES}"
        self.model = model
        self.output_mode = output_mode
        self.options = Options(
            points_per_side,
            points_per_batch,
            pred_iou_thresh,
            stability_score_thresh,
            stability_score_offset,
            box_nms_thresh,
            crop_n_layers,
            crop_nms_thresh,
            crop_overlap_ratio,
            crop_n_points_downscale_factor,
            point_grids,
            min_mask_region_area,
            hierarchical=False,
        )

    def generate(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """The masks of a photo uint8 (H, W, 3) RGB, a dict each.

        segmentation (see output_mode), area int, bbox XYWH, predicted_iou float, point_coords [[x, y]],
        stability_score float, crop_box XYWH; lists of numbers, in photo pixels.
        """
        found = segment_everything(self.model.engine, load_image(image), self.options)
        return [
            {
                "segmentation": _segmentation(found.rle[i], self.output_mode),
                "area": int(found.areas[i]),
                "bbox": _xywh(found.boxes[i]),
                "predicted_iou": float(found.predicted_iou[i]),
                "point_coords": [found.points[i].tolist()],
                "stability_score": float(found.stability[i]),
                "crop_box": _xywh(found.crop_boxes[i]),
            }
            for i in range(len(found))
        ]


def _segmentation(rle: RLE, output_mode: str) -> NDArray[np.bool_] | RLE:
    if output_mode == "coco_rle":
        return rle
    mask = decode(rle)
    if output_mode == "binary_mask":
        return mask
    column_by_column = np.concatenate([[False], mask.ravel(order="F")])  # runs begin with one of background
    starts = np.flatnonzero(np.diff(column_by_column))
    counts = np.diff(starts, prepend=0, append=mask.size)
    return {"size": rle["size"], "counts": counts.tolist()}


def _xywh(box: NDArray[np.int64]) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def _array(values: "Tensor | ArrayLike") -> NDArray[np.float32]:
    """A tensor of any device and kind, or an array, as float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    return np.asarray(values, np.float32)


def _tensor(array: NDArray[Any], device: Any) -> "Tensor":
    torch = _torch()
    if torch is None:
        raise ModelError("tensors need PyTorch: pip install torch, or use predict, which does without")
    tensor: Tensor = torch.from_numpy(np.ascontiguousarray(array)).to(device)
    return tensor


def _torch() -> Any:
    """PyTorch, or None where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    return torch

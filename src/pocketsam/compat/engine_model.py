"""`EngineModel`: a model that an engine of PocketSAM runs, in the place of the published module.

Builders give it for a folder with a model's ONNX files, for a name that `pocketsam models` lists, for networks that
see a photo otherwise than SAM does, and for all models where PyTorch is not installed.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pocketsam.compat.tensors import find_torch, to_array, to_tensor
from pocketsam.config import BACKGROUND, FOREGROUND, PADDING, ModelConfig
from pocketsam.engines import Engine, PreparedImage, open_engine
from pocketsam.engines import decode as decode_prompts
from pocketsam.errors import InputError, ModelError
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.prompts import Prompts

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device

Array = NDArray[np.float32]


class EngineModel:
    """A handle that opens its engine when first needed. It has no parameters, and cannot be trained.

    source, config: see `zoo.locate`. architectures: those it may have; any, when there are none.
    `engine` raises ModelError when the model cannot be used or has another architecture.
    """

    image_format = "RGB"
    mask_threshold = 0.0
    training = False

    def __init__(
        self, source: Path, config: ModelConfig | None = None, architectures: tuple[str, ...] = ()
    ) -> None:
        self._source = source
        self._config = config
        self._architectures = architectures
        self._device = "cpu"
        self._engine: Engine | None = None
        self._prepared: tuple[Array, PreparedImage] | None = None

    @property
    def engine(self) -> Engine:
        """What runs the model, on the device it was last sent to."""
        if self._engine is None:
            engine = open_engine(self._source, device=self._device, precision="float32", config=self._config)
            check_architecture(self._source, engine.config, self._architectures)
            self._engine = engine
        return self._engine

    def to(self, device: "str | int | Device") -> "EngineModel":
        """The same model, to be run on "cpu", "cuda", "cuda:0" or "mps", its torch.device, or its number, 0."""
        name = f"cuda:{device}" if isinstance(device, int) else str(device)
        if name != self._device:
            self._device, self._engine, self._prepared = name, None, None
        return self

    def cpu(self) -> "EngineModel":
        """The same model, to be run on the CPU."""
        return self.to("cpu")

    def cuda(self, device: int = 0) -> "EngineModel":
        """The same model, to be run on an NVIDIA device."""
        return self.to(device)

    def eval(self) -> "EngineModel":
        """The same model: it is never in training."""
        return self

    @property
    def device(self) -> Any:
        """Where the model runs: a torch.device or, where PyTorch is not installed, its name."""
        torch = find_torch()
        return torch.device(self._device) if torch else self._device

    @property
    def image_encoder(self) -> SimpleNamespace:
        """Knows `img_size`, the side of the model's input in pixels, and nothing else."""
        return SimpleNamespace(img_size=self.engine.config.image_size)

    def encode(self, pixels: Array, original_size: Sequence[int]) -> Array:
        """The embedding of a photo (1, 3, h, w), values 0 to 255, that the model's own transform has resized."""
        config = self.engine.config
        height, width = Geometry.of(config, original_size[0], original_size[1]).resized
        assert pixels.shape == (1, 3, height, width), (
            f"the image has shape {pixels.shape}, but a photo of {tuple(original_size)} takes"
            f" (1, 3, {height}, {width}) with this model: resize it with predictor.transform"
        )
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (config.mean, config.std))
        padded = np.zeros((1, 3, config.image_size, config.image_size), np.float32)
        padded[..., :height, :width] = (pixels - mean) / std
        return self.engine.encode(padded)

    def decode(
        self,
        embedding: Array,
        coords: NDArray[Any] | None,
        labels: NDArray[Any] | None,
        boxes: NDArray[Any] | None,
        mask_input: NDArray[Any] | None,
        multimask_output: bool,
    ) -> tuple[Array, Array]:
        """Of N objects: logits (N, C, S/4, S/4) and predicted IoU (N, C); arguments as in `predict_torch`."""
        engine = self.engine
        config = engine.config
        if mask_input is not None and not config.takes_masks:
            raise InputError(f"{config.name} takes no mask as a prompt; give it points or a box")
        prompts = _prompts(coords, labels, boxes, mask_input)
        square = Geometry.of(config, config.image_size, config.image_size)  # model pixels already
        tokens = prompts.tokens(square, config.pad_points_to)
        side = config.mask_size
        answer = np.zeros((0, 4, side, side), np.float32), np.zeros((0, 4), np.float32)
        if len(prompts):  # a detector may have found no boxes
            mask_tokens = prompts.mask_tokens(square)
            answer = decode_prompts(
                engine, embedding, *tokens, *mask_tokens, prepared=self._prepare(embedding)
            )
        return _asked_for(*answer, multimask_output, config)

    def enlarge(self, logits: Array, original_size: Sequence[int], return_logits: bool) -> NDArray[Any]:
        """Low-resolution logits (N, C, h, w) to the photo's size: bool (N, C, H, W), or logits."""
        height, width = original_size
        geometry = Geometry.of(self.engine.config, height, width)
        dtype = np.float32 if return_logits else np.bool_
        masks = np.empty((*logits.shape[:2], height, width), dtype)
        for index in np.ndindex(logits.shape[:2]):
            full = geometry.logits_to_photo(logits[index])
            masks[index] = full if return_logits else full > self.mask_threshold
        return masks

    def __call__(
        self, batched_input: Sequence[dict[str, Any]], multimask_output: bool
    ) -> "list[dict[str, Tensor]]":
        """Several photos with their prompts, one after the other; see `modeling.Sam.forward`. Needs PyTorch."""
        names = ("point_coords", "point_labels", "boxes", "mask_inputs")
        answers = []
        for photo in batched_input:
            size = photo["original_size"]
            embedding = self.encode(to_array(photo["image"])[None], size)
            coords, labels, boxes, mask_input = (
                to_array(photo[name]) if name in photo else None for name in names
            )
            logits, iou = self.decode(embedding, coords, labels, boxes, mask_input, multimask_output)
            masks = self.enlarge(logits, size, return_logits=False)
            found = {"masks": masks, "iou_predictions": iou, "low_res_logits": logits}
            answers.append({name: to_tensor(array, self.device) for name, array in found.items()})
        return answers

    def postprocess_masks(
        self, masks: "Tensor", input_size: Sequence[int], original_size: Sequence[int]
    ) -> "Tensor":
        """See `modeling.Sam.postprocess_masks`."""
        enlarged = self.enlarge(masks.detach().cpu().float().numpy(), original_size, return_logits=True)
        return to_tensor(enlarged, masks.device)

    def __getstate__(self) -> dict[str, Any]:
        """Without the engine, which is opened anew where the copy is used."""
        return vars(self) | {"_engine": None, "_prepared": None}

    def _prepare(self, embedding: Array) -> PreparedImage:
        """What the engine prepares once of an embedding, however it was set."""
        known = self._prepared  # which another thread may replace at any moment
        if known is None or not np.array_equal(known[0], embedding):
            known = self._prepared = embedding.copy(), self.engine.prepare(embedding)
        return known[1]


def check_architecture(source: Path, config: ModelConfig, expected: tuple[str, ...]) -> None:
    """ModelError, naming both, when the model is none of the architectures `expected`; () expects nothing."""
    found = config.architecture
    if expected and found not in expected:
        raise ModelError(
            f"{source}: is {found or 'a network of a shape of its own'}, not {' or '.join(expected)};"
            ' use the name of its architecture, or "default", which takes any'
        )


def _prompts(
    coords: NDArray[Any] | None,
    labels: NDArray[Any] | None,
    boxes: NDArray[Any] | None,
    mask_input: NDArray[Any] | None,
) -> Prompts:
    """The prompts of N objects; unlike `Prompts.of`, and as published, wherever they lie."""
    boxes = None if boxes is None else boxes.reshape(-1, 4).astype(np.float32)
    mask_input = None if mask_input is None else mask_input.reshape(-1, *mask_input.shape[-2:])
    n = next((len(given) for given in (coords, boxes, mask_input) if given is not None), 1)
    if mask_input is not None and len(mask_input) == 1:  # one mask is everybody's
        mask_input = np.repeat(mask_input, n, axis=0)
    if coords is None:
        coords, labels = np.zeros((n, 0, 2)), np.zeros((n, 0))
    assert labels is not None
    if labels.shape != coords.shape[:2]:
        raise InputError(
            f"the points have shape {coords.shape}, their labels {labels.shape}: give each its own"
        )
    if not np.isin(labels, (PADDING, BACKGROUND, FOREGROUND)).all():
        raise InputError(
            "labels of points are 1, 0 or -1; give the corners of a box as box. In the published code, points with"
            " other labels are positions without a meaning: models that are opened from a checkpoint file do so"
        )
    counts = {len(given) for given in (coords, boxes, mask_input) if given is not None}
    if len(counts) > 1:
        listed = " or ".join(map(str, sorted(counts)))
        raise InputError(f"the prompts are for {listed} objects; give each object its own")
    return Prompts(coords.astype(np.float32), labels.astype(np.int32), boxes, mask_input)


def _asked_for(logits: Array, iou: Array, multimask_output: bool, config: ModelConfig) -> tuple[Array, Array]:
    """Of four masks of N objects, the three of the multimask output or the single one: (N, C, h, w) and (N, C)."""
    if multimask_output:
        return logits[:, 1:], iou[:, 1:]
    answers = np.array(config.prompt_masks)
    best = answers[iou[:, answers].argmax(axis=1)][:, None]
    objects = np.arange(len(iou))[:, None]
    return logits[objects, best], iou[objects, best]

"""`Sam`, a model as the published code holds it, and the registry of builders that give one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pocketsam.compat.predictor import SamPredictor
from pocketsam.compat.tensors import find_torch
from pocketsam.config import ModelConfig
from pocketsam.engines import Engine, open_engine
from pocketsam.errors import ModelError
from pocketsam.zoo import locate

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device


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
        torch = find_torch()
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

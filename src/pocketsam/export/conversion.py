"""What can be chosen about a conversion; needs no PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from pocketsam.config import SETTABLE
from pocketsam.utils.options import OUTPUT, option


class Form(str, Enum):
    """The kinds of model files. (Typer has no lists of literals.)"""

    safetensors = "safetensors"
    onnx = "onnx"
    pt = "pt"


@dataclass(frozen=True)
class Conversion:
    """A checkpoint, and the files that it shall become.

    model: a file, a folder or a name. output: a folder, or a .safetensors file; None for a folder with the model's
    name. to: kinds of files; None for safetensors. known_as: which published model it is, where its file name does
    not tell. half: whether weights are stored in float16. compact: of ONNX files, whether the decoder's are stored in
    INT8 and the others in float16. defaults: of the model, as NAME=VALUE.
    """

    model: str = field(
        metadata=option(
            str,
            "A checkpoint (.pt .pth .bin .safetensors), a folder with one, or a published model's name.",
            argument=True,
            metavar="CHECKPOINT",
        )
    )
    output: Path | None = field(
        default=None,
        metadata=option(
            Path,
            "A folder, or FILE.safetensors. If not given: a folder with the model's name, here.",
            flags=OUTPUT,
            metavar="OUT",
        ),
    )
    to: Sequence[Form] | None = field(
        default=None,
        metadata=option(
            list[Form],
            "safetensors (the default), onnx, or pt, which the architecture's own code reads; may be repeated.",
        ),
    )
    known_as: str | None = field(
        default=None,
        metadata=option(
            str,
            "Which published model the checkpoint is, where its file name does not tell.",
            flags=("--as",),
            metavar="NAME",
        ),
    )
    half: bool = field(
        default=False,
        metadata=option(bool, "Store the weights in float16: half the size, the same speed."),
    )
    compact: bool = field(
        default=False,
        metadata=option(
            bool, "Of ONNX files: store the decoder's weights in INT8, and the encoder's in float16."
        ),
    )
    defaults: Sequence[str] | None = field(
        default=None,
        metadata=option(
            list[str],
            "Set a default of this model, such as pred_iou_thresh=0.3; may be repeated."
            f" Names: {', '.join(SETTABLE)}.",
            flags=("--set",),
            metavar="NAME=VALUE",
        ),
    )

"""`pocketsam convert`: any checkpoint as safetensors with its config, as ONNX files or as a PyTorch state dict."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from pocketsam.cli.options import output_option, show
from pocketsam.config import SETTABLE
from pocketsam.utils.install import importing


class Form(str, Enum):
    """The kinds of model files. (Typer has no lists of literals.)"""

    safetensors = "safetensors"
    onnx = "onnx"
    pt = "pt"


def convert(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint (.pt .pth .bin .safetensors), a folder with one, or a published model's name.",
            metavar="CHECKPOINT",
        ),
    ],
    output: Annotated[
        Path | None,
        output_option("A folder, or FILE.safetensors. If not given: a folder with the model's name, here."),
    ] = None,
    to: Annotated[
        list[Form] | None,
        typer.Option(
            help="safetensors (the default), onnx, or pt, which the architecture's own code reads; may be repeated."
        ),
    ] = None,
    known_as: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Which published model the checkpoint is, where its file name does not tell.",
            metavar="NAME",
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store the weights in float16: half the size, the same speed.")
    ] = False,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Of ONNX files: store the decoder's weights in INT8, and the encoder's in float16.",
        ),
    ] = False,
    defaults: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Set a default of this model, such as pred_iou_thresh=0.3; may be repeated."
            f" Names: {', '.join(SETTABLE)}.",
            metavar="NAME=VALUE",
        ),
    ] = None,
) -> None:
    """Convert a checkpoint to safetensors, ONNX or PyTorch.

    The checkpoint is of SAM, MobileSAM, TinySAM, EfficientSAM, SlimSAM or PocketSAM. It becomes model.safetensors,
    which contains the model's config, ONNX files, which run without PyTorch, or a .pt file, which the code published
    with its architecture reads.
    """
    with importing("export", "converting"):
        from pocketsam.export.convert import convert as write
        from pocketsam.models.checkpoints import load_model
    from pocketsam.utils.files import with_sizes
    from pocketsam.zoo import locate_weights

    path, config = locate_weights(model, "convert", known_as)
    sam, config = load_model(path, config)
    config = config.with_defaults(defaults or [])
    forms = [form.value for form in to or [Form.safetensors]]
    converted = write(
        sam, config, output or Path(config.name), forms, half=half, compact=compact, source=path
    )
    typer.echo(
        f"{path}: {config.architecture or 'an architecture without a name'},"
        f" {converted.parameters / 1e6:.1f} M parameters, {config.image_size} × {config.image_size} pixels"
    )
    show(with_sizes(converted.files))

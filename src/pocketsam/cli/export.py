"""`pocketsam export`: a trained model as a folder of ONNX files, which run without PyTorch, or as smaller weights."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.errors import InputError


def export(
    weights: Annotated[
        Path, typer.Argument(help="A model.safetensors that training wrote.", metavar="MODEL.safetensors")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="A folder, for encoder.onnx and decoder.onnx; or a file that ends in .safetensors.",
            metavar="OUT",
        ),
    ],
    half: Annotated[
        bool, typer.Option("--half", help="Store the weights in float16: half the size, same speed.")
    ] = False,
) -> None:
    """Write a trained model in the form that runs without PyTorch, or with weights of half the size."""
    try:
        from pocketsam.export.onnx import export_onnx
        from pocketsam.models.checkpoints import load_model, save_model
    except ModuleNotFoundError as error:
        raise InputError(
            f"exporting needs {error.name}; install it with: pip install 'pocketsam[export]'"
        ) from error
    sam, description = load_model(weights)
    if output.suffix == ".safetensors":
        save_model(output, description.name, sam.state_dict(), description, half)
        paths = [output]
    else:
        paths = list(export_onnx(sam, description, output, half))
    for path in paths:
        typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")

"""`pocketsam export`: a trained model as a folder of ONNX files, which run without PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.errors import InputError


def export(
    weights: Annotated[
        Path, typer.Argument(help="A model.safetensors that training wrote.", metavar="MODEL.safetensors")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model's folder.", metavar="FOLDER")],
    half: Annotated[
        bool, typer.Option("--half", help="Store the weights in float16: half the size, same speed.")
    ] = False,
) -> None:
    """Write a trained model as encoder.onnx and decoder.onnx."""
    try:
        from pocketsam.export.onnx import export_onnx
        from pocketsam.models.checkpoints import load_model
    except ModuleNotFoundError as error:
        raise InputError(
            f"exporting needs {error.name}; install it with: pip install 'pocketsam[export]'"
        ) from error
    paths = export_onnx(*load_model(weights), output, half)
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in paths)
    typer.echo(f"{output}: {sizes}; use it with --model {output}")

"""`pocketsam export TARGET`: a model for another place to run in; a command for each target."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.cli.options import Model, output_option, show_files
from pocketsam.export.targets import TARGETS
from pocketsam.export.targets.base import Target
from pocketsam.utils.install import importing, needing
from pocketsam.zoo import locate_weights

export = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@export.callback()  # with it, a group that has one command only is a group, too
def _export() -> None:
    """Make a model ready for another place to run in, such as a browser."""


@export.command()
def web(
    output: Annotated[Path, output_option("The folder of the site.", "FOLDER")] = Path("site"),
    model: Model = "pocket",
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            help="The folder of npm's package onnxruntime-web; fetched, if not given.", metavar="FOLDER"
        ),
    ] = None,
) -> None:
    """Make a static site that segments photos in the browser: the page of `pocketsam serve`, without a server.

    Any host of static files can serve it. Photos stay on the visitor's computer, and it works offline.
    """
    from pocketsam.engines.source import onnx_folder
    from pocketsam.export.onnxruntime_web import runtime_files
    from pocketsam.export.web import export_web
    from pocketsam.zoo import locate

    runtime = runtime_files(onnxruntime_web)
    mb = export_web(onnx_folder(*locate(model)), output, runtime) / 1e6
    typer.echo(f"{output}: {mb:.0f} MB; to see it: python -m http.server -d {output} --bind 127.0.0.1")


@export.command("segment-anything")
def segment_anything(
    output: Annotated[Path, output_option("The folder of the files.", "FOLDER")] = Path("segment-anything"),
    model: Model = "pocket",
) -> None:
    """Write two ONNX files in the layout of segment_anything's export, which AnyLabeling and others load.

    NAME.encoder.onnx takes a photo, NAME.decoder.onnx one object's clicks and box; config.yaml names both for
    AnyLabeling and X-AnyLabeling.
    """
    from pocketsam.engines.source import onnx_folder
    from pocketsam.zoo import locate

    with importing("export", "exporting"):
        from pocketsam.export.segment_anything import export_segment_anything
    show_files(export_segment_anything(onnx_folder(*locate(model)), output))


@export.command()
def saliency(
    weights: Annotated[
        Path, typer.Argument(help="The file that training wrote.", metavar="MODEL.safetensors")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder of the encoder's model.", metavar="FOLDER")
    ],
) -> None:
    """Write a trained saliency head beside the ONNX files of its model, for `pocketsam cutout`."""
    with importing("export", "exporting"):
        from pocketsam.export.saliency import export_saliency
    show_files([export_saliency(weights, output)])


def _command(target: type[Target]) -> None:
    """Add the command of a target."""

    def write(
        output: Annotated[Path, output_option("The folder of the files.", "FOLDER")] = Path(target.name),
        model: Model = "pocket",
        points: Annotated[
            int,
            typer.Option(min=1, help="The points the decoder takes, where shapes are fixed.", metavar="N"),
        ] = 2,
    ) -> None:
        with importing("export", "exporting"):
            from pocketsam.export.programs import export_programs
            from pocketsam.models.checkpoints import load_model
        with needing(target.packages, f"exporting to {target.name}"):
            sam, config = load_model(*locate_weights(model, "export"))
            show_files(export_programs(sam, config, output, target.suffix, target.write, points))

    export.command(target.name, help=target.description, short_help=target.summary)(write)


for _target in TARGETS.values():
    _command(_target)

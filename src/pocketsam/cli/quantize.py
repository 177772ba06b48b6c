"""`pocketsam quantize`: a model in 8 bits that runs in integers, or in fewer bits to be evaluated."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.cli.options import output_option, show_files, with_options
from pocketsam.quantization.settings import Form, Settings, choose
from pocketsam.utils.install import importing


@with_options(search=Settings)
def quantize(
    model: Annotated[
        str,
        typer.Argument(help="A model's name, a folder with its weights, or a checkpoint.", metavar="MODEL"),
    ],
    calibration: Annotated[
        list[Path],
        typer.Option(
            "--calibrate",
            help="Photos to calibrate with, similar to those that the model will segment: a folder, tar shards or a"
            " COCO JSON; masks are not needed. May be repeated.",
            metavar="PHOTOS",
        ),
    ],
    output: Annotated[Path, output_option("The folder to write.")],
    bits: Annotated[int, typer.Option(help="Bits of weights and activations, 2 to 16.", metavar="N")] = 8,
    weight_bits: Annotated[
        int | None, typer.Option(help="Bits of weights, if others.", metavar="N", show_default=False)
    ] = None,
    activation_bits: Annotated[
        int | None, typer.Option(help="Bits of activations, if others.", metavar="N", show_default=False)
    ] = None,
    to: Annotated[
        Form | None,
        typer.Option(
            help="onnx: files that compute with 8-bit integers; the default for 8 bits. scales: a file of weights and"
            " scales for any number of bits, which the engine fake-quant computes in float32.",
            show_default=False,
        ),
    ] = None,
    full_range: Annotated[
        bool,
        typer.Option(
            "--full-range",
            help="Use all 8 bits of weights in ONNX files, instead of 7. Only for processors with VNNI: on others,"
            " sums overflow.",
        ),
    ] = False,
    one_scale: Annotated[
        bool,
        typer.Option("--one-scale", help="Use one scale instead of two for the results of softmax and GELU."),
    ] = False,
    photos: Annotated[int, typer.Option(min=1, help="How many of the photos to use.", metavar="N")] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores, if not given.", metavar="N")
    ] = None,
    *,
    search: Settings,
) -> None:
    """Quantise a model to 8 bits or fewer, by TinySAM's method.

    The scales of every matrix product are found with a few photos. The same command continues a run that was stopped
    or killed.
    """
    with importing("export", "quantising"):
        from pocketsam.models.checkpoints import load_model
        from pocketsam.quantization.job import check_folder
        from pocketsam.quantization.job import quantize as write
    from pocketsam.data.calibration import calibration_images
    from pocketsam.engines import cores
    from pocketsam.utils.files import check_writable
    from pocketsam.utils.progress import Progress
    from pocketsam.zoo import locate_weights

    weight_bits, activation_bits = weight_bits or bits, activation_bits or bits
    settings, form = choose(search, weight_bits, activation_bits, to, full_range, one_scale)
    check_writable(output, missing=True)
    check_folder(output, form)
    sam, config = load_model(*locate_weights(model, "quantise"))
    images = calibration_images(calibration, photos, config)
    with Progress("products", resumes=True) as progress:

        def show(done: int, total: int) -> None:
            progress.update(done, total=total)

        quantized = write(
            sam, config, images, settings, output, form, threads=threads or cores(), after_product=show
        )
    kind = f"{settings.weight_bits}-bit weights, {settings.activation_bits}-bit activations"
    typer.echo(f"{output}: {config.name} in {kind}; {quantized.products} products, by {settings.method}")
    show_files(quantized.files)

"""`pocketsam quantize`: a model in 8 bits that runs in integers, or in fewer bits to be evaluated."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.cli.options import output_option, show, with_options
from pocketsam.quantization.settings import Settings, Wanted, choose
from pocketsam.utils.install import importing


@with_options(wanted=Wanted, search=Settings)
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
    *,
    wanted: Wanted,
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
    from pocketsam.utils.files import with_sizes
    from pocketsam.utils.progress import Progress
    from pocketsam.zoo import locate_weights

    settings, form = choose(search, wanted)
    check_folder(output, form)
    sam, config = load_model(*locate_weights(model, "quantise"))
    images = calibration_images(calibration, wanted.photos, config)
    threads = wanted.threads or cores()
    with Progress("products", resumes=True) as progress:
        quantized = write(
            sam, config, images, settings, output, form, threads=threads, after_product=progress.update
        )
    kind = f"{settings.weight_bits}-bit weights, {settings.activation_bits}-bit activations"
    typer.echo(f"{output}: {config.name} in {kind}; {quantized.products} products, by {settings.method}")
    show(with_sizes(quantized.files))

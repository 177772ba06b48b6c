"""`pocketsam quantize`: a model in 8 bits that runs in integers, or in fewer bits to be evaluated."""

from pocketsam.cli.options import show, with_options
from pocketsam.quantization.settings import QuantizationSettings, QuantizeArguments, choose
from pocketsam.utils.files import with_sizes
from pocketsam.utils.install import importing


@with_options(args=QuantizeArguments, search=QuantizationSettings)
def quantize(*, args: QuantizeArguments, search: QuantizationSettings) -> None:
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
    from pocketsam.utils.progress import Progress
    from pocketsam.zoo import locate_weights

    settings, form = choose(search, args)
    check_folder(args.output, form)
    sam, config = load_model(*locate_weights(args.model, "quantise"))
    images = calibration_images(args.calibration, args.photos, config)
    threads = args.threads or cores()
    with Progress("products", resumes=True) as progress:
        done = write(
            sam, config, images, settings, args.output, form, threads=threads, after_product=progress.update
        )
    show((str(done), *with_sizes(done.files)))

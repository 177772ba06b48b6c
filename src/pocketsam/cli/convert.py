"""`pocketsam convert`: any checkpoint as safetensors with its config, as ONNX files or as a PyTorch state dict."""

from pocketsam.cli.options import show, with_options
from pocketsam.export.conversion import Conversion
from pocketsam.utils.files import with_sizes
from pocketsam.utils.install import importing


@with_options(wanted=Conversion)
def convert(*, wanted: Conversion) -> None:
    """Convert a checkpoint to safetensors, ONNX or PyTorch.

    The checkpoint is of SAM, MobileSAM, TinySAM, EfficientSAM, SlimSAM or PocketSAM. It becomes model.safetensors,
    which contains the model's config, ONNX files, which run without PyTorch, or a .pt file, which the code published
    with its architecture reads.
    """
    with importing("export", "converting"):
        from pocketsam.export.convert import convert as write
    from pocketsam.zoo import locate_weights

    done = write(wanted, *locate_weights(wanted.model, "convert", wanted.known_as))
    show((str(done), *with_sizes(done.files)))

"""The saliency head of a model that is exported already."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pocketsam.export.targets.base import CalibrationImages, Target, Zoo
from pocketsam.utils.files import with_sizes
from pocketsam.utils.options import OUTPUT, option


@dataclass(frozen=True)
class Saliency(Target):
    """See `export/saliency.py`. weights: the head's. output: the folder of the model that it belongs to."""

    name = "saliency"
    summary = "Write a trained saliency head beside the ONNX files of its model, for `pocketsam cutout`."
    description = summary

    weights: Path = field(
        metadata=option(Path, "The file that training wrote.", argument=True, metavar="MODEL.safetensors")
    )
    output: Path = field(
        metadata=option(Path, "The folder of the encoder's model.", flags=OUTPUT, metavar="FOLDER")
    )

    def export(self, zoo: Zoo, read_images: CalibrationImages) -> Iterator[str]:
        """See `Target.export`."""
        from pocketsam.export.saliency import export_saliency

        yield from with_sizes([export_saliency(self.weights, self.output)])

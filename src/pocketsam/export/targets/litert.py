"""LiteRT (TensorFlow Lite), for Android and microcontrollers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pocketsam.export.targets.base import FOLDER, ProgramTarget

if TYPE_CHECKING:
    from pocketsam.export.programs import Program


@dataclass(frozen=True)
class LiteRT(ProgramTarget):
    """Shapes are fixed."""

    name = "litert"
    summary = "LiteRT / TensorFlow Lite (.tflite), for Android"
    description = "Write LiteRT files: encoder.tflite and decoder.tflite, in float32, with fixed shapes."
    suffix = ".tflite"
    packages = ("litert-torch",)

    output: Path = field(default=Path("litert"), metadata=FOLDER)

    @staticmethod
    def write(program: "Program", path: Path) -> None:
        """See `ProgramTarget.write`."""
        import litert_torch

        litert_torch.convert(program.module, sample_kwargs=program.inputs).export(str(path))

"""LiteRT (TensorFlow Lite), for Android and microcontrollers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pocketsam.export.targets.base import FOLDER, QuantizableTarget

if TYPE_CHECKING:
    from torch import Tensor

    from pocketsam.export.programs import Program


SIGNATURE = "serving_default"
"""What litert-torch names the only function of a file."""


@dataclass(frozen=True)
class LiteRT(QuantizableTarget):
    """Shapes are fixed."""

    name = "litert"
    summary = "LiteRT / TensorFlow Lite (.tflite), for Android"
    description = (
        "Write LiteRT files: encoder.tflite and decoder.tflite, in float32 or, with"
        " --calibrate, an encoder in INT8. Shapes are fixed."
    )
    suffix = ".tflite"
    packages = ("litert-torch",)

    output: Path = field(default=Path("litert"), metadata=FOLDER)

    @staticmethod
    def write(program: "Program", path: Path) -> None:
        """See `ProgramTarget.write`."""
        import litert_torch

        litert_torch.convert(program.module, sample_kwargs=program.inputs).export(str(path))

    @staticmethod
    def write_int8(program: "Program", path: Path, images: "Sequence[Tensor]") -> None:
        """See `QuantizableTarget.write_int8`. What goes in and out stays in float32."""
        from ai_edge_quantizer import qtyping, recipe
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
        from ai_edge_quantizer.quantizer import Quantizer

        LiteRT.write(program, path)
        quantizer = Quantizer(str(path), recipe.static_wi8_ai8())
        for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            quantizer.update_quantization_recipe(
                regex=".*", operation_name=end, algorithm_key=AlgorithmName.NO_QUANTIZE
            )
        (name,) = program.inputs
        ranges = quantizer.calibrate({SIGNATURE: [{name: image.numpy()} for image in images]})
        quantizer.quantize(ranges).export_model(str(path), overwrite=True)

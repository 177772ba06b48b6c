"""Core ML, for iPhones and Macs. Converted anywhere; only macOS and iOS run it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pocketsam.export.targets.base import FOLDER, ProgramTarget

if TYPE_CHECKING:
    from torch import Tensor

    from pocketsam.export.programs import Program


@dataclass(frozen=True)
class CoreML(ProgramTarget):
    """Shapes are fixed."""

    name = "coreml"
    summary = "Core ML (.mlpackage), for iOS 17 and macOS 14 or later"
    description = (
        "Write Core ML packages: encoder.mlpackage and decoder.mlpackage, in float16, with fixed shapes. They are"
        " made on any system, and run on iOS 17 and macOS 14 or later."
    )
    suffix = ".mlpackage"
    packages = ("coremltools",)

    output: Path = field(default=Path("coreml"), metadata=FOLDER)

    @staticmethod
    def write(program: "Program", path: Path) -> None:
        """See `ProgramTarget.write`."""
        import coremltools
        import torch

        exported = torch.export.export(program.module, (), program.inputs, strict=False)
        model = coremltools.convert(
            exported.run_decompositions({torch.ops.aten.where.ScalarOther: _where}),
            outputs=[coremltools.TensorType(name) for name in program.outputs],
            minimum_deployment_target=coremltools.target.iOS17,
        )
        model.save(str(path))


def _where(condition: "Tensor", x: "Tensor", other: float) -> "Tensor":
    """`torch.where` with a number, which coremltools does not know (9.0), by tensors."""
    return x.where(condition, x.new_full((), other))

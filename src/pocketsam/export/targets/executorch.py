"""ExecuTorch, PyTorch's runtime for phones, with XNNPACK's kernels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pocketsam.export.targets.base import FOLDER, ProgramTarget
from pocketsam.utils.files import write

if TYPE_CHECKING:
    from pocketsam.export.programs import Program

KERNELS = (
    "AddConfig",
    "AddmmConfig",
    "BMMConfig",
    "ConvolutionConfig",
    "GeluConfig",
    "HardtanhConfig",
    "LinearConfig",
    "MMConfig",
    "ReLUConfig",
)
"""What XNNPACK computes of a decoder. With all that it could, the decoder's parts depend on each other in a circle,
which ExecuTorch refuses; and some of them come out wrong (executorch 1.5.1)."""


@dataclass(frozen=True)
class ExecuTorch(ProgramTarget):
    """Shapes are fixed."""

    name = "executorch"
    summary = "ExecuTorch with XNNPACK (.pte), for iOS and Android"
    description = (
        "Write ExecuTorch programs: encoder.pte and decoder.pte, in float32, with fixed shapes. XNNPACK computes"
        " the encoder, and the convolutions and matrix products of the decoder."
    )
    suffix = ".pte"
    packages = ("executorch",)

    output: Path = field(default=Path("executorch"), metadata=FOLDER)

    @staticmethod
    def write(program: "Program", path: Path) -> None:
        """See `ProgramTarget.write`."""
        import torch
        from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        known = {config.__name__: config for config in ALL_PARTITIONER_CONFIGS}
        chosen = known.values() if program.name == "encoder" else [known[name] for name in KERNELS]
        exported = torch.export.export(program.module, program.example, strict=False)
        lowered = to_edge_transform_and_lower(
            exported, partitioner=[XnnpackPartitioner(configs=list(chosen))]
        )
        write(path, lowered.to_executorch().buffer)

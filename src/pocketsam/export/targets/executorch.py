"""ExecuTorch, PyTorch's runtime for phones, with XNNPACK's kernels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketsam.export.targets.base import FOLDER, QuantizableTarget
from pocketsam.utils.files import write

if TYPE_CHECKING:
    from torch import Tensor, nn

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
class ExecuTorch(QuantizableTarget):
    """Shapes are fixed."""

    name = "executorch"
    summary = "ExecuTorch with XNNPACK (.pte), for iOS and Android"
    description = (
        "Write ExecuTorch programs: encoder.pte and decoder.pte, in float32 or, with --calibrate, an"
        " encoder in INT8. Shapes are fixed. XNNPACK computes the encoder, and the convolutions"
        " and matrix products of the decoder."
    )
    suffix = ".pte"
    packages = ("executorch",)

    output: Path = field(default=Path("executorch"), metadata=FOLDER)

    @staticmethod
    def write(program: "Program", path: Path) -> None:
        """See `ProgramTarget.write`."""
        from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS

        known = {config.__name__: config for config in ALL_PARTITIONER_CONFIGS}
        chosen = known.values() if program.name == "encoder" else [known[name] for name in KERNELS]
        _lower(program.module, program, path, list(chosen))

    @staticmethod
    def write_int8(program: "Program", path: Path, images: "Sequence[Tensor]") -> None:
        """See `QuantizableTarget.write_int8`.

        Convolutions alone compute in integers: with all that XNNPACK could, it refuses the program (1.5.1).
        """
        import torch
        from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        settings = get_symmetric_quantization_config(is_per_channel=True)
        quantizer = XNNPACKQuantizer().set_operator_type(torch.ops.aten.conv2d.default, settings)
        graph = torch.export.export(program.module, program.example, strict=False).module()
        observed = prepare_pt2e(graph, quantizer)
        for image in images:
            observed(image)
        _lower(convert_pt2e(observed), program, path, list(ALL_PARTITIONER_CONFIGS))


def _lower(module: "nn.Module", program: "Program", path: Path, kernels: list[Any]) -> None:
    """Write a module with the program's inputs; XNNPACK computes what these kernels can."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(module, program.example, strict=False)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner(configs=kernels)])
    write(path, lowered.to_executorch().buffer)

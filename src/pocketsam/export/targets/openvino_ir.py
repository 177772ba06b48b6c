"""OpenVINO's own format, which its C, C++, JavaScript and Python runtimes read without converting."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pocketsam.export.targets.base import FOLDER, ProgramTarget

if TYPE_CHECKING:
    from pocketsam.export.programs import Program


@dataclass(frozen=True)
class OpenVinoIR(ProgramTarget):
    """The number of points stays free."""

    name = "openvino"
    summary = "OpenVINO IR (.xml and .bin)"
    description = (
        "Write OpenVINO IR: encoder.xml and decoder.xml, each with a .bin of float16 weights. The decoder takes any"
        " number of points."
    )
    suffix = ".xml"
    packages = ("openvino",)

    output: Path = field(default=Path("openvino"), metadata=FOLDER)

    @staticmethod
    def write(program: "Program", path: Path) -> None:
        """See `ProgramTarget.write`."""
        import openvino
        import torch

        shapes = {name: list(tensor.shape) for name, tensor in program.inputs.items()}
        for name in {"point_coords", "point_labels"} & set(shapes):
            shapes[name][1] = -1
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every shape that becomes a constant
            model = openvino.convert_model(
                program.module, example_input=program.example, input=list(shapes.values())
            )
        for port, name in zip(model.inputs, program.inputs, strict=True):
            port.get_tensor().set_names({name})
        for port, name in zip(model.outputs, program.outputs, strict=True):
            port.get_tensor().set_names({name})
        openvino.save_model(model, path, compress_to_fp16=True)

"""TensorRT, for NVIDIA's GPUs: ONNX files without plugins, and the scripts that build engines of them.

An engine belongs to one kind of GPU and one version of TensorRT, so it is built where it will run.
"""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pocketsam.errors import ModelError
from pocketsam.export.targets.base import FOLDER, ProgramTarget
from pocketsam.utils.files import write

if TYPE_CHECKING:
    from pocketsam.export.programs import Program

FEWEST, USUAL, MOST = 1, 2, 16
"""The points of a prompt that an engine is built for: at least, what it is tuned for, at most."""
UNKNOWN_SHAPES = {"If", "Loop", "Scan", "NonZero"}
"""Operators whose shapes are known only as they run, for which TensorRT leaves its fast path."""
SCRIPT = '''"""Builds a TensorRT engine of the ONNX file beside this script: python NAME.build.py [--float32]

Run it on the GPU that will run the engine, with pip install tensorrt (10 or later). It writes NAME.engine.
"""

import sys
from pathlib import Path

import tensorrt as trt

MODEL = Path(__file__).with_name(Path(__file__).name.replace(".build.py", ".onnx"))
PROFILE = {profile}
"""The shapes of inputs with a free axis: the smallest, those it is tuned for, the largest."""

logger = trt.Logger(trt.Logger.WARNING)
builder = trt.Builder(logger)
network = builder.create_network(0)
parser = trt.OnnxParser(network, logger)
if not parser.parse_from_file(str(MODEL)):
    sys.exit("\\n".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
config = builder.create_builder_config()
if "--float32" not in sys.argv:
    config.set_flag(trt.BuilderFlag.FP16)
profile = builder.create_optimization_profile()
for name, shapes in PROFILE.items():
    profile.set_shape(name, *map(tuple, shapes))
config.add_optimization_profile(profile)
engine = builder.build_serialized_network(network, config)
if engine is None:
    sys.exit(f"{MODEL}: TensorRT built no engine; its messages above say why")
MODEL.with_suffix(".engine").write_bytes(engine)
print(f"Written: {MODEL.with_suffix('.engine')}")
'''


@dataclass(frozen=True)
class TensorRT(ProgramTarget):
    """The number of points is free, from 1 to 16."""

    name = "tensorrt"
    summary = "ONNX files and scripts that build TensorRT engines"
    description = (
        "Write encoder.onnx and decoder.onnx, which need no plugins, and encoder.build.py and decoder.build.py, which"
        " build TensorRT engines of them on the GPU that will run them. The decoder takes 1 to 16 points."
    )
    suffix = ".onnx"
    packages = ("onnx",)

    output: Path = field(default=Path("tensorrt"), metadata=FOLDER)

    @staticmethod
    def write(program: "Program", path: Path) -> None:
        """See `ProgramTarget.write`. Raises ModelError for an operator that TensorRT has no fast path for."""
        import onnx
        import torch

        free: dict[str, dict[int, str]] = {
            name: {1: "points"} for name in program.inputs if name in ("point_coords", "point_labels")
        }
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every shape that becomes a constant
            torch.onnx.export(
                program.module,
                program.example,
                str(path),
                input_names=list(program.inputs),
                output_names=list(program.outputs),
                dynamic_axes=free,
                opset_version=17,
                dynamo=False,
            )
        for node in onnx.load(path).graph.node:
            if node.domain not in ("", "ai.onnx") or node.op_type in UNKNOWN_SHAPES:
                raise ModelError(f"{path}: {node.op_type} is nothing that TensorRT runs without a plugin")
        profile = {
            name: [[1, count, *program.inputs[name].shape[2:]] for count in (FEWEST, USUAL, MOST)]
            for name in free
        }
        write(path.with_suffix(".build.py"), SCRIPT.replace("{profile}", repr(profile)).encode())

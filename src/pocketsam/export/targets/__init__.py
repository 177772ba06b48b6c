"""The places to export a model for, a file each; a new one is a file here and a line in the table."""

from pocketsam.export.targets.base import Target
from pocketsam.utils.tables import load

_TABLE = (
    "web:Web",
    "segment_anything:SegmentAnything",
    "everything:Everything",
    "saliency:Saliency",
    "openvino_ir:OpenVinoIR",
    "litert:LiteRT",
    "executorch:ExecuTorch",
    "coreml:CoreML",
    "tensorrt:TensorRT",
)
"""FILE:CLASS of each target, in the order in which help lists them. None imports its packages before it writes."""

TARGETS: dict[str, type[Target]] = {
    target.name: target for target in (load(__name__, entry) for entry in _TABLE)
}
"""The targets by the name of their command."""

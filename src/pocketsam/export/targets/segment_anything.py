"""The two ONNX files that programs for segment_anything load."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pocketsam.export.targets.base import FOLDER, CalibrationImages, Target, Zoo
from pocketsam.utils.files import with_sizes
from pocketsam.utils.running import MODEL


@dataclass(frozen=True)
class SegmentAnything(Target):
    """See `export/segment_anything.py`."""

    name = "segment-anything"
    summary = (
        "Write two ONNX files in the layout of segment_anything's export, which AnyLabeling and others load."
    )
    description = (
        f"{summary}\n\nNAME.encoder.onnx takes a photo, NAME.decoder.onnx one object's clicks and box; config.yaml"
        " names both for AnyLabeling and X-AnyLabeling."
    )

    output: Path = field(default=Path("segment-anything"), metadata=FOLDER)
    model: str = field(default="pocket", metadata=MODEL)

    def export(self, zoo: Zoo, read_images: CalibrationImages) -> Iterator[str]:
        """See `Target.export`."""
        from pocketsam.export.segment_anything import export_segment_anything

        yield from with_sizes(export_segment_anything(zoo.locate_onnx(self.model), self.output))

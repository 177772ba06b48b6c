"""Everything mode as one ONNX file."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pocketsam.config import LARGEST_GRID
from pocketsam.export.targets.base import FOLDER, CalibrationImages, Target, Zoo
from pocketsam.utils.files import with_sizes
from pocketsam.utils.options import option
from pocketsam.utils.running import MODEL


@dataclass(frozen=True)
class Everything(Target):
    """See `export/everything.py`."""

    name = "everything"
    summary = "Write everything mode as one ONNX file: a photo to the masks of all objects."
    description = (
        f"{summary}\n\neverything.onnx takes a photo of any size and, if given, other thresholds. Its masks have the"
        " model's resolution, its boxes are in pixels of the photo. A point of the grid takes up to 6 MB of memory."
    )

    output: Path = field(default=Path("everything"), metadata=FOLDER)
    model: str = field(default="pocket", metadata=MODEL)
    points_per_side: int = field(
        default=16,
        metadata=option(
            int, "Points along each side of the grid.", metavar="N", minimum=1, maximum=LARGEST_GRID
        ),
    )

    def export(self, zoo: Zoo, read_images: CalibrationImages) -> Iterator[str]:
        """See `Target.export`."""
        from pocketsam.export.everything import export_everything

        file = export_everything(zoo.locate_onnx(self.model), self.output, self.points_per_side)
        yield from with_sizes([file])

"""What is made of prompted masks, as arguments of a command line: -o masks.json --multimask --refine --zoom."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pocketsam.errors import InputError
from pocketsam.predict.formats import FORMATS
from pocketsam.utils.options import OUTPUT, option

SUFFIXES = "; ".join(f"{' '.join(format.suffixes)} ({format.what})" for format in FORMATS)


@dataclass(frozen=True)
class ResultArguments:
    """output: a folder or a file, whose suffix chooses the format; None for the working directory.

    multimask, refine, zoom: as in `Photo.segment`. Raises InputError for multimask with zoom.
    """

    output: Path | None = field(
        default=None,
        metadata=option(
            Path,
            f"A folder, or a file whose suffix chooses the format: {SUFFIXES}. COCO, CVAT, Label Studio, YOLO and VOC"
            " files take several photos."
            " If not given: NAME.overlay.jpg and NAME.masks.json, in the working directory.",
            flags=OUTPUT,
            metavar="OUT",
        ),
    )
    multimask: bool = field(
        default=False,
        metadata=option(bool, "Return three masks for each object, the most confident first."),
    )
    refine: bool = field(default=False, metadata=option(bool, "Move the outlines to the edges in the photo."))
    zoom: bool = field(
        default=False,
        metadata=option(
            bool, "Look at small objects a second time, in the part of the photo around each. Slower."
        ),
    )

    def __post_init__(self) -> None:
        if self.multimask and self.zoom:
            raise InputError(
                "--zoom gives one mask for each object, --multimask three; leave out one of the two"
            )

    def options(self) -> dict[str, Any]:
        """The arguments of `Photo.segment` that these are."""
        return {"multimask": self.multimask, "refine": self.refine, "zoom": self.zoom}

"""Labels from one format to another, as arguments of a command line."""

from dataclasses import dataclass, field
from pathlib import Path

from pocketsam.predict.formats import FORMATS
from pocketsam.utils.options import option

FROM = ", ".join(format.name for format in FORMATS if format.reads)
TO = ", ".join(format.name for format in FORMATS if format.needs != "logits")


@dataclass(frozen=True)
class LabelArguments:
    """The arguments of `converting.convert_labels`."""

    source: Path = field(
        metadata=option(
            Path, "A file of labels, or a folder or ZIP file of them.", argument=True, metavar="LABELS"
        )
    )
    target: Path = field(
        metadata=option(
            Path, "The file to write, whose suffix chooses the format; or a folder, with --to.", argument=True
        )
    )
    source_format: str | None = field(
        default=None,
        metadata=option(
            str,
            f"The format of LABELS, if it is not recognised: {FROM}.",
            flags=("--from",),
            metavar="FORMAT",
        ),
    )
    target_format: str | None = field(
        default=None,
        metadata=option(str, f"The format to write into a folder: {TO}.", flags=("--to",), metavar="FORMAT"),
    )
    photos: Path | None = field(
        default=None,
        metadata=option(
            Path,
            "The folder of the photos, for formats that need their sizes or pixels; by default that of LABELS.",
            metavar="FOLDER",
        ),
    )

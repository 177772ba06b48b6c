"""Photos for everything mode, and where their masks go, as arguments of a command line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pocketsam.utils.options import OUTPUT, option


@dataclass(frozen=True)
class EverythingArguments:
    """photos: photos and folders of them, or shards. output: see `batch.everything_in_photos`; None for a file here.

    overlays: whether to draw the masks of each photo, too.
    """

    photos: Sequence[Path] = field(
        metadata=option(
            list[Path],
            "Photos, folders of photos, tar shards, or URLs of these.",
            argument=True,
            metavar="PHOTO",
        )
    )
    output: Path | None = field(
        default=None,
        metadata=option(
            Path,
            "A file for all photos, whose suffix chooses the format, such as FILE.json (COCO); or a folder for a"
            " NAME.masks.json of each. If not given: NAME.masks.json, in the working directory. Of tar shards, and"
            " with --ray, a folder or URL for a NAME.tar of each.",
            flags=OUTPUT,
            metavar="OUT",
        ),
    )
    overlays: bool = field(
        default=False,
        metadata=option(bool, "Also write NAME.overlay.jpg for each photo: the masks drawn on it."),
    )

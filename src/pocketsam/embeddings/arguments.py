"""An embedding job as arguments of a command line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pocketsam.utils.options import OUTPUT, option
from pocketsam.utils.running import MODEL


@dataclass(frozen=True)
class EmbedArguments:
    """The arguments of `job.embed`. teacher: the model's name, folder or file."""

    photos: Sequence[Path] = field(
        metadata=option(
            list[Path],
            "Tar shards, folders of tar shards, folders of photos, or URLs of these.",
            argument=True,
            metavar="PHOTOS",
        )
    )
    teacher: str = field(metadata=MODEL)
    output: Path = field(
        metadata=option(Path, "The folder of the embeddings.", flags=OUTPUT, metavar="STORE")
    )
    bits: int = field(
        default=16,
        metadata=option(int, "Bits of each stored number: 16, or 8 for half the size.", metavar="16|8"),
    )

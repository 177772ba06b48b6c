"""What a job does to a photo, in two stages, each on photos of its own number at a time; the same wherever it runs.

    a stored photo → encode: the image encoder → decode: prompts and masks → files of the photo

A new job is a file in `jobs/`: a `Job`, which is sent to all processes, and the `Stages` that each of them opens.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias

from pocketsam.errors import InputError
from pocketsam.scale.shards import StoredPhoto
from pocketsam.utils.running import Running

ENCODED, DECODED = 16, 4
"""Photos that a task encodes, and that a task decodes: masks take longer. The latter are kept as one part."""


@dataclass(frozen=True)
class Files:
    """What a job makes of a photo: files, by their names in the shard, and how many masks are in them."""

    files: tuple[tuple[str, bytes], ...]
    masks: int = 0


class Stages(Protocol):
    """A job in one process, which holds its engine. Both raise InputError where the photo cannot be used."""

    def settings(self) -> dict[str, Any]:
        """All that the results depend on, beside the photos, as JSON can hold it."""
        ...

    def encode(self, photo: StoredPhoto) -> Any:
        """What the second stage needs, which may go to another process."""
        ...

    def decode(self, encoded: Any) -> Files:
        """The files of the photo, which depend on nothing but the photo and the settings."""
        ...

    def shared_files(self) -> dict[str, bytes]:
        """Files beside the results of all shards, by name."""
        ...


@dataclass(frozen=True)
class Job(ABC):
    """What is to be done with which model. It is copied to other processes. model, running: see `Segmenter`."""

    name: ClassVar[str]
    model: str = "pocket"
    running: Running = field(default_factory=Running)

    @abstractmethod
    def open(self) -> Stages:
        """The job with its engine. Raises ModelError when the model cannot be run."""

    def index(self, photos: Sequence[tuple[str, int]], members: bytes, offset: int) -> bytes:
        """Lines for NAME.jsonl of the photos of a part; none by default, and then there is no such file.

        photos: their file names, and bytes. members: the part, which begins at so many bytes of the shard's file.
        """
        return b""


@dataclass(frozen=True)
class Failure:
    """A photo that could not be used, and why."""

    file_name: str
    reason: str


Encoded: TypeAlias = Sequence[tuple[tuple[str, int], Any]]
"""Photos by their file names and bytes, each as `encode` gave it, or its Failure."""
Done: TypeAlias = tuple[tuple[str, int], Files]
"""A photo by its file name and bytes, and what was made of it."""


def encode_photos(stages: Stages, photos: Sequence[StoredPhoto]) -> Encoded:
    """The first stage. A photo that fails does not stop the others."""
    return [
        ((photo.file_name, len(photo.content)), _try(stages.encode, photo, photo.file_name))
        for photo in photos
    ]


def decode_photos(stages: Stages, encoded: Encoded) -> list[Done | Failure]:
    """The second stage: the files of each photo, or its Failure."""
    found = [
        (photo, one if isinstance(one, Failure) else _try(stages.decode, one, photo[0]))
        for photo, one in encoded
    ]
    return [one if isinstance(one, Failure) else (photo, one) for photo, one in found]


def _try(stage: Any, given: Any, file_name: str) -> Any:
    try:
        return stage(given)
    except (InputError, OSError, MemoryError) as error:
        return Failure(file_name, str(error).removeprefix("the photo: ") or "out of memory")

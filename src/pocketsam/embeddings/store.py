"""A teacher's embeddings of many photos, stored once, so that students are trained from them without the teacher.

That is MobileSAM's decoupled distillation (section 3.3). A store is a folder:

    store.json     whose embeddings these are: a `Signature`
    NAME.tar       those of the photos of the shard NAME.tar, or of the folder NAME: PHOTO.npy (C, g, g) float16 or,
                   with 8 bits, PHOTO.npy int8 and PHOTO.scale.npy (C,) float32, a step for each channel
    NAME.jsonl     the index of NAME.tar, a line a photo: the size of its file, where its members lie, and their crc32

A shard with an index is whole. Here is the format, and how it is read; writer.py writes it.
"""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.data.sa1b import Entry
from pocketsam.embeddings.signature import BITS, Signature, check_same, read_signature
from pocketsam.errors import DataError
from pocketsam.predict.image import PHOTO_ENDINGS
from pocketsam.utils.tars import padding

MEMBERS = (".npy", ".scale.npy")
"""The endings of a photo's members; with 16 bits there is only the first."""
_AGAIN = "run the same pocketsam embed again, which rebuilds the shard"


def shard_of(entry: Entry) -> Path:
    """The tar shard that a photo lies in, or its folder."""
    path = entry.photo.path
    return path.parent if path.suffix.lower() in PHOTO_ENDINGS else path


def shard_name(entry: Entry) -> str:
    """What the store calls the shard or folder of a photo."""
    shard = shard_of(entry)
    # a folder may be given as "." or ".."
    return shard.stem if shard == entry.photo.path else os.path.basename(os.path.abspath(shard))


class EmbeddingStore:
    """The embeddings of a store, in any order; made to be copied to worker processes.

    An index is read when the first photo of its shard is read.
    Raises DataError when there is no store, or its store.json is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.signature = read_signature(self.path)
        self._indexes: dict[str, dict[str, Record]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_indexes": {}}  # each process reads what it needs

    def check(self, config: ModelConfig, bits: int | None = None) -> None:
        """Raises DataError unless these are embeddings of this teacher, stored with so many bits (any, if None)."""
        wanted = Signature.of(config, bits or self.signature.bits, self.signature.precision)
        check_same(self.path, self.signature, wanted)

    def __contains__(self, entry: Entry) -> bool:
        """Whether the photo, as it is now, has an embedding. Raises DataError where the index is damaged."""
        record = self._index(shard_name(entry)).get(entry.name)
        return record is not None and record.photo_bytes == entry.photo.size

    def missing(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those that have no embedding, or have changed since."""
        return [entry for entry in entries if entry not in self]

    def require(self, entries: Iterable[Entry]) -> None:
        """Raises DataError, which names the first of those that have no embedding, or have changed since."""
        missing = self.missing(entries)
        if not missing:
            return
        others = (
            f", like {len(missing) - 1} other{'s' if len(missing) > 2 else ''}" if len(missing) > 1 else ""
        )
        raise DataError(f"{self._trouble(missing[0])}{others}; {self._remedy(missing[0])}")

    def _trouble(self, entry: Entry) -> str:
        record = self._index(shard_name(entry)).get(entry.name)
        if record is None:
            return f"{entry}: has no embedding in {self.path}"
        return (
            f"{entry}: has changed since it was embedded in {self.path} ({record.photo_bytes} bytes then,"
            f" {entry.photo.size} now)"
        )

    def read(self, entry: Entry) -> NDArray[np.float32]:
        """The embedding of a photo, (C, g, g).

        Raises DataError when there is none, the photo has changed since, or the embedding is damaged.
        """
        self.require([entry])
        shard = shard_name(entry)
        record = self._index(shard)[entry.name]
        tar = ShardFiles(self.path, shard).tar
        try:
            return unpack(_read_members(tar, record), self.signature)
        except OSError as error:
            raise DataError(f"{tar}: cannot be read ({error.strerror or error}); {_AGAIN}") from error
        except ValueError as error:
            raise DataError(f"{tar}: the embedding of {entry.name} is damaged ({error}); {_AGAIN}") from error

    def _index(self, shard: str) -> "dict[str, Record]":
        """The records of a whole shard, by photo; of one that is not whole (yet) none."""
        if shard not in self._indexes:
            index = ShardFiles(self.path, shard).index
            if not index.exists():
                return {}
            with reading(index, _AGAIN):
                records, whole = read_index(index)
            if not whole:
                raise DataError(f"{index}: is damaged; {_AGAIN}")
            self._indexes[shard] = {record.name: record for record in records}
        return self._indexes[shard]

    def _remedy(self, entry: Entry) -> str:
        bits = "" if self.signature.bits == BITS[0] else f" --bits {self.signature.bits}"
        return f"run: pocketsam embed {shard_of(entry)} --teacher … -o {self.path}{bits}"


class Member(NamedTuple):
    """Where a file's content lies in a tar, in bytes, and its checksum."""

    offset: int
    size: int
    crc32: int

    @property
    def end(self) -> int:
        """Where the next member begins."""
        return self.offset + self.size + len(padding(self.size))


class Record(NamedTuple):
    """A line of an index. photo_bytes: the size of the photo's file, by which a change of it is noticed."""

    name: str
    photo_bytes: int
    members: tuple[Member, ...]

    @property
    def end(self) -> int:
        return self.members[-1].end

    def to_line(self) -> bytes:
        members = [member._asdict() for member in self.members]
        return json.dumps({"name": self.name, "bytes": self.photo_bytes, "members": members}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Record | None":
        """The record that `to_line` wrote; None where the line is half written or another."""
        try:
            values = json.loads(line)
            members = tuple(Member(**member) for member in values["members"])
            record = cls(values["name"], values["bytes"], members)
            return record if members and record.to_line() == line else None
        except (ValueError, KeyError, TypeError):
            return None


class ShardFiles:
    """The files of the shard called `name`."""

    def __init__(self, store: Path, name: str) -> None:
        self.tar, self.index = store / f"{name}.tar", store / f"{name}.jsonl"
        self.tar_part, self.index_part = store / f"{name}.tar.part", store / f"{name}.jsonl.part"
        # It stays: another process may have opened it already, and would lock what no third one sees.
        self.lock = store / f".{name}.lock"

    @property
    def finished(self) -> bool:
        """Whether a run finished the shard. A tar whose index is still a part was not moved by a finished one."""
        return self.index.exists() or (self.tar.exists() and not self.index_part.exists())


def read_index(path: Path) -> tuple[list[Record], bool]:
    """The records up to the first line that is none, and whether there is no such line. Raises OSError."""
    records: list[Record] = []
    with path.open("rb") as file:
        for line in file:
            record = Record.from_line(line)
            if record is None:
                return records, False
            records.append(record)
    return records, True


def _read_members(tar: Path, record: Record) -> list[bytes]:
    """Raises OSError, and ValueError where a checksum is wrong."""
    contents = []
    with tar.open("rb") as file:
        for member in record.members:
            file.seek(member.offset)
            content = file.read(member.size)
            if zlib.crc32(content) != member.crc32:
                raise ValueError("its checksum is wrong")
            contents.append(content)
    return contents


def pack(embedding: NDArray[np.floating[Any]], signature: Signature) -> list[bytes]:
    """An embedding (C, g, g) as one .npy file, float16, or two: int8, and the step of each channel, float32.

    What float16 cannot hold becomes the largest that it can. Raises ValueError for another shape, NaN and infinity.
    """
    if embedding.shape != signature.shape:
        raise ValueError(f"has the shape {embedding.shape}, not {signature.shape}")
    if not np.isfinite(embedding).all():
        raise ValueError("holds NaN or infinite numbers")
    if signature.bits == 16:
        most = np.finfo(np.float16).max
        return [_npy(np.clip(embedding, -most, most).astype("<f2"))]
    embedding = embedding.astype(np.float32)
    scale = (abs(embedding).max(axis=(1, 2)) / np.float32(127)).astype("<f4")
    step = np.where(scale > 0, scale, 1)[:, None, None]  # a channel of zeros stays one: its scale is 0
    return [_npy(np.clip(np.rint(embedding / step), -127, 127).astype(np.int8)), _npy(scale)]


def unpack(contents: Sequence[bytes], signature: Signature) -> NDArray[np.float32]:
    """The embedding that `pack` packed, (C, g, g). Raises ValueError where it is another's."""
    kinds: list[tuple[Any, tuple[int, ...]]] = [(np.float16, signature.shape)]
    if signature.bits == 8:
        kinds = [(np.int8, signature.shape), (np.float32, (signature.embedding_channels,))]
    arrays = [np.load(BytesIO(content), allow_pickle=False) for content in contents]
    if [(array.dtype, array.shape) for array in arrays] != kinds:
        raise ValueError(f"it is no embedding of {signature}")
    values: NDArray[np.float32] = arrays[0].astype(np.float32)
    return values if signature.bits == 16 else values * arrays[1][:, None, None]


def _npy(array: NDArray[Any]) -> bytes:
    file = BytesIO()
    np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error

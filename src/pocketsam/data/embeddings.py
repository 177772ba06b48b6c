"""A teacher's embeddings of many photos, stored once, so that students are trained from them without the teacher.

That is MobileSAM's decoupled distillation (section 3.3). A store is a folder:

    store.json     whose embeddings these are: a `Signature`
    NAME.tar       those of the photos of the shard NAME.tar, or of the folder NAME: PHOTO.npy (256, g, g) float16 or,
                   with 8 bits, PHOTO.npy int8 and PHOTO.scale.npy (256,) float32, a step for each channel
    NAME.jsonl     the index of NAME.tar, a line a photo: the size of its file, where its members lie, and their crc32

While a shard is being written both its files end in .part. A photo's members come first, then its line, so that
whatever has a line can be read, and a killed run goes on from there. A shard with an index is whole.
"""

import json
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from io import BytesIO, FileIO
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from pocketsam.data.sa1b import Entry
from pocketsam.data.sample import DataError
from pocketsam.description import Description
from pocketsam.errors import InputError
from pocketsam.files import write
from pocketsam.photo import PHOTO_ENDINGS

VERSION = 1
BITS = (16, 8)
CHANNELS = 256
CELL = 16
"""Pixels of the model's input a side, for each place of an embedding."""

_SIGNATURE = "store.json"
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_AGAIN = "run the same pocketsam embed again, which rebuilds the shard"


@dataclass(frozen=True)
class Signature:
    """All that embeddings depend on, beside the photo. `name` is for people: two that differ in it only are equal.

    weights: sha256 of the teacher's; for an engine that has none, its name stands for it. bits: of each number.
    """

    name: str = field(compare=False)
    weights: str
    image_size: int
    resize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resampling: str
    bits: int

    @classmethod
    def of(cls, description: Description, bits: int) -> "Signature":
        """The signature of a teacher's embeddings. Raises InputError unless bits is 16 or 8."""
        if bits not in BITS:
            raise InputError(f"bits is {bits}; an embedding is stored with 16 or 8")
        about = {name: getattr(description, name) for name in _OF_TEACHER}
        return cls(**{**about, "weights": description.weights or description.name}, bits=bits)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one embedding: (256, g, g)."""
        side = self.image_size // CELL
        return CHANNELS, side, side

    def __str__(self) -> str:
        known = "" if self.weights == self.name else f" (weights {self.weights[:8]})"
        size = f"{self.image_size} × {self.image_size}"
        return f"{self.name}{known} at {size}, {self.resize}, {self.bits} bits"

    def to_json(self) -> bytes:
        """What store.json holds."""
        teacher = {name: value for name, value in asdict(self).items() if name in _OF_TEACHER}
        return json.dumps({"version": VERSION, "bits": self.bits, "teacher": teacher}, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Signature":
        """The signature that `to_json` wrote. Raises ValueError where it is none, or of another version."""
        values = json.loads(text)
        if not isinstance(values, dict) or "version" not in values:
            raise ValueError("it is another file")
        if values["version"] != VERSION:
            raise ValueError(f"it is of version {values['version']}, this PocketSAM reads {VERSION}")
        try:
            teacher = Description.from_json(json.dumps(values["teacher"]))
            return cls.of(teacher, values["bits"])
        except (KeyError, InputError) as error:
            raise ValueError(str(error)) from error


_OF_TEACHER = tuple(one.name for one in fields(Signature) if one.name != "bits")


def check_same(path: Path, stored: Signature, wanted: Signature) -> None:
    """Raises DataError, with both signatures, unless they are equal. path: of the store."""
    if stored == wanted:
        return
    compared = [one.name for one in fields(Signature) if one.compare]
    differ = ", ".join(name for name in compared if getattr(stored, name) != getattr(wanted, name))
    raise DataError(
        f"{path}: holds embeddings of {stored}, not of {wanted}; they differ in: {differ};"
        " use what it was made with, or another store"
    )


def create_store(path: Path, signature: Signature) -> None:
    """Make a store, unless it is there already.

    Raises DataError when it is of another signature, or the folder holds other things; InputError when it cannot be
    written. Nothing in the folder is touched then.
    """
    if _is_store(path, signature):
        return
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        # Two processes may begin a store at once; the second has to see the first one's signature.
        with FileLock(path / ".lock"):
            if not _is_store(path, signature):
                write(path / _SIGNATURE, signature.to_json())


def _is_store(path: Path, signature: Signature) -> bool:
    """Whether there is a store of this signature; False where there is nothing yet. Raises DataError otherwise."""
    if (path / _SIGNATURE).exists():
        check_same(path, read_signature(path), signature)
        return True
    # It could hold the photos' own shards, which would be written over.
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is no folder and cannot become one; give another place for the store")
    if path.is_dir() and any(not file.name.startswith(".") for file in path.iterdir()):
        raise DataError(f"{path}: is not empty and no store of embeddings; give a folder of its own")
    return False


def read_signature(path: Path) -> Signature:
    """Whose embeddings the store holds. Raises DataError when there is no store, or its store.json is damaged."""
    file = path / _SIGNATURE
    try:
        return Signature.from_json(file.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{path}: there is no store of embeddings; run: pocketsam embed PHOTOS --teacher … -o {path}"
        ) from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{file}: cannot be used ({error}); embed again, into another folder") from error


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

    An index is read when the first photo of its shard is asked for.
    Raises DataError when there is no store, or its store.json is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.signature = read_signature(self.path)
        self._indexes: dict[str, dict[str, Record]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_indexes": {}}  # each process reads what it needs

    def check(self, description: Description, bits: int | None = None) -> None:
        """Raises DataError unless these are embeddings of this teacher, stored with so many bits (any, if None)."""
        check_same(self.path, self.signature, Signature.of(description, bits or self.signature.bits))

    def __contains__(self, entry: Entry) -> bool:
        """Whether the photo, as it is now, has an embedding. Raises DataError where the index is damaged."""
        record = self._index(shard_name(entry)).get(entry.name)
        return record is not None and record.photo_bytes == entry.photo.size

    def missing(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those that have no embedding, or have changed since."""
        return [entry for entry in entries if entry not in self]

    def read(self, entry: Entry) -> NDArray[np.float32]:
        """The embedding of a photo, (256, g, g).

        Raises DataError when there is none, the photo has changed since, or the embedding is damaged.
        """
        shard = shard_name(entry)
        record = self._index(shard).get(entry.name)
        if record is None:
            raise DataError(f"{entry}: has no embedding in {self.path}; {self._remedy(entry)}")
        if record.photo_bytes != entry.photo.size:
            raise DataError(
                f"{entry}: has changed since it was embedded in {self.path} ({record.photo_bytes} bytes then,"
                f" {entry.photo.size} now); {self._remedy(entry)}"
            )
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
            with _reading(index, _AGAIN):
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
        return self.offset + _padded(self.size)


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


def find_trouble(store: Path, name: str, photos: Sequence[tuple[str, int]]) -> str | None:
    """Why a finished shard is not what it should be, in a line that opens with its file; None where all is well.

    photos: the names of those that it should hold, in order, and the sizes of their files. Every byte is read.
    Raises DataError where a file cannot be read at all.
    """
    files = ShardFiles(store, name)
    if not files.tar.exists():
        return f"{files.tar}: is missing"
    if not files.index.exists():
        return f"{files.tar}: has no index, {files.index.name}"
    remedy = f"delete {files.index.name}, and the same command rebuilds the shard"
    with _reading(files.tar, remedy), files.tar.open("rb") as tar:
        records, whole = read_index(files.index)
        if not whole:
            return f"{files.index}: is damaged in line {len(records) + 1}"
        intact = _count_intact(tar, records)
        if intact < len(records):
            return f"{files.tar}: the embedding of {records[intact].name} is damaged"
        tar.seek(records[-1].end if records else 0)
        if tar.read(len(_END) + 1) != _END:
            return f"{files.tar}: does not end where it should"
    changed = _first_change(records, photos)
    return f"{files.tar}: {changed}" if changed else None


def _first_change(records: Sequence[Record], photos: Sequence[tuple[str, int]]) -> str | None:
    for record, photo in zip_longest(records, photos):
        if record is None:
            return f"has no embedding of {photo[0]}"
        if photo is None or record.name != photo[0]:
            return f"holds {record.name} where there is {photo[0] if photo else 'no photo'} now"
        if record.photo_bytes != photo[1]:
            return f"{record.name} has changed since it was embedded"
    return None


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


def _count_intact(tar: BinaryIO, records: Sequence[Record]) -> int:
    """How many of the records, from the first on, lie whole in the tar, each behind the one before."""
    end, size = 0, os.fstat(tar.fileno()).st_size
    tar.seek(0)
    for number, record in enumerate(records):
        for member in record.members:
            if not end < member.offset <= member.end <= size:
                return number
            header = tar.read(member.offset - end)
            content, padding = tar.read(member.size), tar.read(member.end - member.offset - member.size)
            if not _is_header(header, member.size) or zlib.crc32(content) != member.crc32 or any(padding):
                return number
            end = member.end
    return len(records)


def _is_header(header: bytes, size: int) -> bool:
    """Whether these bytes, whose checksum is looked at, say that a file of this size follows."""
    try:
        return tarfile.TarInfo.frombuf(header[-_BLOCK:], "utf-8", "surrogateescape").size == size
    except tarfile.TarError:
        return False


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


class ShardWriter:
    """Writes the shard called `name`, photo by photo; goes on with what a former run left, whole or in part.

    photos: the names of those that the shard is to hold, in order, and the sizes of their files. Of what is there
    already it keeps the first embeddings as long as they are these photos' and undamaged: `done` of them.
    Without `finish` the shard stays a part, which the next writer goes on with.
    Raises InputError where something cannot be written; what was added so far is kept. DataError where what is there
    cannot be read. To be used by one process at a time: see `ShardFiles.lock`.
    """

    def __init__(
        self, store: str | Path, name: str, signature: Signature, photos: Sequence[tuple[str, int]]
    ) -> None:
        self.name, self.signature = name, signature
        self._files = ShardFiles(Path(store), name)
        with writing(self._files.tar_part):
            self._take_back()
            # The tar first: an index without a tar of its kind means that the tar was moved to its place already.
            self._tar = _open(self._files.tar_part)
            self._index = _open(self._files.index_part)
            self._keep(photos)

    def _take_back(self) -> None:
        """Make a part of what a former run finished, or was about to finish."""
        files = self._files
        if files.index.exists():
            files.tar_part.unlink(missing_ok=True)
            os.replace(files.index, files.index_part)
        if files.index_part.exists() and files.tar.exists() and not files.tar_part.exists():
            os.replace(files.tar, files.tar_part)

    def _keep(self, photos: Sequence[tuple[str, int]]) -> None:
        records, _ = read_index(self._files.index_part)
        with self._files.tar_part.open("rb") as tar:
            records = records[: _count_intact(tar, records)]
        same = [record[:2] == tuple(photo) for record, photo in zip(records, photos, strict=False)]
        self.done = [*same, False].index(False)
        kept = records[: self.done]
        self._end = kept[-1].end if kept else 0
        # The index first, as nothing may have a line that has no embedding.
        self._index.truncate(sum(len(record.to_line()) for record in kept))
        self._tar.truncate(self._end)
        self._index.seek(0, os.SEEK_END)
        self._tar.seek(0, os.SEEK_END)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, name: str, photo_bytes: int, embedding: NDArray[np.floating[Any]]) -> None:
        """Store the embedding (256, g, g) of the next photo.

        Raises DataError, and stores nothing, when it has another shape, or holds NaN or infinite numbers.
        """
        try:
            contents = pack(embedding, self.signature)
        except ValueError as error:
            raise DataError(
                f"{self.name}: {name}: its embedding {error}; it cannot be stored; does --precision float32 help?"
            ) from error
        members, pieces, end = [], [], self._end
        for ending, content in zip((".npy", ".scale.npy"), contents, strict=False):
            header = _header(name + ending, len(content))
            member = Member(end + len(header), len(content), zlib.crc32(content))
            pieces += [header, content, bytes(member.end - member.offset - member.size)]
            members.append(member)
            end = member.end
        with writing(self._files.tar_part):
            _write(self._tar, b"".join(pieces))
            _write(self._index, Record(name, photo_bytes, tuple(members)).to_line())
        self._end = end
        self.done += 1

    def finish(self) -> None:
        """The shard is whole: end the tar, and give both files their names."""
        files = self._files
        with writing(files.tar):
            _write(self._tar, _END)
            for file in (self._tar, self._index):
                os.fsync(file.fileno())
            self.close()
            os.replace(files.tar_part, files.tar)
            os.replace(files.index_part, files.index)

    def close(self) -> None:
        """Leave the shard as it is."""
        self._tar.close()
        self._index.close()


def pack(embedding: NDArray[np.floating[Any]], signature: Signature) -> list[bytes]:
    """An embedding (256, g, g) as one .npy file, float16, or two: int8, and the step of each channel, float32.

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
    """The embedding that `pack` packed, (256, g, g). Raises ValueError where it is another's."""
    kinds: list[tuple[Any, tuple[int, ...]]] = [(np.float16, signature.shape)]
    if signature.bits == 8:
        kinds = [(np.int8, signature.shape), (np.float32, (CHANNELS,))]
    arrays = [np.load(BytesIO(content), allow_pickle=False) for content in contents]
    if [(array.dtype, array.shape) for array in arrays] != kinds:
        raise ValueError(f"it is no embedding of {signature}")
    values: NDArray[np.float32] = arrays[0].astype(np.float32)
    return values if signature.bits == 16 else values * arrays[1][:, None, None]


def _npy(array: NDArray[Any]) -> bytes:
    file = BytesIO()
    np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def _header(name: str, size: int) -> bytes:
    """A tar's header of a file, of no time and no owner: the same photos give the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _open(path: Path) -> FileIO:
    """A file to go on with, or a new one; unbuffered, as what was written has to outlive this process."""
    return FileIO(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+")


def _write(file: FileIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what keeps a file from being written into one line with its name."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); what is embedded so far is kept,"
            " and the same command goes on with it"
        ) from error


@contextmanager
def _reading(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error

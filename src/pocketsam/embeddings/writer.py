"""Writing a store of embeddings: a shard at a time, so that a killed run resumes and damage is found.

While a shard is being written both its files end in .part. A photo's members come first, then its line in the index,
so that whatever has a line can be read. The format: embeddings.py.
"""

import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from pocketsam.embeddings.signature import SIGNATURE_FILE, Signature, check_same, read_signature
from pocketsam.embeddings.store import (
    MEMBERS,
    Member,
    Record,
    ShardFiles,
    pack,
    read_index,
    reading,
)
from pocketsam.errors import DataError, InputError
from pocketsam.utils.files import write
from pocketsam.utils.tars import BLOCK, END, header, padding


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
                write(path / SIGNATURE_FILE, signature.to_json())


def _is_store(path: Path, signature: Signature) -> bool:
    """Whether there is a store of this signature; False where there is nothing yet. Raises DataError otherwise."""
    if (path / SIGNATURE_FILE).exists():
        check_same(path, read_signature(path), signature)
        return True
    # It could hold the photos' own shards, which would be written over.
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is no folder and cannot become one; give another place for the store")
    if path.is_dir() and any(not file.name.startswith(".") for file in path.iterdir()):
        raise DataError(f"{path}: is not empty and no store of embeddings; give a folder of its own")
    return False


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
        for ending, content in zip(MEMBERS, contents, strict=False):
            head = header(name + ending, len(content))
            member = Member(end + len(head), len(content), zlib.crc32(content))
            pieces += [head, content, padding(len(content))]
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
            _write(self._tar, END)
            for file in (self._tar, self._index):
                os.fsync(file.fileno())
            self.close()
            os.replace(files.tar_part, files.tar)
            os.replace(files.index_part, files.index)

    def close(self) -> None:
        """Leave the shard as it is."""
        self._tar.close()
        self._index.close()


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
    with reading(files.tar, remedy), files.tar.open("rb") as tar:
        records, whole = read_index(files.index)
        if not whole:
            return f"{files.index}: is damaged in line {len(records) + 1}"
        intact = _count_intact(tar, records)
        if intact < len(records):
            return f"{files.tar}: the embedding of {records[intact].name} is damaged"
        tar.seek(records[-1].end if records else 0)
        if tar.read(len(END) + 1) != END:
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


def _count_intact(tar: BinaryIO, records: Sequence[Record]) -> int:
    """How many of the records, from the first on, lie whole in the tar, each behind the one before."""
    end, size = 0, os.fstat(tar.fileno()).st_size
    tar.seek(0)
    for number, record in enumerate(records):
        for member in record.members:
            if not end < member.offset <= member.end <= size:
                return number
            head = tar.read(member.offset - end)
            content, padding = tar.read(member.size), tar.read(member.end - member.offset - member.size)
            if not _is_header(head, member.size) or zlib.crc32(content) != member.crc32 or any(padding):
                return number
            end = member.end
    return len(records)


def _is_header(head: bytes, size: int) -> bool:
    """Whether these bytes, whose checksum is looked at, say that a file of this size follows."""
    try:
        return tarfile.TarInfo.frombuf(head[-BLOCK:], "utf-8", "surrogateescape").size == size
    except tarfile.TarError:
        return False


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

"""Files and folders, wherever they are: on a disk, in an S3-compatible object store, or at an HTTP server.

    photos/             a path
    s3://bucket/photos  by Arrow; credentials come from where AWS's own tools read them, as does AWS_ENDPOINT_URL
    https://host/a.tar  by fsspec, and so whatever else fsspec knows; to be read only

What is written appears whole or not at all.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit, urlunsplit

from pocketsam.errors import InputError
from pocketsam.utils.files import write_stream
from pocketsam.utils.install import importing

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])", re.IGNORECASE)  # of //, a Path keeps one


def storage_path(given: "str | Path | StoragePath") -> "StoragePath":
    """The storage path of a path or URL.

    Raises InputError for a URL that holds credentials, which is not repeated, or of a kind that is not known.
    """
    if isinstance(given, StoragePath):
        return given
    text = str(given)
    if not is_url(text):
        return LocalPath(text)
    url = _URL.sub(r"\1://", text, count=1)
    if "@" in urlsplit(url).netloc:
        raise InputError(
            f"{shown(url)}: holds credentials, which end in logs; leave them out, and set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    return RemotePath(url)


def is_url(path: str | Path) -> bool:
    """Whether a path is a URL, of which it may have dropped a slash."""
    return _URL.match(str(path)) is not None


def shown(url: str) -> str:
    """A URL without what may be secret: credentials, and the query, where signed addresses have their signature."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class StoragePath:
    """A file or a folder. str() is what messages and records show of it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __str__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"storage_path({str(self)!r})"

    @property
    def name(self) -> str:
        """The last part of its path."""
        return str(self).rstrip("/").rpartition("/")[2]

    def __truediv__(self, name: str) -> "StoragePath":
        raise NotImplementedError

    def exists(self) -> bool:
        """Whether there is such a file or folder."""
        raise NotImplementedError

    def is_folder(self) -> bool:
        """Whether it is a folder, which an object store has where objects begin with its path."""
        raise NotImplementedError

    def files(self) -> list[str]:
        """The names of the files in a folder, sorted; none where there is no such folder."""
        raise NotImplementedError

    def open(self) -> BinaryIO:
        """The file, to be read from its beginning to its end."""
        raise NotImplementedError

    def read(self) -> bytes:
        """The file's content."""
        with self.open() as file:
            return file.read()

    def mark(self) -> dict[str, Any]:
        """By what a change of the file is noticed: its bytes, and when or what it was stored as."""
        raise NotImplementedError

    def size(self) -> int | None:
        """Bytes of the file; None where there is none, or the server does not say."""
        raise NotImplementedError

    def write(self, pieces: Iterable[bytes]) -> None:
        """Make a file of these pieces. Raises InputError when that cannot be done."""
        raise NotImplementedError

    def remove(self) -> None:
        """Delete the file, or the folder with all that is in it, if it is there."""
        raise NotImplementedError

    def remove_if_empty(self) -> None:
        """Delete the folder if nothing is in it. In an object store there are no such folders."""


class LocalPath(StoragePath):
    """A path on a disk, or on one that all machines share."""

    @property
    def _path(self) -> Path:
        return Path(self.path)

    @property
    def name(self) -> str:
        return os.path.basename(os.path.abspath(self.path))  # a folder may be given as "." or ".."

    def __truediv__(self, name: str) -> "LocalPath":
        return LocalPath(str(self._path / name))

    def exists(self) -> bool:
        return self._path.exists()

    def is_folder(self) -> bool:
        return self._path.is_dir()

    def files(self) -> list[str]:
        if not self._path.is_dir():
            return []
        return sorted(file.name for file in self._path.iterdir() if file.is_file())

    def open(self) -> BinaryIO:
        return self._path.open("rb")

    def mark(self) -> dict[str, Any]:
        found = self._path.stat()
        return {"bytes": found.st_size, "modified": found.st_mtime_ns}

    def size(self) -> int | None:
        return self._path.stat().st_size if self._path.is_file() else None

    def write(self, pieces: Iterable[bytes]) -> None:
        write_stream(self._path, pieces)

    def remove_if_empty(self) -> None:
        with suppress(OSError):
            self._path.rmdir()

    def remove(self) -> None:
        import shutil

        if self._path.is_dir():
            shutil.rmtree(self._path, ignore_errors=True)
        else:
            self._path.unlink(missing_ok=True)


class RemotePath(StoragePath):
    """A URL."""

    def __str__(self) -> str:
        return shown(self.path)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # each process connects by itself, with credentials of its own

    @cached_property
    def _found(self) -> tuple[Any, str]:
        """What speaks its protocol, and the path as that has it."""
        scheme = urlsplit(self.path).scheme
        try:
            with importing("scale", f"{scheme}://"):
                return _s3(self.path) if scheme == "s3" else _fsspec(self.path)
        except (ImportError, ValueError) as error:  # what fsspec does not know, or has no package for
            raise InputError(f"{self}: {scheme}:// cannot be used ({error})") from None

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.path.rstrip('/')}/{name}")

    def exists(self) -> bool:
        system, path = self._found
        return bool(system.exists(path))

    def is_folder(self) -> bool:
        system, path = self._found
        return bool(system.isdir(path))

    def files(self) -> list[str]:
        system, path = self._found
        try:
            found = system.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(one["name"].rpartition("/")[2] for one in found if one["type"] == "file")

    def open(self) -> BinaryIO:
        system, path = self._found
        return cast(BinaryIO, io.BufferedReader(system.open(path, "rb"), 1 << 20))

    def mark(self) -> dict[str, Any]:
        system, path = self._found
        found = system.info(path)
        stored = found.get("ETag") or found.get("mtime") or found.get("LastModified")
        return {"bytes": found.get("size"), "modified": str(stored) if stored else None}

    def size(self) -> int | None:
        system, path = self._found
        try:
            found: int | None = system.info(path).get("size")
        except FileNotFoundError:
            return None
        return found

    def write(self, pieces: Iterable[bytes]) -> None:
        system, path = self._found
        try:
            with system.open(path, "wb") as file:  # an object store shows an object when it is closed
                for piece in pieces:
                    file.write(piece)
        except (OSError, NotImplementedError) as error:
            raise InputError(f"{self}: cannot be written ({error}); choose another place for it") from error

    def remove(self) -> None:
        system, path = self._found
        if system.exists(path):
            system.rm(path, recursive=system.isdir(path))


def _s3(url: str) -> tuple[Any, str]:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import S3FileSystem

    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "")
    settings: dict[str, Any] = {}
    if endpoint.netloc:
        settings = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    parts = urlsplit(url)
    return ArrowFSWrapper(S3FileSystem(region=region, **settings)), f"{parts.netloc}{parts.path}"


def _fsspec(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url)
    return system, path


def digest_of(marks: Iterable[Any]) -> str:
    """A short digest of several files' marks."""
    text = "\n".join(map(repr, marks))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

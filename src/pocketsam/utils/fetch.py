"""Fetching published files: resumed where they broke off, verified, and given their name only when whole.

What has come of FILE so far lies in FILE.part beside it, and FILE.lock lets one process at a time fetch it.
"""

import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import requests
from filelock import FileLock, Timeout
from pooch import file_hash
from requests import exceptions

from pocketsam.errors import ModelError

PATIENCE = 30.0
"""Seconds for the server to answer, and then between one piece and the next."""

LARGEST_MEMBER = 4 * 10**9
"""Bytes that a zip may unpack to where the true number is not known; the largest model has 2.6e9."""

_CHUNK = 1 << 18

# The most telling first: requests derives some of these from others.
_REASONS: dict[type[Exception], str] = {
    exceptions.ProxyError: "the proxy does not answer",
    exceptions.SSLError: "the server's certificate is not to be trusted",
    exceptions.Timeout: f"no answer within {PATIENCE:.0f} s",
    exceptions.ChunkedEncodingError: "the connection broke off",
    exceptions.ConnectionError: "no connection, or it failed",
}


def fetch(url: str, target: Path, sha256: str | None, size: int | None, member: str | None = None) -> Path:
    """`target`, fetched from `url` if it is not there yet.

    sha256, size: of `target`, where they are known. member: of the zip at `url`, the one file that is wanted.
    If several processes need the same file, the first downloads it and the others wait for it.
    Raises ModelError when the file cannot be had, is not the published one, or cannot be written.
    """
    part, archive = _beside(target, ".part"), _beside(target, ".zip.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            if target.is_file():
                return target
            # Only a hash can tell whether the pieces of a resumed file belong together.
            _transfer(url, archive if member else part, target.name, size, resume=sha256 is not None)
            if member:
                _unpack(archive, member, part, size or LARGEST_MEMBER, url)
            _verify(part, sha256, url, target)
            os.replace(part, target)
            archive.unlink(missing_ok=True)
    except exceptions.RequestException as error:
        raise ModelError(
            f"{url}: cannot be fetched ({_reason(error)}); try again later, or get {target.name} by other means and"
            f" put it at {target}, or set POCKETSAM_HOME to the folder that holds it"
        ) from error
    except OSError as error:  # requests has turned those of the network into its own
        room = f"room for {size / 1e6:.0f} MB" if size else "room"
        raise ModelError(
            f"{target}: cannot be written ({error.strerror or error}); make {room} there, or set POCKETSAM_HOME to a"
            " folder that has it, and try again"
        ) from error
    return target


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Holds the lock beside `target`, once no other process does."""
    lock = FileLock(_beside(target, ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say(f"another process is fetching {target.name}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _transfer(url: str, part: Path, name: str, size: int | None, resume: bool) -> None:
    """Bring `part` to the whole of what is at `url`, from the bytes that it has already."""
    have = part.stat().st_size if resume and part.exists() else 0
    wanted = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=wanted, stream=True, timeout=PATIENCE) as answer:
        if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
            if answer.headers.get("Content-Range") == f"bytes */{have}":
                return  # it is whole
            part.unlink()
            return _transfer(url, part, name, size, resume)
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        begin = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = begin + int(length) if length else size
        with part.open("ab" if resumed else "wb") as file, _progress(name, begin, total) as advance:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                advance(len(chunk))
        if length and part.stat().st_size < begin + int(length):  # old versions of urllib3 would not tell
            raise exceptions.ChunkedEncodingError(
                f"{part.stat().st_size} of {begin + int(length)} bytes came"
            )


@contextmanager
def _progress(name: str, begin: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, gone in the end; what is given is to be told of the bytes that have come."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=total, completed=begin)
        yield lambda count: progress.advance(task, count)


def _unpack(archive: Path, member: str, part: Path, limit: int, url: str) -> None:
    """One member of a zip, as `part`. The archive's own names decide nothing about where that is."""
    try:
        with ZipFile(archive) as opened:
            unpacked = opened.getinfo(member).file_size  # zipfile reads no more than what is stated here
            if unpacked > limit:
                raise BadZipFile(f"{member} would have {unpacked} bytes, not {limit}")
            with opened.open(member) as source, part.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
    except (BadZipFile, EOFError, KeyError, NotImplementedError, RuntimeError, zlib.error) as error:
        part.unlink(missing_ok=True)
        archive.unlink()
        raise ModelError(
            f"{url}: is not a zip that holds {member} ({' '.join(map(str, error.args))}); what came is deleted:"
            f" try again, or get {member} by other means and put it at {part.with_suffix('')}"
        ) from error


def _verify(part: Path, sha256: str | None, url: str, target: Path) -> None:
    found = file_hash(str(part))
    if sha256 is None:
        _say(f"no published hash is known for {target.name}; the file fetched has sha256 {found}")
    elif found != sha256:
        part.unlink()
        _beside(target, ".zip.part").unlink(missing_ok=True)
        raise ModelError(
            f"{url}: what came has sha256 {found}, the published file {sha256}; it is deleted: try again, or get"
            f" {target.name} by other means and put it at {target}"
        )


def _reason(error: exceptions.RequestException) -> str:
    if error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    return next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), str(error))


def _say(line: str) -> None:
    print(f"pocketsam: {line}", file=sys.stderr)

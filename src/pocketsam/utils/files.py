"""Writing files: whole or not at all, so that a full disk or a killed run never leaves half of one."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PureWindowsPath

from pocketsam.errors import InputError
from pocketsam.utils.wording import size


def write(path: Path, content: bytes) -> None:
    """Write a file beside its place, then move it there. Raises InputError when that cannot be done."""
    write_stream(path, [content])


def write_stream(path: Path, pieces: Iterable[bytes]) -> None:
    """The same for content that comes in pieces, so that it need not fit into memory twice."""
    unfinished = path.with_name(f".{os.urandom(6).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                file.writelines(pieces)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason}); choose another place for it") from error


def check_writable(folder: Path, missing: bool = False) -> None:
    """Before minutes of work, not after: InputError where nothing can be written into `folder`.

    missing: whether the folder may be missing still; then what it would be made in counts.
    """
    if missing and not folder.exists():
        folder = next(place for place in folder.absolute().parents if place.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written to; give a folder that exists and is yours")


def check_not_read(output: Path, read: Iterable[Path]) -> None:
    """InputError where the result would replace a file that is read for it."""
    if output.exists() and any(one.exists() and output.samefile(one) for one in read):
        raise InputError(f"{output}: is also what is read; choose another name for the result")


def as_text(name: str | Path) -> str:
    """A file's name as text; its bytes need not be UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def relative_path(name: str) -> str:
    """A file's name as a path within a folder, with slashes, whichever system it was written on.

    Raises ValueError, which says why, if it leads out of the folder.
    """
    path = PureWindowsPath(name)  # knows both kinds of slashes
    if path.anchor or ".." in path.parts or not path.name or "\0" in name:
        raise ValueError(f"the file name {name!r} is none within the folder of photos; mend it")
    return path.as_posix()


def with_sizes(files: Iterable[Path]) -> Iterator[str]:
    """A line for each file or folder that was written: its path and its size."""
    for path in files:
        parts = path.rglob("*") if path.is_dir() else [path]
        yield f"  {path}: {size(sum(part.stat().st_size for part in parts if part.is_file()))}"


def home() -> Path:
    """Where fetched and converted models are kept: $POCKETSAM_HOME or, if not set, the user's cache."""
    chosen = os.environ.get("POCKETSAM_HOME")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("pocketsam", appauthor=False)

"""Writing files: whole or not at all, so that a full disk or a killed run never leaves half of one."""

import os
from pathlib import Path

from pocketsam.errors import InputError


def write(path: Path, content: bytes) -> None:
    """Write a file beside its place, then move it there. Raises InputError when that cannot be done."""
    unfinished = path.with_name(f".{os.urandom(6).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason}); choose another place for it") from error


def check_writable(folder: Path, missing: bool = False) -> None:
    """Before minutes of work, not after: InputError where nothing can be written into `folder`.

    missing: whether the folder may be missing still.
    """
    if missing and not folder.exists():
        return
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written to; give a folder that exists and is yours")

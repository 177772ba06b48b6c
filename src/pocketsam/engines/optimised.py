"""ONNX graphs as ONNX Runtime has optimised them, stored: these open in a third of the time.

Whenever it opens a file, ONNX Runtime folds constants, joins operators, and lays weights out for the processor. The
first opening of a file stores the result in the cache, under a name that changes with the file, with ONNX Runtime's
version and with the processor. Where it cannot be stored or read, the file itself is opened.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import onnxruntime as ort

from pocketsam.utils.files import home
from pocketsam.utils.processor import description

LARGEST = 100_000_000
"""Bytes of a file. Larger ones are opened as they are, to save the user's disk."""
ROOM = 500_000_000
"""Bytes of all files in the cache together; those that were used last stay."""


@dataclass(frozen=True)
class SessionSettings:
    """How a graph runs. threads: of the CPU. objects: the number of prompts that it takes, for the mask decoder's."""

    threads: int
    objects: int = 1

    def options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Waiting threads sleep instead of spinning: as fast on an idle machine, and much faster on a busy one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # With the number of prompts known, nearly all shapes are.
        options.add_free_dimension_override_by_name("objects", self.objects)
        # Errors reach the user as exceptions; warnings are about a graph's internals.
        options.log_severity_level = 4
        return options


def open_session(path: Path, settings: SessionSettings) -> ort.InferenceSession:
    """A session on an ONNX file, on the CPU. Raises what ONNX Runtime raises for a file that it cannot read."""
    stored = _place(path, settings)
    if stored is None:
        return _session(path, settings.options())
    if os.path.exists(stored):
        # It may be damaged, and is then stored again.
        with suppress(Exception):
            return _open_stored(stored, settings)
    # There may be no room. What is wrong with the file itself, the last line raises.
    with suppress(Exception):
        return _open_and_store(path, settings, stored)
    return _session(path, settings.options())


def _place(path: Path, settings: SessionSettings) -> Path | None:
    """Where the optimised graph of a file is stored; None where it is not to be, or nobody can tell."""
    try:
        folder, status = home() / "optimised", path.stat()
        # Numbers in a second file are found beside the first one only.
        in_parts = any(path.parent.glob(f"{path.stem}*.data"))
    except (OSError, RuntimeError):  # no home, or one that may not be looked into
        return None
    if in_parts or status.st_size > LARGEST:
        return None
    file = path.resolve(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    key = sha256(repr((*file, settings.objects, ort.__version__, description())).encode()).hexdigest()
    return folder / f"{path.stem}-{key[:16]}.onnx"


def _open_stored(stored: Path, settings: SessionSettings) -> ort.InferenceSession:
    options = settings.options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = _session(stored, options)
    with suppress(OSError):  # a cache that can only be read is as good
        os.utime(stored)
    return session


def _open_and_store(path: Path, settings: SessionSettings, stored: Path) -> ort.InferenceSession:
    unfinished = stored.with_name(f".{os.urandom(6).hex()}.onnx")
    stored.parent.mkdir(parents=True, exist_ok=True)
    unfinished.touch()  # where that fails, it does so before the work
    try:
        options = settings.options()
        options.optimized_model_filepath = str(unfinished)
        session = _session(path, options)
        os.replace(unfinished, stored)
    finally:
        unfinished.unlink(missing_ok=True)
    with suppress(OSError):  # another process may be removing the same ones, or use them
        _make_room(stored.parent)
    return session


def _make_room(folder: Path) -> None:
    """Remove the files that were not used for longest, until the others take no more than `ROOM`."""
    files = sorted(folder.glob("*.onnx"), key=lambda file: file.stat().st_mtime, reverse=True)
    taken = 0
    for file in files:
        taken += file.stat().st_size
        if taken > ROOM:
            file.unlink(missing_ok=True)


def _session(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

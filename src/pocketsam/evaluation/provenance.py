"""What determines a measured number: which files, which versions. Written beside every result."""

import hashlib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pocketsam import __version__, zoo

PACKAGES = (
    "faster-coco-eval",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "pycocotools",
    "torch",
)


READ_WHOLE = 4 << 30
"""Bytes of data up to which their content is hashed; reading more than some seconds' worth would be a silent wait."""


def fingerprint(path: Path, without: Path | None = None) -> dict[str, Any]:
    """Name, bytes and sha256 of a file; of a folder, over the names and contents of all its files.

    A folder in a tar archive is known by its path there, and by the bytes and sha256 of the archive.
    Of over READ_WHOLE bytes, sha256 is that of the names and sizes alone, and `of` says so. without: a folder in the
    folder that does not count, as the result is written there.
    """
    if not path.exists() and (archive := next((one for one in path.parents if one.is_file()), None)):
        return {**fingerprint(archive), "name": f"{archive.name}/{path.relative_to(archive).as_posix()}"}
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    if without is not None:
        files = [file for file in files if without.resolve() not in file.resolve().parents]
    sizes = [file.stat().st_size for file in files]
    whole, digest = sum(sizes) <= READ_WHOLE, hashlib.sha256()
    for file, size in zip(files, sizes, strict=True):
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        for block in _blocks(file) if whole else [str(size).encode()]:
            digest.update(block)
    of = {} if whole else {"of": "names and sizes"}
    return {"name": path.resolve().name, "bytes": sum(sizes), "sha256": digest.hexdigest(), **of}


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            yield block


def model_files(model: str) -> list[dict[str, Any]]:
    """The fingerprints of a model's files; `model` is a name, a folder or a file."""
    path, _ = zoo.locate(model)
    return [fingerprint(file) for file in (zoo.model_files(path) if path.is_dir() else [path])]


def versions() -> dict[str, str]:
    """Python's version, ours, those of the PACKAGES that are installed, and the processor's family."""
    found = {package: _version(package) for package in PACKAGES}
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "pocketsam": __version__,
        **{package: number for package, number in found.items() if number},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

"""What determines a measured number: which files, which versions. Written beside every result."""

import hashlib
import platform
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


def fingerprint(path: Path) -> dict[str, Any]:
    """Name, bytes and sha256 of a file; of a folder, over the names and contents of all its files."""
    digest, size = hashlib.sha256(), 0
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                size += len(block)
    return {"name": path.resolve().name, "bytes": size, "sha256": digest.hexdigest()}


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

"""ONNX Runtime Web, which runs models in a browser: the files that a site needs, from npm or from a folder.

They have 41 MB, so they are not part of this package. A browser loads 14 MB of them or, where it has WebGPU, 27 MB.
"""

import os
import tarfile
from pathlib import Path

from pocketsam.errors import InputError, ModelError
from pocketsam.utils.fetch import fetch
from pocketsam.utils.files import home

VERSION = "1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
"""Of the package as npm publishes it."""
BYTES = 33_106_585
REGISTRY = "https://registry.npmjs.org"
"""npm's own, where the user's settings name no other."""

FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""Those of the package's folder `dist` that a site needs."""


def runtime_files(folder: Path | None = None) -> dict[str, bytes]:
    """The contents of FILES by their names.

    folder: of the package, such as node_modules/onnxruntime-web, or its `dist`; fetched once when not given.
    Raises InputError when a file is missing from the folder, ModelError when the package cannot be fetched.
    """
    return _fetched() if folder is None else _from_folder(folder)


def _from_folder(folder: Path) -> dict[str, bytes]:
    built = folder / "dist" if (folder / "dist").is_dir() else folder
    missing = next((name for name in FILES if not (built / name).is_file()), None)
    if missing:
        raise InputError(
            f"{folder}: holds no {missing}; give the folder of npm's package onnxruntime-web {VERSION}"
        )
    return {name: (built / name).read_bytes() for name in FILES}


def _fetched() -> dict[str, bytes]:
    name = f"onnxruntime-web-{VERSION}.tgz"
    try:
        archive = fetch(f"{registry()}/onnxruntime-web/-/{name}", home() / name, SHA256, BYTES)
    except ModelError as error:
        raise ModelError(
            f"{error}; or give the folder of the package by --onnxruntime-web FOLDER, as"
            f" `npm install onnxruntime-web@{VERSION}` makes it on a computer with a connection"
        ) from error
    try:
        with tarfile.open(archive) as package:
            return {file: _member(package, f"package/dist/{file}") for file in FILES}
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise ModelError(f"{archive}: is damaged ({error}); delete it, and it is fetched again") from error


def _member(package: tarfile.TarFile, name: str) -> bytes:
    file = package.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    with file:
        return file.read()


def registry() -> str:
    """The address of the user's npm registry: npm's environment variable, or its settings file, or npm's own."""
    settings = {name.lower(): value for name, value in os.environ.items() if value}
    chosen = settings.get("npm_config_registry")
    if chosen is None:
        file = Path(settings.get("npm_config_userconfig", "~/.npmrc")).expanduser()
        chosen = _setting(file, "registry") if file.is_file() else None
    return (chosen or REGISTRY).rstrip("/")


def _setting(file: Path, name: str) -> str | None:
    lines = file.read_text(errors="replace").splitlines()
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith(("#", ";")))
    found = [value.strip().strip("\"'") for key, _, value in pairs if key.strip() == name]
    return found[-1] if found else None

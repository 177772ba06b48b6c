"""Labels that lie somewhere, in any of the formats: finding out which, and reading photo after photo.

path → the folder, also of a ZIP file → its format, from suffixes, layout or content → `decode` or `read`
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import Path as ZipPath

from pocketsam.errors import InputError, PocketSAMError
from pocketsam.predict.formats import FORMATS, Format, format_named
from pocketsam.predict.formats.labelled import Classes, LabelledPhoto, LabelSet
from pocketsam.predict.formats.photos import Folder, Photos, files_in
from pocketsam.predict.formats.xml import parse
from pocketsam.utils.files import relative_path

READABLE = tuple(format for format in FORMATS if format.reads)
NAMES = ", ".join(format.name for format in READABLE)
_OF_MAPS = {"labels", "masks"}
"""Folders whose pictures are label maps, whatever their names."""


def read_labels(
    path: str | Path, format: Format | None = None, photos: str | Path | None = None
) -> tuple[LabelSet, Format]:
    """The labels in a file, a folder or a ZIP file, read photo after photo, and their format.

    format: theirs, if it is not to be found out. photos: the folder of their photos, which some formats need; by
    default that of the labels.
    Raises InputError, also later while the photos are read, for what cannot be read; the line names the file.
    """
    path = Path(path)
    root = _root(path)
    folder = photos_of(path, photos)
    if not root.is_dir():
        format = format or _format_of_file(path.name, root)
        if format is None or format.many == "folder":
            kind = (
                "not of a known format"
                if format is None
                else "a file, but this format is a folder or a ZIP file"
            )
            raise InputError(f"{path}: is {kind}; give --from with one of {NAMES}")
        labels = _decoded(path, path.name, format, folder)
    elif (own := _own_layout(root, format)) is not None:
        format = own
        labels = _named(path, lambda: own.module.read(root, folder))
    else:
        format, files = _files_of(root, path, format)
        labels = _files(files, format, folder)
    return replace(labels, photos=_checked(path, labels.photos)), format


def format_at(folder: Path) -> Format | None:
    """The format of the labels in a folder, from its layout, or from the first JSON or XML file in it; None without.

    Raises InputError when that file is damaged.
    """
    own = _own_layout(folder, None)
    if own is not None:
        return own
    files = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in (".json", ".xml"))
    shown = (file for file in files if not file.name.startswith("."))
    return next((_format_of_file(file.name, file) for file in shown), None)


def photos_of(path: Path, photos: str | Path | None) -> Photos:
    """The photos of the labels at `path`: those in the folder `photos`, or else those that lie with the labels.

    Raises InputError where there is no such folder.
    """
    if photos is None:
        root = _root(path)
        return Photos(root) if root.is_dir() else Photos(path.parent, deep=False)
    if not Path(photos).is_dir():
        raise InputError(f"{photos}: there is no such folder of photos")
    return Photos(Path(photos))


def _root(path: Path) -> Folder:
    if path.is_dir():
        return path
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.suffix.lower() != ".zip":
        return path
    try:
        return ZipPath(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: cannot be read as a ZIP file ({error})") from error


def _own_layout(root: Folder, format: Format | None) -> Format | None:
    """The format, wanted or found out, that has its own layout of a folder; None where it is a format of files."""
    if format is not None:
        return format if format.many == "folder" else None
    return next((one for one in READABLE if one.many == "folder" and one.module.is_folder(root)), None)


def _files_of(root: Folder, path: Path, wanted: Format | None) -> tuple[Format, list[tuple[str, Folder]]]:
    """The format of the files of labels in a folder, and these files."""
    found: dict[str, list[tuple[str, Folder]]] = {}
    for place, file in files_in(root):
        format = _format_of_file(place, file)
        if format is not None and wanted in (None, format):
            found.setdefault(format.name, []).append((place, file))
    if not found:
        names = NAMES if wanted is None else wanted.name
        raise InputError(
            f"{path}: there are no labels of the format {names} in this folder; give another, or --from"
        )
    if len(found) > 1:
        several = ", ".join(f"{name} ({files[0][0]})" for name, files in found.items())
        raise InputError(
            f"{path}: there are labels of several formats, {several}; give --from with one of them"
        )
    ((name, files),) = found.items()
    return format_named(name), files


def _format_of_file(place: str, file: Folder) -> Format | None:
    """The format of a file, from its suffix or its content; None where it is none."""
    name = place.lower()
    suffixes = [
        (suffix, format) for format in READABLE for suffix in format.suffixes if name.endswith(suffix)
    ]
    suffix, by_suffix = max(suffixes, key=lambda one: len(one[0]), default=("", None))
    if suffix not in ("", ".json"):
        return by_suffix
    if name.endswith((".json", ".xml")):
        return _matching(file)
    is_map = name.endswith(".png") and _OF_MAPS & {*PurePosixPath(name).parent.parts}
    return next(format for format in READABLE if format.name == "labels") if is_map else None


def _matching(file: Folder) -> Format | None:
    kind, load = (".json", json.loads) if file.name.lower().endswith(".json") else (".xml", parse)
    try:
        document: Any = load(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: is not whole, or no {kind[1:].upper()} ({error})") from error
    fitting = (
        one for one in READABLE if one.suffixes[0].endswith((kind, ".geojson" if kind == ".json" else ".svg"))
    )
    return next((format for format in fitting if format.module.matches(document)), None)


def _files(files: list[tuple[str, Folder]], format: Format, photos: Photos) -> LabelSet:
    """The labels of files one after the other; the classes join as they are read."""
    classes = Classes()

    def read() -> Iterator[LabelledPhoto]:
        for place, file in files:
            labels = _decoded(file, place, format, photos)
            for category in labels.classes:
                classes.add(category.name, category.id, category.extra)
            yield from _checked(file, labels.photos)

    return LabelSet(read(), classes, len(files) if format.many == "files" else None)


def _decoded(file: Folder, place: str, format: Format, photos: Photos) -> LabelSet:
    return _named(file, lambda: format.module.decode(file.read_bytes(), _stem(place, format), photos))


def _stem(place: str, format: Format) -> str:
    """The name of a file without its suffix, and without a folder of label maps on the way."""
    suffix = max((one for one in format.suffixes if place.lower().endswith(one)), key=len, default=None)
    stem = place[: -len(suffix)] if suffix else str(PurePosixPath(place).with_suffix(""))
    return str(PurePosixPath(*(part for part in PurePosixPath(stem).parts if part not in _OF_MAPS)))


def _named(path: Folder, read: Callable[[], LabelSet]) -> LabelSet:
    """What `read` gives. Its errors become one line that names the file."""
    try:
        labels = read()
    except PocketSAMError as error:
        raise _of_file(path, error) from error
    except Exception as error:
        raise _unreadable(path, error) from error
    return labels


def _checked(path: Folder, photos: Iterable[LabelledPhoto]) -> Iterator[LabelledPhoto]:
    """The photos, whose names must not lead out of their folder."""
    remaining = iter(photos)
    while True:
        try:
            photo = next(remaining, None)
        except PocketSAMError as error:
            raise _of_file(path, error) from error
        except Exception as error:
            raise _unreadable(path, error) from error
        if photo is None:
            return
        yield replace(photo, file_name=_inside(photo.file_name, path))


def _of_file(path: Folder, error: PocketSAMError) -> InputError:
    line = str(error)
    return InputError(line if line.startswith(str(path)) else f"{path}: {line}")


def _unreadable(path: Folder, error: Exception) -> InputError:
    """Whatever a damaged file makes a reader raise."""
    if isinstance(error, MemoryError):
        raise error
    reason = str(error) if isinstance(error, ValueError | OSError) else f"it is not as expected: {error!r}"
    return InputError(f"{path}: cannot be read ({reason})")


def _inside(name: str, path: Folder) -> str:
    """`name` as a path within a folder, with slashes. Raises InputError if it leads out."""
    try:
        return relative_path(name)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error

"""Labels of many photos to files: a file for each photo, one file, or a folder in the format's own layout."""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from pocketsam.errors import InputError
from pocketsam.predict.formats import FORMATS, Format, format_of, means_a_file, save
from pocketsam.predict.formats.archive import zipped
from pocketsam.predict.formats.labelled import Classes, LabelledPhoto, stem_of
from pocketsam.predict.formats.result import Result
from pocketsam.utils.files import write, write_stream

WRITABLE = tuple(format for format in FORMATS if format.needs != "logits")


def choose_format(path: Path, format: Format | None = None) -> tuple[Format, str]:
    """The format of labels that are to be written, and the suffix of their files.

    Raises InputError where neither `format` nor the suffix of `path` says it, or they disagree.
    """
    if not path.is_dir() and means_a_file(path):
        by_suffix, suffix = format_of(path, WRITABLE)
        if format is not None and format != by_suffix:
            raise InputError(f"{path}: the suffix means the format {by_suffix.name}, not {format.name}")
        return by_suffix, suffix
    if format is None:
        names = ", ".join(one.name for one in WRITABLE)
        raise InputError(f"{path}: is a folder; give --to with one of {names}, or a file with a suffix")
    return format, format.suffixes[0]


def write_labels(
    photos: Iterable[Result], classes: Classes, path: Path, format: Format | None = None
) -> list[Path]:
    """Write the labels of photos to `path`, a file or a folder, and return what was written: files, or the folder.

    classes: those known so far, in order; others join. format: needed where the suffix of `path` says none.
    Each file is written whole or not at all. Raises InputError where the labels cannot be written so.
    """
    format, suffix = choose_format(path, format)
    is_file = not path.is_dir() and means_a_file(path)
    if format.many == "file":
        file = path if is_file else path / f"annotations{suffix}"
        write_stream(file, format.module.encode_all(photos, suffix, classes))
        return [file]
    if format.many == "folder":
        files = format.module.files(_unlike(photos, path), classes)
        if is_file:
            write(path, zipped(files))
        for name, content in files if not is_file else ():
            write(path / name, content)
        return [path]
    if is_file:
        return save(_only(photos, path), path)
    return [
        file for photo in _unlike(photos, path) for file in save(photo, path / f"{stem_of(photo)}{suffix}")
    ]


def check_names(names: Iterable[str], path: Path) -> None:
    """Before the work: InputError where the files that `write_labels` makes of two photos would have one name."""
    if choose_format(path, None)[0].many == "folder":
        deque(_unlike((LabelledPhoto(name, (1, 1)) for name in names), path), maxlen=0)


def _unlike(photos: Iterable[Result], path: Path) -> Iterator[Result]:
    """The photos. Raises InputError where the files of two would have the same name."""
    names: dict[str, str] = {}
    for photo in photos:
        stem = stem_of(photo).lower()
        if stem in names:
            both = f"{names[stem]} and {photo.file_name}"
            raise InputError(
                f"{path}: the files of {both} would have the same name; rename one of the photos"
            )
        names[stem] = photo.file_name
        yield photo


def _only(photos: Iterable[Result], path: Path) -> Result:
    found = iter(photos)
    photo = next(found, None)
    if photo is None:
        raise InputError(f"{path}: there is no photo to write")
    if next(found, None) is not None:
        raise InputError(
            f"{path}: is one file, but this format has a file for each photo; give a folder, and --to"
        )
    return photo

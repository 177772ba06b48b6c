"""The photos that labels are of: some formats hold neither their sizes nor the ends of their names."""

import warnings
from collections.abc import Container, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from zipfile import Path as ZipPath

from PIL import ExifTags, Image

from pocketsam.errors import InputError
from pocketsam.predict.image import PHOTO_ENDINGS

Folder: TypeAlias = Path | ZipPath
"""A folder of the disk, or in a ZIP file."""
_OF_PHOTOS = {"images", "JPEGImages"}
_OURS = (".overlay", ".cutout", ".labels")
_OF_MASKS = {"labels", "masks", "SegmentationClass", "SegmentationObject"}


class Photos:
    """The photos in a folder and in all folders inside it, found by name when they are first asked for.

    deep: whether in all folders, or only in those called `images` or `JPEGImages`.
    A name is relative to the folder, without folders called so on the way.
    """

    def __init__(self, folder: Folder, deep: bool = True) -> None:
        self.folder, self._deep = folder, deep

    def name(self, stem: str, otherwise: str = "") -> str:
        """The name of the photo whose name without its end is `stem`; `stem` with `otherwise` where there is none."""
        return self._found(stem)[0] if stem in self._by_stem else f"{stem}{otherwise}"

    def size(self, name: str) -> tuple[int, int]:
        """(H, W) of a photo as it is shown, which is upright. name: with its end or without.

        Raises InputError where there is no such photo.
        """
        _, path = self._found(name)
        try:
            with warnings.catch_warnings(), path.open("rb") as file, Image.open(file) as image:
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
                return image.size if turned else image.size[::-1]
        except Exception as error:  # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error, …
            raise InputError(f"{path}: cannot be read as a photo ({error})") from error

    def read(self, name: str) -> bytes:
        """The file of a photo. Raises InputError where there is no such photo."""
        return self._found(name)[1].read_bytes()

    def _found(self, name: str) -> tuple[str, Folder]:
        for stem in (name, str(PurePosixPath(name).with_suffix("")), PurePosixPath(name).stem):
            found = self._by_stem.get(stem)
            if found is not None:
                return found
        raise InputError(
            f"{self.folder}: there is no photo {name} in this folder; give the folder of the photos with --photos"
        )

    @cached_property
    def _by_stem(self) -> dict[str, tuple[str, Folder]]:
        found: dict[str, tuple[str, Folder]] = {}
        for place, file in files_in(self.folder, None if self._deep else _OF_PHOTOS):
            path = PurePosixPath(place)
            if path.suffix.lower() not in PHOTO_ENDINGS or path.stem.endswith(_OURS):
                continue
            if _OF_MASKS & {*path.parent.parts}:
                continue
            name = PurePosixPath(*(part for part in path.parts if part not in _OF_PHOTOS))
            entry = str(name), file
            found[str(name)] = entry
            found[str(name.with_suffix(""))] = entry
            found.setdefault(name.stem, entry)
        return found


def files_in(folder: Folder, only: Container[str] | None = None) -> Iterator[tuple[str, Folder]]:
    """The files in a folder and in all folders inside it, in the order of their names, with the way to each.

    only: the names of the folders to enter; all when None.
    """
    entries: list[Folder] = [*folder.iterdir()]
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.name.startswith("."):  # what some systems hide beside a photo, such as ._photo.png, is none
            continue
        if entry.is_dir():
            if only is None or entry.name in only:
                yield from ((f"{entry.name}/{place}", file) for place, file in files_in(entry, only))
        else:
            yield entry.name, entry

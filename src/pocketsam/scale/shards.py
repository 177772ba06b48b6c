"""Shards of photos: tar archives, or photos of a folder, so many at a time. A shard is the unit of work.

Photos are read one after the other, so that a shard of any size, wherever it lies, needs memory for a few photos.
"""

import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketsam.errors import DataError, InputError
from pocketsam.predict.image import PHOTO_ENDINGS
from pocketsam.scale.storage import StoragePath, digest_of, is_url, storage_path

PHOTOS = 1000
"""Of a folder of photos, so many are a shard."""


@dataclass(frozen=True)
class StoredPhoto:
    """A photo as it is stored. name: its path in the shard, without the ending; file_name: with it."""

    file_name: str
    content: bytes

    @property
    def name(self) -> str:
        return self.file_name.rpartition(".")[0]


@dataclass(frozen=True)
class Shard:
    """A tar archive, or some photos. name: of its results. photos: those of a folder; none for an archive."""

    name: str
    location: StoragePath
    photos: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(self.location)

    def mark(self) -> dict[str, Any]:
        """What the manifest says of the shard, by which a change of it is noticed."""
        if not self.photos:
            return {"path": str(self.location), **self.location.mark()}
        marks = ((name, (self.location / name).mark()) for name in self.photos)
        return {"path": str(self.location), "photos": len(self.photos), "digest": digest_of(marks)}

    def read(self) -> Iterator[StoredPhoto]:
        """The photos, in the shard's order. Raises DataError where the archive is damaged."""
        if self.photos:
            yield from (StoredPhoto(name, (self.location / name).read()) for name in self.photos)
            return
        try:
            with self.location.open() as file, tarfile.open(fileobj=file, mode="r|") as tar:
                for member in tar:
                    if is_photo(member.name) and (content := tar.extractfile(member)):
                        yield StoredPhoto(member.name, content.read())
                _check_end(tar, self.location.size())
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{self}: not a readable tar shard ({error}); fetch it again") from error


def _check_end(tar: tarfile.TarFile, size: int | None) -> None:
    """Raises EOFError where an archive of so many bytes stops without an end: tarfile takes it for a whole one."""
    if size is not None and size - tar.offset < tarfile.BLOCKSIZE:
        raise EOFError("it ends too early")


def is_photo(name: str) -> bool:
    """Whether a file of this name is a photo, and none that a system hides beside one."""
    return name.lower().endswith(PHOTO_ENDINGS) and not name.rpartition("/")[2].startswith(".")


def are_shards(given: Iterable[str | Path]) -> bool:
    """Whether there is a tar archive, a folder of some, or a URL of anything but a photo among what is given."""
    return any(map(_is_shards, given))


def _is_shards(given: str | Path) -> bool:
    if is_url(given):
        return not is_photo(str(given))
    archives = Path(given).glob("*.tar")  # the first is enough: a folder may hold a million photos
    return storage_path(given).name.endswith(".tar") or any(one.is_file() for one in archives)


def find_shards(given: Iterable[str | Path]) -> list[Shard]:
    """The shards of archives, folders of archives, folders of photos, and photos, in order.

    Raises InputError where there is nothing, or two shards have one name.
    """
    shards: list[Shard] = []
    loose: dict[str, list[str]] = {}
    for one in map(storage_path, given):
        if one.name.endswith(".tar"):
            _check_there(one)
            shards.append(Shard(one.name.removesuffix(".tar"), one))
        elif one.is_folder():
            shards += _in_folder(one)
        else:
            _check_there(one)
            loose.setdefault(one.path[: -len(one.name)] or ".", []).append(one.name)
    for folder, names in loose.items():
        shards += _of_photos(storage_path(folder), names)
    if not shards:
        raise InputError("there are no photos; name photos, folders of photos, or tar shards")
    _check_names(shards)
    return shards


def _check_there(one: StoragePath) -> None:
    if not one.exists():
        raise InputError(f"{one}: there is no such file or folder; check the path")


def _in_folder(folder: StoragePath) -> list[Shard]:
    names = folder.files()
    tars = [Shard(name.removesuffix(".tar"), folder / name) for name in names if name.endswith(".tar")]
    found = tars or _of_photos(folder, [name for name in names if is_photo(name)])
    if not found:
        raise InputError(f"{folder}: there are neither tar shards nor photos in this folder")
    return found


def _of_photos(folder: StoragePath, names: Sequence[str]) -> list[Shard]:
    """Shards of so many photos; the number of a shard is in its name where there are several."""
    parts = [tuple(names[i : i + PHOTOS]) for i in range(0, len(names), PHOTOS)]
    if len(parts) == 1:
        return [Shard(folder.name, folder, parts[0])]
    return [Shard(f"{folder.name}-{i:05}", folder, part) for i, part in enumerate(parts)]


def _check_names(shards: Sequence[Shard]) -> None:
    known: dict[str, Shard] = {}
    for shard in shards:
        other = known.setdefault(shard.name.casefold(), shard)
        if other is not shard:
            raise InputError(
                f"{shard}: has the same name as {other}; give each a folder for results of its own"
            )

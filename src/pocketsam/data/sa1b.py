"""SA-1B's layout: `NAME.jpg` beside `NAME.json`, in tar shards or in plain folders.

`Shards` indexes without reading a photo, and reads any sample by its number: a run that knows the number of its
next sample resumes exactly, and workers and ranks share the numbers out without talking to each other. A
tar member is read by seeking, so memory holds the index only, whatever the size of the shards.
"""

import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.decode import decode_photo
from pocketsam.data.sample import Sample, find_files
from pocketsam.errors import DataError
from pocketsam.predict.formats.segmentation import to_rle
from pocketsam.predict.image import PHOTO_ENDINGS


class Span(NamedTuple):
    """A stretch of bytes of a file: a tar member, or a file as a whole."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror or error})") from error
        if len(data) != self.size:
            raise DataError(f"{self.path}: ends in the middle of a sample; fetch the shard again")
        return data


class Entry(NamedTuple):
    """Where one sample lies; `annotation` is None for a photo without masks."""

    name: str
    photo: Span
    annotation: Span | None

    def __str__(self) -> str:
        shard = self.photo.path
        return f"{shard}: {self.name}" if shard.suffix == ".tar" else str(shard)


class Shards(Sequence[Entry]):
    """The samples of any number of shards and folders, in a fixed order.

    Args:
        paths: `.tar` shards, folders of photos with their json, folders of shards, or folders of folders of photos,
            such as ImageNet's, which has a folder for each class.
        labelled: leave out photos without a json.

    Raises:
        DataError: a path does not exist, is no tar file, or holds no sample.
    """

    def __init__(self, paths: str | Path | Iterable[str | Path], labelled: bool = True) -> None:
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        entries = [entry for path in given for entry in _entries(Path(path))]
        self.entries = [e for e in entries if e.annotation is not None or not labelled]
        if not self.entries:
            names = ", ".join(str(path) for path in given)
            wanted = (
                "photo with a .json of the same name; SA-1B's layout is expected" if labelled else "photo"
            )
            raise DataError(f"{names}: no {wanted}")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, i: Any) -> Any:
        return self.entries[i]

    def mask_count(self, i: int) -> int:
        """See `Dataset.mask_count`; nothing is decoded."""
        return len(_annotation(self.entries[i]).get("annotations") or [])

    def source(self, i: int) -> str:
        """Where sample number i comes from, as its .json says, or ""; nothing is decoded."""
        image = _annotation(self.entries[i]).get("image")
        return str(image.get("source", "")) if isinstance(image, dict) else ""

    def read(self, i: int) -> Sample:
        """Sample number i, decoded. Raises DataError naming its shard and file."""
        entry = self.entries[i]
        document = _annotation(entry)
        image = _photo(entry)
        rles, ids, left_out = [], [], []
        try:
            source = str(document.get("image", {}).get("source", ""))
            for index, annotation in enumerate(document.get("annotations", [])):
                number = int(annotation.get("id", index))
                try:
                    rles.append(to_rle(annotation.get("segmentation"), *image.shape[:2]))
                    ids.append(number)
                except ValueError as error:
                    left_out.append(f"{entry}: annotation {number} {error}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{entry}: its .json is not in SA-1B's layout ({error!r})") from error
        return Sample(entry.name, image, rles, ids, source, str(entry), tuple(left_out))


def _entries(path: Path) -> list[Entry]:
    if path.is_dir():
        tars = sorted(path.glob("*.tar"))
        own = [e for tar in tars for e in _tar_entries(tar)] + _folder_entries(path)
        return own or _nested_entries(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    return _tar_entries(path)


def _folder_entries(folder: Path) -> list[Entry]:
    photos = find_files(folder, PHOTO_ENDINGS)
    beside = ((p, p.with_suffix(".json")) for p in photos)
    return [Entry(p.stem, _whole(p), _whole(json_) if json_.exists() else None) for p, json_ in beside]


def _nested_entries(path: Path) -> list[Entry]:
    """Those of the folders in a folder that has no photos itself. Raises DataError where only some have any."""
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and folder.name[0] != ".")
    found = {folder: _folder_entries(folder) for folder in folders}
    empty = [folder for folder, entries in found.items() if not entries]
    if empty and len(empty) < len(found):
        raise DataError(f"{empty[0]}: no photo, unlike the folders beside it; fetch its photos, or remove it")
    return [entry for entries in found.values() for entry in entries]


def _tar_entries(shard: Path) -> list[Entry]:
    photos: dict[str, Span] = {}
    annotations: dict[str, Span] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                stem, _, ending = member.name.rpartition(".")
                span = Span(shard, member.offset_data, member.size)
                if f".{ending.lower()}" in PHOTO_ENDINGS:
                    photos[stem] = span
                elif ending == "json":
                    annotations[stem] = span
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{shard}: not a readable tar shard ({error}); fetch it again") from error
    return [Entry(stem, span, annotations.get(stem)) for stem, span in photos.items()]


def _whole(path: Path) -> Span:
    return Span(path, 0, path.stat().st_size)


def _annotation(entry: Entry) -> dict[str, Any]:
    if entry.annotation is None:
        return {}
    try:
        document = json.loads(entry.annotation.read())
    except ValueError as error:
        raise DataError(f"{entry}: its .json cannot be read ({error})") from error
    if not isinstance(document, dict):
        raise DataError(f"{entry}: its .json is not an object with `image` and `annotations`")
    return document


def _photo(entry: Entry) -> NDArray[np.uint8]:
    try:
        return decode_photo(entry.photo.read())
    except ValueError as error:
        raise DataError(f"{entry}: its photo {error}") from error

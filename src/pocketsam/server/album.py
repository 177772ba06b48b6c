"""The photos that the server shows: those that were named when it started, and those that were uploaded.

A photo is known by an id; no request names a path.
"""

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketsam.errors import InputError
from pocketsam.predict.image import load_image
from pocketsam.predict.photo_files import find_photos, unique_names
from pocketsam.segmenter import Photo
from pocketsam.server.limits import Limits, RequestError
from pocketsam.utils.files import as_text


@dataclass(frozen=True)
class Entry:
    """A photo of the album.

    id: 16 hexadecimal digits. name: of its file. stem: how the names of its results begin. source: where its bytes
    are, or the bytes of an uploaded file.
    """

    id: str
    name: str
    stem: str
    source: Path | bytes

    def mark(self) -> tuple[int, ...]:
        """By what a change of its file is noticed. Raises InputError when the file is not there."""
        if isinstance(self.source, bytes):
            return ()
        try:
            found = self.source.stat()
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read ({error.strerror})") from error
        return found.st_size, found.st_mtime_ns

    def digest(self) -> str:
        """Of its file, to tell it from other photos of its name. Raises InputError when it cannot be read."""
        return _digest(self.source if isinstance(self.source, bytes) else _read(self.source))

    def load(self, limits: Limits) -> NDArray[np.uint8]:
        """Its pixels uint8 (H, W, 3) RGB. Raises InputError when it cannot be read, RequestError for too many."""
        try:
            return _load(self.source, limits)
        except InputError as error:  # which may name the path
            raise InputError(f"{self.name}: {_reason(error)}") from error


class Album:
    """The photos by their ids. Uploaded ones are kept in memory; the oldest of them go when there are too many bytes.

    given: photos, and folders of photos. Raises InputError when a folder has none, or a file is missing.
    """

    def __init__(self, given: Sequence[Path], limits: Limits) -> None:
        self._limits = limits
        paths = find_photos(given)
        for path in paths:
            if not path.is_file():
                raise InputError(f"{path}: there is no such file")
        named = zip(paths, unique_names(paths), strict=True)
        entries = [
            Entry(_digest(os.fsencode(path.resolve())), as_text(path.name), stem, path)
            for path, stem in named
        ]
        self._named = {entry.id: entry for entry in entries}
        self._uploads: OrderedDict[str, Entry] = OrderedDict()
        self._upload_bytes: dict[str, int] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter([*self._named.values(), *self._uploads.values()])

    def __getitem__(self, id: str) -> Entry:
        """Raises RequestError (404) when there is no photo of this id."""
        entry = self._named.get(id) or self._uploads.get(id)
        if entry is None:
            raise RequestError(404, "there is no such photo; it may have been removed, upload it again")
        return entry

    def add(self, name: str, content: bytes) -> Entry:
        """The entry of an uploaded photo: the one that it has, whatever its name, where it was uploaded before.

        Raises InputError when it is no photo, RequestError for too many pixels.
        """
        name = _file_name(name)
        id = _digest(content)
        entry = self._uploads.get(id) or Entry(id, name, f"{Path(name).stem}.{id[:8]}", content)
        entry.load(self._limits)  # which says what is wrong with it
        self._uploads[id] = entry
        self._uploads.move_to_end(id)
        self._upload_bytes[id] = len(content)
        while sum(self._upload_bytes.values()) > self._limits.uploads and len(self._uploads) > 1:
            oldest, _ = self._uploads.popitem(last=False)
            del self._upload_bytes[oldest]
        return entry


class OpenPhotos:
    """Encoded photos by the ids of their entries. The ones that were not used for longest go when `limit` is reached.

    limit: bytes of pixels, and of what the model made of them. The photo used last always stays.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._photos: OrderedDict[str, Photo] = OrderedDict()

    def get(self, id: str) -> Photo | None:
        """The photo, if it is there still."""
        photo = self._photos.get(id)
        if photo is not None:
            self._photos.move_to_end(id)
        return photo

    def put(self, id: str, photo: Photo) -> None:
        """Keeps a photo, and drops others for it."""
        self._photos[id] = photo
        self._photos.move_to_end(id)
        while self.bytes > self._limit and len(self._photos) > 1:
            self._photos.popitem(last=False)

    def drop(self, id: str) -> None:
        """Forgets a photo."""
        self._photos.pop(id, None)

    @property
    def bytes(self) -> int:
        """An estimate of what the photos occupy."""
        return sum(map(_bytes, self._photos.values()))


def _bytes(photo: Photo) -> int:
    """Pixels, the embedding, and what the decoder prepares of it, which is about three times the embedding's size."""
    pixels = 0 if photo.image is None else photo.image.nbytes
    return pixels + 4 * photo.embedding.nbytes


def _load(source: Path | bytes, limits: Limits) -> NDArray[np.uint8]:
    content = source if isinstance(source, bytes) else _read(source)
    _check_pixels(content, limits)
    return load_image(content)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the photo: cannot be read ({error.strerror})") from error


def _check_pixels(content: bytes, limits: Limits) -> None:
    """RequestError when the header says that there are too many; a broken header is left to `load_image`."""
    try:
        with Image.open(BytesIO(content)) as image:
            width, height = image.size
    except Exception:  # decoders raise OSError, SyntaxError, ValueError, struct.error, …
        return
    if width * height > limits.pixels:
        most = limits.pixels / 10**6
        raise RequestError(
            413,
            f"the photo has {width} × {height} pixels; the most is {most:g} million, make it smaller first",
        )


def _reason(error: InputError) -> str:
    """What an error of `load_image` says of the photo, without the name that it begins with."""
    return str(error).removeprefix("the photo: ")


def _file_name(name: str) -> str:
    """The last part of a name, without what a file system or a terminal may take for something else."""
    last = re.split(r"[/\\]", name)[-1]
    kept = re.sub(r"[^\w. ()+-]", "_", last).strip(". ")
    return kept[-80:].lstrip(". ") or "photo"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]

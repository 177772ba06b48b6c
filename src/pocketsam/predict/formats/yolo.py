"""YOLO's segmentation labels: a text file for each photo with a line for each mask, and `data.yaml` with the classes.

A line is the class's number and one outline, in fractions of the photo's width and height. Several parts, and holes,
are joined by cuts of no width. Neither the photo's size nor the end of its name is in the files, so reading them
needs the photos. Lines of four numbers are boxes, as detectors have them.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

import numpy as np

from pocketsam.predict.filling import fill, rectangle
from pocketsam.predict.formats.archive import zipped
from pocketsam.predict.formats.labelled import (
    Classes,
    LabelledObject,
    LabelledPhoto,
    LabelSet,
    labelled,
    stem_of,
)
from pocketsam.predict.formats.photos import Folder, Photos, files_in
from pocketsam.predict.formats.result import Result
from pocketsam.predict.formats.yaml import read_names, write_names
from pocketsam.predict.outlines import one_outline, polygons_with_holes
from pocketsam.utils.rle import RLE


def encode(result: Result, suffix: str) -> list[bytes]:
    """A ZIP file of what `files` gives for a single photo."""
    return [zipped(files([result], Classes.of(result.names)))]


def files(photos: Iterable[Result], classes: Classes) -> Iterator[tuple[str, bytes]]:
    """Each file's name in the folder of the data set, and its content."""
    for photo in map(labelled, photos):
        lines = [_line(classes.index(one.name), one.rle) for one in photo.objects]
        text = "".join(f"{line}\n" for line in lines if line)
        yield f"labels/{stem_of(photo)}.txt", text.encode()
    names = write_names(one.name for one in classes)
    yield "data.yaml", f"path: .\ntrain: images\nval: images\n{names}".encode()


def is_folder(folder: Folder) -> bool:
    """Whether a folder is one of YOLO's."""
    names = {entry.name for entry in folder.iterdir()}
    texts = (file.name for _, file in files_in(folder) if file.name.endswith(".txt"))
    return bool(names & {"data.yaml", "classes.txt"}) and any(name != "classes.txt" for name in texts)


def read(folder: Folder, photos: Photos) -> LabelSet:
    """The photos of all text files in folders called `labels` or, if there are none, in the folder."""
    names = _class_names(folder)
    classes = Classes(names.values())
    texts = [(place, file) for place, file in files_in(folder) if file.name.endswith(".txt")]
    inside = [(place, file) for place, file in texts if "labels" in PurePosixPath(place).parts[:-1]]
    chosen = inside or [(place, file) for place, file in texts if file.name != "classes.txt"]
    read = (_photo(place, file.read_bytes(), photos, names) for place, file in chosen)
    return LabelSet(read, classes, len(chosen))


def _line(place: int, rle: RLE) -> str:
    rings = [ring for part in polygons_with_holes(rle) for ring in part]
    if not rings:
        return ""
    height, width = rle["size"]
    fractions = one_outline(rings).astype(np.float64) / (width, height)
    return f"{place} {' '.join(f'{value:.8g}' for value in fractions.ravel().tolist())}"


def _photo(place: str, content: bytes, photos: Photos, names: Mapping[int, str]) -> LabelledPhoto:
    parts = [part for part in PurePosixPath(place).parts if part != "labels"]
    file_name = photos.name(str(PurePosixPath(*parts).with_suffix("")))
    size = photos.size(file_name)
    objects, left_out = [], []
    for i, line in enumerate(content.decode().splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            mask, score = _mask([float(word) for word in words[1:]], size)
            objects.append(LabelledObject(mask, _name(words[0], names), score))
        except ValueError as error:
            left_out.append(f"line {i} {error}")
    return LabelledPhoto(file_name, size, tuple(objects), left_out=tuple(left_out))


def _mask(numbers: list[float], size: tuple[int, int]) -> tuple[RLE, float | None]:
    """The mask, and the confidence that predictions have as their last number."""
    height, width = size
    score = numbers.pop() if len(numbers) % 2 else None
    if len(numbers) == 4:
        x, y, across, down = np.multiply(numbers, (width, height) * 2).tolist()
        return fill([rectangle(x - across / 2, y - down / 2, x + across / 2, y + down / 2)], size), score
    return fill([np.reshape(numbers, (-1, 2)) * (width, height)], size), score


def _name(word: str, names: Mapping[int, str]) -> str:
    place = int(float(word))
    if names and place not in names:
        raise ValueError(f"is of class {word}, which data.yaml does not name")
    return names.get(place, str(place))


def _class_names(folder: Folder) -> dict[int, str]:
    """The names in `data.yaml`, or the lines of `classes.txt`, by number; none without these files."""
    table, lines = folder / "data.yaml", folder / "classes.txt"
    if table.is_file():
        return read_names(table.read_text("utf-8"))
    return dict(enumerate(lines.read_text("utf-8").splitlines())) if lines.is_file() else {}

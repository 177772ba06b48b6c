"""The labels of a photo, as annotation tools keep them: what every reader of labels gives and every writer takes."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketsam.predict.drawing import draw_masks
from pocketsam.predict.formats.result import DEFAULT_NAME, Result, photo_of
from pocketsam.utils.rle import RLE, areas


@dataclass(frozen=True)
class LabelledObject:
    """A mask, as run lengths of the photo's size, and what is known of it.

    name: its class. score: from 0 to 1, or None where a person drew it. id: the number by which its file knows it.
    extra: JSON values that only some formats hold, such as COCO's `iscrowd`.
    """

    rle: RLE
    name: str = DEFAULT_NAME
    score: float | None = None
    id: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LabelledPhoto:
    """The objects of a photo of `size` (H, W). It is a `Result`, which every format can be written from.

    file_name: relative to the folder of photos, with slashes. image: uint8 (H, W, 3) RGB, where it was read.
    id, extra: as those of an object. left_out: what could not be read, a line each.
    """

    file_name: str
    size: tuple[int, int]
    objects: tuple[LabelledObject, ...] = ()
    image: NDArray[np.uint8] | None = None
    id: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def rle(self) -> list[RLE]:
        """N run lengths."""
        return [one.rle for one in self.objects]

    @property
    def names(self) -> tuple[str, ...]:
        """N class names."""
        return tuple(one.name for one in self.objects)

    @property
    def predicted_iou(self) -> NDArray[np.float32]:
        """(N,) float32 scores, NaN where there is none."""
        return np.array([np.nan if one.score is None else one.score for one in self.objects], np.float32)

    @property
    def empty(self) -> NDArray[np.bool_]:
        """(N,) bool: whether a mask has no pixels."""
        return np.asarray(areas(self.rle) == 0)

    @property
    def logits(self) -> None:
        """Labels have none."""
        return None

    def overlay(self) -> NDArray[np.uint8]:
        """The photo uint8 (H, W, 3) with the masks drawn on it. Raises InputError when it was not read."""
        return draw_masks(photo_of(self.image, self.file_name), self.rle)

    def details(self) -> list[dict[str, Any]]:
        """The `extra` of each object."""
        return [dict(one.extra) for one in self.objects]


def labelled(result: Result) -> LabelledPhoto:
    """Any result as labels whose objects all have ids, each once: their own or, if not, the next free one."""
    photo = result if isinstance(result, LabelledPhoto) else _photo(result)
    ids = Numbers()
    objects = tuple(replace(one, id=ids.take(one.id)) for one in photo.objects)
    return replace(photo, objects=objects)


def _photo(result: Result) -> LabelledPhoto:
    columns = zip(result.rle, result.names, result.predicted_iou, result.empty, result.details(), strict=True)
    objects = tuple(
        LabelledObject(rle, name, round(float(iou), 4), extra={"empty": bool(empty), **more})
        for rle, name, iou, empty, more in columns
    )
    return LabelledPhoto(result.file_name, result.size, objects, result.image)


class Numbers:
    """Gives out numbers from 1 on, each once. least: the least that may be wanted."""

    def __init__(self, least: int = 1) -> None:
        self._taken: set[int] = set()
        self._least, self._next = least, 1

    def take(self, wanted: int | None) -> int:
        """The number that is wanted or, if none is or it is taken, the next that is free."""
        number = wanted
        if number is None or number < self._least or number in self._taken:
            while self._next in self._taken:
                self._next += 1
            number = self._next
        self._taken.add(number)
        return number


@dataclass(frozen=True)
class Category:
    """A class of objects. id: its number in COCO files. extra: what else COCO says of it, such as `supercategory`."""

    name: str
    id: int
    extra: Mapping[str, Any] = field(default_factory=dict)


class Classes:
    """The classes of a set of labels, in order, each once. New ones join at the end as photos are read."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._categories: dict[str, Category] = {}
        self._indices: dict[str, int] = {}
        self._ids = Numbers(least=0)
        for name in names:
            self.add(name)

    @classmethod
    def of(cls, names: Iterable[str]) -> "Classes":
        """Those of a single photo, in alphabetical order."""
        return cls(sorted(set(names)) or [DEFAULT_NAME])

    def add(self, name: str, id: int | None = None, extra: Mapping[str, Any] | None = None) -> Category:
        """The class of a name, which joins if it is new. id: the number that it should have in COCO files."""
        if name not in self._categories:
            self._indices[name] = len(self._categories)
            self._categories[name] = Category(name, self._ids.take(id), extra or {})
        return self._categories[name]

    def index(self, name: str) -> int:
        """The index of a class, which is added where it is new."""
        self.add(name)
        return self._indices[name]

    def __len__(self) -> int:
        return len(self._categories)

    def __iter__(self) -> Iterator[Category]:
        return iter(self._categories.values())


@dataclass(frozen=True)
class LabelSet:
    """The labels of many photos, read one after the other. classes: those known so far, and, at the end, all.

    count: of photos or files, where it is known.
    """

    photos: Iterable[LabelledPhoto]
    classes: Classes
    count: int | None = None


def file_in(path: str) -> str:
    """The last part of a path of any operating system."""
    return re.split(r"[/\\]", path)[-1]


def stem_of(photo: Result) -> str:
    """The photo's name without its end, as a path that does not lead out of a folder."""
    path = PurePosixPath(photo.file_name).with_suffix("")
    return str(PurePosixPath(*(part for part in path.parts if part not in ("..", path.anchor))))

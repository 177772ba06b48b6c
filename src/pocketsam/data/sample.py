"""A photo with its masks: the one thing that every reader of data gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.decode import decode_photo
from pocketsam.errors import DataError
from pocketsam.predict.formats.segmentation import to_rle
from pocketsam.utils.rle import RLE, areas, decode


@dataclass(frozen=True)
class Sample:
    """A photo and its masks, as run lengths of the photo's size.

    name: unique in its dataset, and the same wherever the dataset lies. image: uint8 (H, W, 3) RGB.
    ids: the number by which its dataset knows each mask. source: where the photo is from, if the dataset says so.
    location: the shard or file it was read from, for messages.
    categories: the category of each mask, where its dataset knows categories; else empty.
    left_out: the annotations that cannot be used, a line each that names the annotation and says why.
    """

    name: str
    image: NDArray[np.uint8]
    rles: list[RLE]
    ids: list[int]
    source: str = ""
    location: str = ""
    left_out: tuple[str, ...] = ()
    categories: list[int] = field(default_factory=list)

    def mask(self, i: int) -> NDArray[np.bool_]:
        """Mask number i, (H, W). Raises DataError where it is damaged."""
        try:
            return decode(self.rles[i])
        except ValueError as error:
            raise DataError(
                f"{self.location or self.name}: mask {self.ids[i]} cannot be decoded ({error})"
            ) from error

    def masks(self, which: Sequence[int] | None = None) -> NDArray[np.bool_]:
        """The masks numbered `which` (all by default): (K, H, W). Raises DataError where one is damaged."""
        chosen = range(len(self.rles)) if which is None else which
        return np.array([self.mask(i) for i in chosen], np.bool_).reshape(-1, *self.image.shape[:2])

    def each_mask(self) -> Iterator[NDArray[np.bool_]]:
        """The masks (H, W) one after the other, as all of them at once could be gigabytes."""
        return (self.mask(i) for i in range(len(self.rles)))

    def complete(self) -> "Sample":
        """This sample, if no annotation had to be left out. Raises DataError naming the first one that had to."""
        if self.left_out:
            raise DataError(self.left_out[0])
        return self

    def promptable(self) -> "Sample":
        """The sample without the masks that cannot be prompted: those that are empty or damaged join `left_out`."""
        rles, kept, left_out = [], [], list(self.left_out)
        for i, (given, number) in enumerate(zip(self.rles, self.ids, strict=True)):
            try:
                rle = to_rle(given, *self.image.shape[:2])
                if not areas([rle])[0]:
                    raise ValueError("has no pixels")
            except ValueError as error:
                left_out.append(f"{self.location or self.name}: annotation {number} {error}")
                continue
            rles.append(rle)
            kept.append(i)
        ids, categories = (
            [values[i] for i in kept] if values else [] for values in (self.ids, self.categories)
        )
        return replace(self, rles=rles, ids=ids, left_out=tuple(left_out), categories=categories)


class Dataset(Protocol):
    """Samples by number, in a fixed order."""

    def __len__(self) -> int: ...

    def read(self, i: int) -> Sample:
        """Sample number i, decoded. Raises DataError when its photo or its annotations cannot be read at all."""
        ...

    def mask_count(self, i: int) -> int:
        """About how many masks sample number i has, without decoding its photo."""
        ...


def find_files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """The files of a folder with one of the endings, in the order of their names; none where there is no folder."""
    if not folder.is_dir():
        return []
    # what some systems hide beside a photo, such as ._photo.png, is none
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in visible if path.suffix.lower() in endings)


def read_photo(path: Path) -> NDArray[np.uint8]:
    """The photo in a file, uint8 (H, W, 3) RGB, as it is stored. Raises DataError naming the file."""
    try:
        return decode_photo(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error

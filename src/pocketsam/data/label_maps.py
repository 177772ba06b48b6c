"""Label maps: `images/NAME.jpg` beside `labels/NAME.png` or `masks/NAME.png`, whose pixel values name the objects.

Or ADE20K's layout (arXiv 1608.05442, the challenge's release): `images/SPLIT/NAME.jpg` beside
`annotations/SPLIT/NAME.png`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.sample import Sample, find_files, read_photo
from pocketsam.errors import DataError
from pocketsam.predict.formats.labels import masks_of, read_map
from pocketsam.predict.image import PHOTO_ENDINGS


class LabelMaps:
    """The label maps of a folder with their photos, in the order of their names.

    Maps of one channel (8 or 16 bits, palettes): 0 is background, any other value is one mask, whose id it is.
    Maps in colour: black is background, any other colour one mask, whose id is red × 65536 + green × 256 + blue.
    All pixels of a value are one mask, connected or not. A photo without a map is no sample.

    folder: with `images` and `labels` or `masks` in it, or ADE20K's `annotations/SPLIT`.

    Raises:
        DataError: there is no map, or two photos have the same name.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder, photos = Path(folder), Path(folder) / "images"
        labels = self.folder / "labels"
        if not labels.is_dir():
            labels = self.folder / "masks"
        if is_split(self.folder):
            labels = self.folder
            self.folder, photos = labels.parents[1], labels.parents[1] / "images" / labels.name
        self.maps = find_files(labels, (".png",))
        if not self.maps:
            raise DataError(f"{self.folder}: no label map; put NAME.png into labels/, NAME.jpg into images/")
        self._folder_of_photos, self._photos = photos, _photos(photos)

    def __len__(self) -> int:
        return len(self.maps)

    def read(self, i: int) -> Sample:
        """Sample number i, decoded. Raises DataError when its photo is missing, either is broken, or sizes differ."""
        path = self.maps[i]
        photo = self._photos.get(path.stem)
        if photo is None:
            raise DataError(
                f"{path}: its photo {self._folder_of_photos / path.stem}.jpg (or .png, …) is missing"
            )
        image, values = read_photo(photo), _read_map(path)
        if values.shape != image.shape[:2]:
            sizes = [" × ".join(map(str, size[::-1])) for size in (values.shape, image.shape[:2])]
            raise DataError(f"{path}: is {sizes[0]} pixels, but its photo {photo} is {sizes[1]}")
        masks = dict(masks_of(values))
        ids = list(masks)
        return Sample(path.stem, image, list(masks.values()), ids, location=str(path), categories=ids)

    @property
    def categories(self) -> list[dict[str, Any]]:
        """The values and their names, as in COCO's JSON. Raises DataError where no file names them.

        From `classes.txt`, where line i names value i, or ADE20K's `objectInfo150.txt`.
        """
        for name, read in (("classes.txt", _plain_names), ("objectInfo150.txt", _ade_names)):
            path = self.folder / name
            if path.is_file():
                try:
                    names = read(path.read_text("utf-8").splitlines())
                except (OSError, UnicodeDecodeError) as error:
                    raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error
                return [{"id": i, "name": one} for i, one in enumerate(names, start=1) if one]
        raise DataError(
            f"{self.folder}: has no classes.txt, whose line i names the value i of the maps; add it"
        )

    def mask_count(self, i: int) -> int:
        """See `Dataset.mask_count`."""
        return int(np.count_nonzero(np.unique(_read_map(self.maps[i]))))


def is_split(folder: Path) -> bool:
    """Whether a folder is ADE20K's `annotations/SPLIT`."""
    parts = folder.absolute().parts
    return "annotations" in parts[-2:-1] and (folder.absolute().parents[1] / "images" / folder.name).is_dir()


def _plain_names(lines: list[str]) -> list[str]:
    """Of each line; empty for a value without a name."""
    return [line.strip() for line in lines]


def _ade_names(lines: list[str]) -> list[str]:
    """The last column of a table with a line of headings; of several names the first."""
    return [line.split("\t")[-1].split(",")[0].strip() for line in lines[1:] if line.strip()]


def _photos(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in find_files(folder, PHOTO_ENDINGS):
        if path.stem in found:
            raise DataError(f"{path}: {found[path.stem].name} has the same name; which one has the map?")
        found[path.stem] = path
    return found


def _read_map(path: Path) -> NDArray[np.int64]:
    """The values of a map, (H, W)."""
    try:
        return read_map(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error

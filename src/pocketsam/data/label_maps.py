"""Label maps: `images/NAME.jpg` beside `labels/NAME.png` or `masks/NAME.png`, whose pixel values name the objects."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from pocketsam.data.sample import DataError, Sample, find_files, read_photo
from pocketsam.predict.image import MAX_PIXELS, PHOTO_ENDINGS
from pocketsam.utils.rle import RLE


class LabelMaps:
    """The label maps of a folder with their photos, in the order of their names.

    Maps of one channel (8 or 16 bits, palettes): 0 is background, any other value is one mask, whose id it is.
    Maps in colour: black is background, any other colour one mask, whose id is red × 65536 + green × 256 + blue.
    All pixels of a value are one mask, connected or not. A photo without a map is no sample.

    Raises:
        DataError: there is no map, or two photos have the same name.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        labels = self.folder / "labels"
        if not labels.is_dir():
            labels = self.folder / "masks"
        self.maps = find_files(labels, (".png",))
        if not self.maps:
            raise DataError(f"{self.folder}: no label map; put NAME.png into labels/, NAME.jpg into images/")
        self._photos = _photos(self.folder / "images")

    def __len__(self) -> int:
        return len(self.maps)

    def read(self, i: int) -> Sample:
        """Sample number i, decoded. Raises DataError when its photo is missing, either is broken, or sizes differ."""
        path = self.maps[i]
        photo = self._photos.get(path.stem)
        if photo is None:
            raise DataError(
                f"{path}: its photo {self.folder / 'images' / path.stem}.jpg (or .png, …) is missing"
            )
        image, values = read_photo(photo), _read_map(path)
        if values.shape != image.shape[:2]:
            sizes = [" × ".join(map(str, size[::-1])) for size in (values.shape, image.shape[:2])]
            raise DataError(f"{path}: is {sizes[0]} pixels, but its photo {photo} is {sizes[1]}")
        masks = dict(_masks(values))
        return Sample(path.stem, image, list(masks.values()), list(masks), place=str(path))

    def mask_count(self, i: int) -> int:
        """See `Dataset.mask_count`."""
        return int(np.count_nonzero(np.unique(_read_map(self.maps[i]))))


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
        encoded = path.read_bytes()
        with Image.open(BytesIO(encoded)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path}: has more than {MAX_PIXELS // 10**6} million pixels")
            values = np.asarray(image)  # of a palette: the indices, where OpenCV would give the colours
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error, …
        raise DataError(f"{path}: the label map cannot be read ({error})") from error
    if values.ndim == 2 and values.dtype.kind in "bui":
        return values.astype(np.int64)
    if values.ndim == 3 and values.shape[2] in (3, 4):
        return np.asarray(values[..., :3].astype(np.int64) @ [65536, 256, 1])
    raise DataError(
        f"{path}: a label map has one channel of whole numbers, or colours; save it as a PNG of these"
    )


def _masks(values: NDArray[np.int64]) -> Iterator[tuple[int, RLE]]:
    """Every value but 0, in order, with its mask.

    All run lengths come from one pass over the map: comparing the map with value after value takes minutes where
    there are thousands.
    """
    flat = values.ravel(order="F")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    edges = np.stack([starts, np.append(starts[1:], flat.size)], axis=1)
    order = np.argsort(flat[starts], kind="stable")
    found, first = np.unique(flat[starts][order], return_index=True)
    for value, own in zip(found, np.split(edges[order], first[1:]), strict=True):
        if value:
            counts = np.diff(own.ravel(), prepend=0, append=flat.size)
            rle = coco.frPyObjects({"size": list(values.shape), "counts": counts.tolist()}, *values.shape)
            yield int(value), {"size": list(values.shape), "counts": rle["counts"].decode()}

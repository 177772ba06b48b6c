"""Data Science Bowl 2018 (BBBC038v1): photos of cell nuclei, `ID/images/ID.png` with a file a nucleus in `ID/masks/`.

Caicedo et al., Nature Methods 16, 2019.
"""

from pathlib import Path

import numpy as np

from pocketsam.data.sample import Sample, find_files, read_photo
from pocketsam.errors import DataError
from pocketsam.utils.rle import RLE, encode


class ScienceBowl:
    """The photos of a folder such as `stage1_train`, in the order of their ids.

    A mask is the non-zero pixels of its file; its id is the file's place in the order of names, from 0. A photo
    without a folder `masks` is no sample.

    Raises:
        DataError: there is no photo with masks.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.names = sorted(path.parent.name for path in self.folder.glob("*/masks") if path.is_dir())
        if not self.names:
            raise DataError(f"{self.folder}: no folder ID in it with ID/images/ID.png and ID/masks/*.png")

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int) -> Sample:
        """Sample number i, decoded. Raises DataError naming the photo when it is missing or broken."""
        name = self.names[i]
        place = self.folder / name
        image = read_photo(place / "images" / f"{name}.png")
        rles: list[RLE] = []
        ids: list[int] = []
        left_out: list[str] = []
        for number, file in enumerate(find_files(place / "masks", (".png",))):
            try:
                rles.append(_mask(file, image.shape[:2]))
                ids.append(number)
            except DataError as error:
                left_out.append(str(error))
        return Sample(name, image, rles, ids, location=str(place), left_out=tuple(left_out))

    def mask_count(self, i: int) -> int:
        """See `Dataset.mask_count`."""
        return len(find_files(self.folder / self.names[i] / "masks", (".png",)))


def _mask(path: Path, size: tuple[int, ...]) -> RLE:
    """Raises DataError naming the file where it is broken or not of the photo's size (H, W)."""
    mask = np.asarray(read_photo(path).any(axis=2))
    if mask.shape != size:
        sizes = [" × ".join(map(str, shape[::-1])) for shape in (mask.shape, size)]
        raise DataError(f"{path}: the mask is {sizes[0]} pixels, but its photo {sizes[1]}")
    return encode(mask)

"""What annotation tools write, as a data set: LabelMe, YOLO, CVAT, Label Studio, Pascal VOC, GeoJSON, SVG.

The readers are those of `predict/formats`, which convert labels too. COCO has a reader of its own, `coco.py`.
"""

from collections import Counter
from pathlib import Path

from pocketsam.data.sample import Sample
from pocketsam.errors import DataError, InputError
from pocketsam.predict.formats.labelled import LabelledPhoto, stem_of
from pocketsam.predict.formats.reading import format_at, photos_of, read_labels
from pocketsam.predict.image import load_image

SUFFIXES = (".xml", ".zip", ".geojson", ".svg", ".labelme.json", ".labelstudio.json")
"""Of files that are labels, whatever is in them; a JSON file without a second suffix is Label Studio's or COCO's."""


class Labels:
    """The photos of a file, a folder or a ZIP file of labels, in its order.

    photos: the folder of the photos; by default they lie with the labels.
    All labels are read at once, as run lengths. Photos are upright, as annotation tools show them.
    Raises InputError when the labels cannot be read.
    """

    def __init__(self, path: str | Path, photos: str | Path | None = None) -> None:
        self.path = Path(path)
        labels, _ = read_labels(self.path, photos=photos)
        self._labels: list[LabelledPhoto] = list(labels.photos)
        self._photos = photos_of(self.path, photos)
        if not self._labels:
            raise DataError(f"{self.path}: has no photos")
        stems = [stem_of(photo) for photo in self._labels]
        count = Counter(stems)
        self.names = [
            stem if count[stem] == 1 else photo.file_name
            for stem, photo in zip(stems, self._labels, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, i: int) -> Sample:
        """Sample number i, decoded. Raises DataError when its photo is missing, broken, or of another size."""
        labels = self._labels[i]
        location = f"{self.path}: {labels.file_name}"
        try:
            image = load_image(self._photos.read(labels.file_name))
        except (InputError, OSError) as error:
            raise DataError(f"{location}: {error}") from error
        if image.shape[:2] != labels.size:
            sizes = (" × ".join(map(str, size[::-1])) for size in (image.shape[:2], labels.size))
            raise DataError("{}: is {} pixels, but {} in its labels".format(location, *sizes))
        ids = [number if one.id is None else one.id for number, one in enumerate(labels.objects, 1)]
        left_out = tuple(f"{location}: {line}" for line in labels.left_out)
        return Sample(self.names[i], image, labels.rle, ids, location=location, left_out=left_out)

    def mask_count(self, i: int) -> int:
        """See `Dataset.mask_count`."""
        return len(self._labels[i])


def is_labels(path: Path) -> bool:
    """Whether a path is of labels other than COCO's and SA-1B's, from its suffix, its layout or its first file."""
    name = path.name.lower()
    if path.is_dir():
        try:
            found = format_at(path)
        except InputError:  # of a damaged file, which the other layouts leave out
            return False
        return found is not None and found.name != "coco"
    if name.endswith(SUFFIXES):
        return True
    return name.endswith(".json") and path.is_file() and _begins_with_a_list(path)


def _begins_with_a_list(path: Path) -> bool:
    """Whether a JSON file, which may be large, is a list, as Label Studio's exports are and COCO's files are not."""
    with path.open("rb") as file:
        return file.read(1000).lstrip().startswith(b"[")

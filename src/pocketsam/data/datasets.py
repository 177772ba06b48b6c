"""Opens photos with masks in any of the layouts; all commands use this function."""

from collections.abc import Sequence
from pathlib import Path

from pocketsam.data.coco import CocoSet
from pocketsam.data.label_maps import LabelMaps, is_split
from pocketsam.data.labels import Labels, is_labels
from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import Dataset
from pocketsam.data.science_bowl import ScienceBowl
from pocketsam.errors import InputError


def open_dataset(
    paths: Sequence[str | Path], photos: str | Path | None = None, labelled: bool = True
) -> Dataset:
    """The samples of one COCO or LVIS JSON, of what an annotation tool writes, of one folder of label maps or of Data
    Science Bowl 2018, or of shards.

    Shards and folders in SA-1B's layout may be many, the others come one at a time. photos: where the photos of a
    COCO JSON or of an annotation tool's labels are. labelled: leave out the photos of shards that have no json.
    Raises DataError when something cannot be read, InputError when the arguments do not go together.
    """
    if not paths:
        raise InputError("no data given; name shards, a COCO JSON, or a folder of photos with masks")
    readers = [_reader(Path(path)) for path in paths]
    if photos is not None and readers not in ([CocoSet], [Labels]):
        raise InputError(
            f"{photos}: a folder of photos goes with one COCO JSON, or one annotation tool's labels; leave it out"
        )
    if all(reader is Shards for reader in readers):
        return Shards(paths, labelled)
    if len(paths) > 1:
        other = next(path for path, reader in zip(paths, readers, strict=True) if reader is not Shards)
        raise InputError(f"{other}: only tar shards and their folders can be read together; give it alone")
    (path,), (reader,) = paths, readers
    return reader(path, photos) if reader is CocoSet or reader is Labels else reader(path)


def evenly_spread(total: int, count: int) -> list[int]:
    """The numbers of `count` samples spread evenly over `total`; of all, where there are no more."""
    count = min(count, total)
    return [number * total // count for number in range(count)]


def _reader(path: Path) -> type[CocoSet] | type[Labels] | type[LabelMaps] | type[ScienceBowl] | type[Shards]:
    if is_split(path):
        return LabelMaps
    if is_labels(path):
        return Labels
    if path.suffix.lower() == ".json":
        return CocoSet
    if (path / "images").is_dir() and any((path / name).is_dir() for name in ("labels", "masks")):
        return LabelMaps
    if any((masks.parent / "images").is_dir() for masks in path.glob("*/masks")):
        return ScienceBowl
    return Shards

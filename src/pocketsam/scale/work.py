"""A shard, from its photos to the file of its results, in this process; how a cluster does it: cluster.py.

photos ─► so many at a time ─► encode, one part ahead ─► decode ─► a part of the results … ─► published
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias, TypeVar

from pocketsam.errors import DataError, InputError
from pocketsam.scale.job import DECODED, Encoded, Stages, decode_photos, encode_photos
from pocketsam.scale.results import Outcome, Part, ShardResults, Work
from pocketsam.scale.shards import Shard, StoredPhoto
from pocketsam.utils.prefetch import prefetch

T = TypeVar("T")

NumberedPhotos: TypeAlias = tuple[int, Sequence[StoredPhoto]]
"""The number of a part, and its photos."""
MakeParts: TypeAlias = Callable[[ShardResults, Iterator[NumberedPhotos]], None]
"""Makes parts of the photos, and writes each to the results."""


def do_shard(work: Work, stages: Stages) -> Outcome:
    """Do a shard in this process: photos are read and encoded while the ones before are decoded."""

    def encode(numbered: NumberedPhotos) -> tuple[int, Encoded]:
        return numbered[0], encode_photos(stages, numbered[1])

    def make(results: ShardResults, missing: Iterator[NumberedPhotos]) -> None:
        with prefetch(encode, missing) as ahead:
            for one in ahead:
                number, encoded = one.result()
                results.part(number).write([Part.of(decode_photos(stages, encoded)).to_bytes()])

    return finish_shard(work, make)


def finish_shard(work: Work, make: MakeParts) -> Outcome:
    """Do what is not done of a shard: `make` makes the parts that are missing. What fails is in the outcome."""
    name = work.shard.name
    try:
        results = ShardResults(work)
        if published := results.published():
            return Outcome(name, published, resumed=True)
        counted = _Counted(_in_parts(work.shard))
        make(results, (one for one in counted if one[0] not in results.done))
        return Outcome(name, results.publish(counted.count))
    except (InputError, OSError) as error:
        return Outcome(name, error=_without_secrets(str(error), work.shard))


def _without_secrets(error: str, shard: Shard) -> str:
    """An error as it may be shown: with the shard's address as `shown` shows it."""
    text = error if str(shard) in error or shard.location.path in error else f"{shard}: {error}"
    return text.replace(shard.location.path, str(shard))


class _Counted(Iterator[T]):
    """Counts what an iterator has given."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items, self.count = items, 0

    def __next__(self) -> T:
        item = next(self._items)
        self.count += 1
        return item


def _in_parts(shard: Shard) -> Iterator[NumberedPhotos]:
    """The photos of a shard, so many for each part, and the numbers of these."""
    photos, number = _with_own_names(shard), 0
    while part := list(islice(photos, DECODED)):
        yield number, part
        number += 1


def _with_own_names(shard: Shard) -> Iterator[StoredPhoto]:
    """Raises DataError where x.jpg lies beside x.png: their results would have one name."""
    names: set[str] = set()
    for photo in shard.read():
        if photo.name in names:
            raise DataError(f"{shard}: has two photos of the name {photo.name}; rename one")
        names.add(photo.name)
        yield photo

"""Embedding photos: a teacher's encoder runs once over many, and the store keeps what it gives.

    photos → read and prepared, one ahead → encoded → the store, a shard at a time

Any number of processes, on any number of machines, may run the same job on the same store: a shard is one process's
as long as that holds its lock, and the others go on to the next.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.data.decode import decode_photo
from pocketsam.data.sa1b import Entry, Shards
from pocketsam.embeddings.signature import Signature
from pocketsam.embeddings.store import ShardFiles, shard_name, shard_of
from pocketsam.embeddings.writer import ShardWriter, create_store, find_trouble, writing
from pocketsam.engines import Engine
from pocketsam.errors import DataError, InputError
from pocketsam.predict.image import preprocess
from pocketsam.utils.files import check_writable
from pocketsam.utils.prefetch import prefetch
from pocketsam.utils.wording import count, size


@dataclass(frozen=True)
class PhotoShard:
    """A tar shard, or a folder of photos. name: what the store calls it."""

    path: Path
    name: str
    entries: Sequence[Entry]

    @property
    def photos(self) -> list[tuple[str, int]]:
        """The photos' names, and the sizes of their files."""
        return [(entry.name, entry.photo.size) for entry in self.entries]


@dataclass(frozen=True)
class Progress:
    """How far a job is: `done` of so many photos have embeddings, of which this run made `embedded` in `seconds`."""

    photos: int
    done: int = 0
    embedded: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Photos a second, of those that this run embedded."""
        return self.embedded / self.seconds if self.seconds else 0.0

    @property
    def status(self) -> str:
        """The rate, in words; nothing before the first."""
        return f"{self.rate:.1f} photos/s" if self.embedded else ""


@dataclass(frozen=True)
class Outcome:
    """What became of a shard.

    photos: how many have embeddings now; embedded: those of this run. bytes: of the shard in the store.
    trouble: the line that said why it had to be rebuilt. busy: it was left to another process.
    """

    shard: Path
    photos: int = 0
    embedded: int = 0
    bytes: int = 0
    trouble: str | None = None
    busy: bool = False


@dataclass(frozen=True)
class Summary:
    """What became of all shards, in order. seconds: what this run's embeddings took."""

    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def photos(self) -> int:
        """How many have embeddings now, without those of busy shards."""
        return sum(outcome.photos for outcome in self.outcomes)

    @property
    def embedded(self) -> int:
        """How many of them are of this run."""
        return sum(outcome.embedded for outcome in self.outcomes)

    @property
    def bytes(self) -> int:
        """What they take in the store."""
        return sum(outcome.bytes for outcome in self.outcomes)

    @property
    def rate(self) -> float:
        """Photos a second, of those that this run embedded."""
        return self.embedded / self.seconds if self.seconds else 0.0

    @property
    def rebuilt(self) -> list[str]:
        """A line for each shard that had to be rebuilt: which it is, and why."""
        return [outcome.trouble for outcome in self.outcomes if outcome.trouble]

    @property
    def busy(self) -> list[Path]:
        """The shards that were left to other processes."""
        return [outcome.shard for outcome in self.outcomes if outcome.busy]

    def __str__(self) -> str:
        text = count(self.photos, "photo")
        if self.photos:
            text += f", {size(self.bytes / self.photos)} a photo, {size(self.bytes)} in all"
        if self.embedded:
            text += f"; {self.embedded} embedded now, {self.rate:.1f} photos/s"
        if self.rebuilt:
            text += f"; {count(len(self.rebuilt), 'shard')} rebuilt"
        if self.busy:
            names = ", ".join([*map(str, self.busy[:3]), *(["…"] if len(self.busy) > 3 else [])])
            text += f"; {count(len(self.busy), 'shard')} left to other processes: {names}"
        return text


def check_paths(photos: Iterable[Path], output: Path) -> None:
    """Raises InputError where there is nothing to embed, or the store cannot be written."""
    for path in photos:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder; check the path")
    check_writable(output, missing=True)


def embed(
    engine: Engine,
    paths: str | Path | Iterable[str | Path],
    store: str | Path,
    bits: int = 16,
    after_photo: Callable[[Progress], None] = lambda progress: None,
    after_shard: Callable[[Outcome], None] = lambda outcome: None,
    say: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Encode photos with `engine` and keep their embeddings in `store`.

    paths: tar shards in SA-1B's layout, folders of them, folders of photos; masks are not needed.
    bits: 16, or 8 for half the room.
    after_photo: sees how far the job is after each photo, and after each shard that was whole already.
    after_shard: sees what became of a shard. say: sees a line for each shard that is going to be rebuilt.

    A shard that is whole is verified and left as it is; one that is damaged, or whose photos have changed, is rebuilt
    from the first photo that this concerns; one that a killed run had begun is gone on with. A shard that another
    process is working on is left to it.
    Raises DataError when a photo or a shard cannot be used, or the store is of other embeddings; InputError when it
    cannot be written. What is embedded by then is kept, and the same call goes on.
    """
    shards = find_shards(paths)
    job = _Job(engine, shards, Path(store), bits, after_photo, say)
    outcomes = []
    for shard in shards:
        outcomes.append(job.do(shard))
        after_shard(outcomes[-1])
    return Summary(tuple(outcomes), job.progress.seconds)


def find_shards(paths: str | Path | Iterable[str | Path]) -> list[PhotoShard]:
    """The shards and folders of photos in `paths`, each once.

    Raises DataError when one cannot be read or has no photo, or when two shards, or two photos of a folder, share a
    name.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    found: dict[str, PhotoShard] = {}
    for shard in (shard for path in given for shard in _shards_in(Path(path))):
        other = found.setdefault(shard.name.casefold(), shard)
        if other is not shard and not other.path.samefile(shard.path):
            raise DataError(
                f"{shard.path}: has the same name as {other.path}, and the store tells shards apart by theirs;"
                " rename one, or embed it into another store"
            )
    return list(found.values())


def _shards_in(path: Path) -> list[PhotoShard]:
    entries: dict[Path, list[Entry]] = {}
    for entry in Shards(path, labelled=False):
        entries.setdefault(shard_of(entry), []).append(entry)
    for tar in sorted(path.glob("*.tar")) if path.is_dir() else []:
        if tar not in entries:
            raise DataError(f"{tar}: no photo; fetch it again, or take it away")
    for shard in entries.values():
        _check_names(shard)
    return [PhotoShard(shard, shard_name(inside[0]), inside) for shard, inside in entries.items()]


def _check_names(entries: Sequence[Entry]) -> None:
    """Raises DataError when x.jpg lies beside x.png."""
    known: dict[str, Entry] = {}
    for entry in entries:
        other = known.setdefault(entry.name, entry)
        if other is not entry:
            raise DataError(f"{entry}: has the same name as {other}, but for its ending; rename one")


class _Job:
    """What all shards of a job share. Raises as `embed` does."""

    def __init__(
        self,
        engine: Engine,
        shards: Sequence[PhotoShard],
        store: Path,
        bits: int,
        after_photo: Callable[[Progress], None],
        say: Callable[[str], None],
    ) -> None:
        self.engine, self.store = engine, store
        self.signature = Signature.of(engine.config, bits, engine.info.numerics)
        self.progress = Progress(sum(len(shard.entries) for shard in shards))
        self.after_photo, self.say = after_photo, say
        create_store(store, self.signature)
        for shard in shards:
            _check_outside(shard, store)

    def do(self, shard: PhotoShard) -> Outcome:
        """Embed what is not embedded yet of a shard."""
        with self._alone(shard) as alone:
            if not alone:
                return Outcome(shard.path, busy=True)
            trouble = None
            if ShardFiles(self.store, shard.name).finished:
                trouble = find_trouble(self.store, shard.name, shard.photos)
                if trouble is None:
                    self._advance(done=len(shard.entries))
                    return self._outcome(shard, 0, None)
                self.say(f"{trouble}; the shard is rebuilt from there on")
            return self._outcome(shard, self._embed(shard), trouble)

    @contextmanager
    def _alone(self, shard: PhotoShard) -> Iterator[bool]:
        """Whether no other process works on the shard; none will until the end of this."""
        lock = FileLock(ShardFiles(self.store, shard.name).lock)
        with writing(self.store):
            alone = _acquire(lock)
        try:
            yield alone
        finally:
            lock.release()  # one that was not acquired stays another's

    def _embed(self, shard: PhotoShard) -> int:
        """Returns how many photos there were to embed."""
        with ShardWriter(self.store, shard.name, self.signature, shard.photos) as writer:
            rest = shard.entries[writer.done :]
            self._advance(done=writer.done)
            read = partial(_read, config=self.engine.config)
            since = perf_counter()
            with prefetch(read, rest) as images:
                for entry, image in zip(rest, images, strict=True):
                    writer.add(entry.name, entry.photo.size, self.engine.encode(image.result())[0])
                    now = perf_counter()
                    self._advance(done=1, embedded=1, seconds=now - since)
                    since = now
            writer.finish()
        return len(rest)

    def _advance(self, done: int, embedded: int = 0, seconds: float = 0.0) -> None:
        now = self.progress
        self.progress = replace(
            now, done=now.done + done, embedded=now.embedded + embedded, seconds=now.seconds + seconds
        )
        self.after_photo(self.progress)

    def _outcome(self, shard: PhotoShard, embedded: int, trouble: str | None) -> Outcome:
        size = ShardFiles(self.store, shard.name).tar.stat().st_size
        return Outcome(shard.path, len(shard.entries), embedded, size, trouble)


def _acquire(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:  # which is an OSError, too
        return False
    return True


def _check_outside(shard: PhotoShard, store: Path) -> None:
    """Raises DataError where the embeddings would be written over the photos."""
    tar = ShardFiles(store, shard.name).tar
    if os.path.realpath(tar) == os.path.realpath(shard.path):
        raise DataError(f"{shard.path}: lies in the store itself, where its embeddings would go; move it")


def _read(entry: Entry, config: ModelConfig) -> NDArray[np.float32]:
    """A photo as the encoder takes it, (1, 3, S, S). Raises DataError naming it."""
    try:
        image = decode_photo(entry.photo.read())
    except ValueError as error:
        raise DataError(
            f"{entry}: its photo {error}; fetch it again, or take it out: training would miss its embedding"
        ) from error
    return preprocess(image, config)

"""The results of a shard: first in parts, of a few photos each, then published as one file with a manifest.

    OUTPUT/settings.json               all that the results depend on
    OUTPUT/NAME.tar                    the files of all photos of the shard NAME, in its order
    OUTPUT/NAME.manifest.json          the shard, its photos, those in quarantine and why, and the sha256 of NAME.tar
    OUTPUT/.parts/NAME-DIGEST/00000    the first photos of a shard that is being worked on

Each appears whole or not at all, and holds nothing of when or where it was made. A shard is done when its manifest is
there, which is written last: whatever ends before is done again, from the parts that are there, with the same bytes.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from pocketsam.errors import InputError
from pocketsam.scale.formats import FORMATS
from pocketsam.scale.job import Done, Failure, Job
from pocketsam.scale.shards import Shard
from pocketsam.scale.storage import StoragePath
from pocketsam.utils.journal import settings_digest
from pocketsam.utils.tars import member

SETTINGS = "settings.json"
MANIFEST = ".manifest.json"

Manifest: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """The results of a few photos. content: the members of a tar.

    photos: file names, and bytes, of those with results. quarantined: file names of the others, and why.
    """

    photos: tuple[tuple[str, int], ...]
    masks: int
    quarantined: tuple[tuple[str, str], ...]
    content: bytes

    @classmethod
    def of(cls, found: Sequence[Done | Failure]) -> "Part":
        """The results of photos, in their order."""
        done = [one for one in found if not isinstance(one, Failure)]
        failed = tuple((one.file_name, one.reason) for one in found if isinstance(one, Failure))
        content = b"".join(member(*file) for _, made in done for file in made.files)
        return cls(tuple(photo for photo, _ in done), sum(made.masks for _, made in done), failed, content)

    def to_bytes(self) -> bytes:
        """A line of JSON, and the members."""
        about = [self.photos, self.masks, self.quarantined]
        return json.dumps(about).encode() + b"\n" + self.content

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Part":
        line, _, content = stored.partition(b"\n")
        photos, masks, quarantined = json.loads(line)
        return cls(tuple(map(tuple, photos)), masks, tuple(map(tuple, quarantined)), content)


def join(parts: Sequence[Part]) -> Part:
    """One part of several."""
    return Part(
        tuple(one for part in parts for one in part.photos),
        sum(part.masks for part in parts),
        tuple(one for part in parts for one in part.quarantined),
        b"".join(part.content for part in parts),
    )


@dataclass(frozen=True)
class Work:
    """A shard to be done. settings: the digest of the job's. format: of the results, see FORMATS."""

    job: Job
    settings: str
    shard: Shard
    output: StoragePath
    format: str = "tar"


@dataclass(frozen=True)
class Outcome:
    """What became of a shard. error: a line that says why it is not done. resumed: an earlier run had done it."""

    shard: str
    manifest: Manifest = field(default_factory=dict)
    resumed: bool = False
    error: str | None = None


class ShardResults:
    """The files of a shard's results."""

    def __init__(self, work: Work) -> None:
        self.work, self.mark = work, work.shard.mark()
        self._file = work.output / f"{work.shard.name}.{work.format}"
        self._manifest = work.output / f"{work.shard.name}{MANIFEST}"
        own = settings_digest({"settings": work.settings, "shard": self.mark})[:12]
        self._parts = work.output / ".parts" / f"{work.shard.name}-{own}"

    def published(self) -> Manifest | None:
        """The manifest, if the shard is done as it is now, and its file is there."""
        if not self._manifest.exists():
            return None
        found: Manifest = json.loads(self._manifest.read())
        same = found["settings"] == self.work.settings and found["shard"] == self.mark
        return found if same and self._file.size() == found["file"]["bytes"] else None

    @cached_property
    def done(self) -> frozenset[int]:
        """The numbers of the parts that an earlier run left."""
        return frozenset(int(name) for name in self._parts.files() if name.isdigit())

    def part(self, number: int) -> StoragePath:
        """The file of a part."""
        return self._parts / f"{number:05}"

    def publish(self, parts: int) -> Manifest:
        """Make the shard's file and its manifest of so many parts, which are deleted then."""
        contents = _Contents(self, parts)
        self._file.write(contents.file())
        if any(contents.index):
            (self.work.output / f"{self.work.shard.name}.jsonl").write(contents.index)
        manifest = {
            "job": self.work.job.name,
            "settings": self.work.settings,
            "shard": self.mark,
            "photos": contents.photos,
            "masks": contents.masks,
            "quarantined": contents.quarantined,
            "file": {
                "name": self._file.name,
                "bytes": contents.bytes,
                "sha256": contents.digest.hexdigest(),
            },
        }
        self._manifest.write([_json(manifest)])
        self._parts.remove()
        return manifest


class _Contents:
    """What a shard's file is made of, and what is counted of it while it is written.

    photos, masks: how many. quarantined: the photos that could not be used, and why. index: of each part, what its
    job says of it. bytes, digest: of the file.
    """

    def __init__(self, results: ShardResults, parts: int) -> None:
        self._results, self._parts = results, parts
        self.photos = self.masks = self.bytes = 0
        self.quarantined: list[dict[str, str]] = []
        self.index: list[bytes] = []
        self.digest = hashlib.sha256()

    def file(self) -> Iterator[bytes]:
        """The bytes of the file."""
        for piece in FORMATS[self._results.work.format](self._of_parts()):
            self.digest.update(piece)
            self.bytes += len(piece)
            yield piece

    def _of_parts(self) -> Iterator[bytes]:
        for number in range(self._parts):
            part = Part.from_bytes(self._results.part(number).read())
            self.photos, self.masks = self.photos + len(part.photos), self.masks + part.masks
            self.index.append(self._results.work.job.index(part.photos, part.content, self.bytes))
            self.quarantined += [{"photo": name, "reason": reason} for name, reason in part.quarantined]
            yield part.content


def begin(output: StoragePath, settings: dict[str, Any], files: dict[str, bytes]) -> str:
    """Write down what the results depend on, and files that they share, and return the digest of the settings.

    Raises InputError when there are results of other settings, or nothing can be written.
    """
    file, content = output / SETTINGS, _json(settings)
    if not file.exists():
        for name, shared in files.items():
            _write_once(output / name, shared)
        file.write([content])
    elif file.read() != content:
        differ = _differences(json.loads(file.read()), json.loads(content))
        raise InputError(
            f"{output}: holds results of other settings ({differ}); choose another folder for the results"
        )
    return hashlib.sha256(content).hexdigest()[:16]


def _write_once(file: StoragePath, content: bytes) -> None:
    if file.exists() and file.read() != content:
        raise InputError(f"{file}: is of other results; choose another folder for these")
    file.write([content])


def end(output: StoragePath, outcomes: Sequence[Outcome]) -> StoragePath:
    """The manifests of all shards that are published there, also by other runs, as one file, a line each."""
    manifests = {one.shard: one.manifest for one in outcomes}
    others = (name.removesuffix(MANIFEST) for name in output.files() if name.endswith(MANIFEST))
    manifests |= {
        name: json.loads((output / f"{name}{MANIFEST}").read()) for name in others if name not in manifests
    }
    manifest = output / "manifest.jsonl"
    lines = [json.dumps(manifests[name], sort_keys=True) + "\n" for name in sorted(manifests)]
    manifest.write(line.encode() for line in lines)
    (output / ".parts").remove_if_empty()  # another run may be at work there
    return manifest


def _differences(known: dict[str, Any], wanted: dict[str, Any]) -> str:
    names = sorted(name for name in known.keys() | wanted.keys() if known.get(name) != wanted.get(name))
    return ", ".join(names)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"

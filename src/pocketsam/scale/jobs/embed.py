"""A teacher's embeddings: the results are a store (`embeddings/store.py`) of the bytes that one machine writes."""

import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.decode import decode_photo
from pocketsam.embeddings.signature import SIGNATURE_FILE, Signature
from pocketsam.embeddings.store import MEMBERS, Member, Record, pack
from pocketsam.errors import InputError
from pocketsam.predict.image import preprocess
from pocketsam.scale.job import Files, Job
from pocketsam.scale.shards import StoredPhoto
from pocketsam.segmenter import Segmenter
from pocketsam.utils.tars import END


@dataclass(frozen=True)
class Embed(Job):
    """bits: of each stored number, 16 or 8."""

    name: ClassVar[str] = "embed"
    bits: int = 16

    def open(self) -> "_Stages":
        return _Stages(self)

    def index(self, photos: Sequence[tuple[str, int]], members: bytes, offset: int) -> bytes:
        """The lines of the store's index."""
        with tarfile.open(fileobj=BytesIO(members + END)) as tar:
            found = [
                Member(offset + one.offset_data, one.size, zlib.crc32(tar.extractfile(one).read()))  # type: ignore[union-attr]
                for one in tar
            ]
        each = len(found) // max(1, len(photos))
        return b"".join(
            Record(name.rpartition(".")[0], size, tuple(found[i * each : (i + 1) * each])).to_line()
            for i, (name, size) in enumerate(photos)
        )


class _Stages:
    def __init__(self, job: Embed) -> None:
        self._engine = Segmenter(job.model, **vars(job.running)).engine
        self._signature = Signature.of(self._engine.config, job.bits, self._engine.info.numerics)

    def settings(self) -> dict[str, Any]:
        return asdict(self._signature)

    def shared_files(self) -> dict[str, bytes]:
        return {SIGNATURE_FILE: self._signature.to_json()}

    def encode(self, photo: StoredPhoto) -> tuple[str, NDArray[np.float32]]:
        try:
            image = decode_photo(photo.content)
        except ValueError as error:
            raise InputError(f"the photo {error}") from error
        return photo.name, self._engine.encode(preprocess(image, self._engine.config))[0]

    def decode(self, encoded: tuple[str, NDArray[np.float32]]) -> Files:
        name, embedding = encoded
        try:
            contents = pack(embedding, self._signature)
        except ValueError as error:
            raise InputError(f"its embedding {error}") from error
        return Files(
            tuple((name + ending, content) for ending, content in zip(MEMBERS, contents, strict=False))
        )

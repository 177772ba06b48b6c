"""How the results of a shard are stored: a format takes the members of a tar, part by part, and gives a file's bytes.

tar      as they are: NAME.json beside NAME.jpg in SA-1B's layout, once both archives are unpacked
parquet  a row for each mask, for tables and queries
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from pocketsam.utils.install import importing
from pocketsam.utils.tars import END


def to_tar(parts: Iterable[bytes]) -> Iterator[bytes]:
    """A tar archive."""
    yield from parts
    yield END


def to_parquet(parts: Iterable[bytes]) -> Iterator[bytes]:
    """A Parquet file with a row for each mask, and a group of rows for each part.

    photo, its path in the archive; height and width in pixels; counts, COCO's compressed run lengths; bbox XYWH;
    area in pixels; predicted_iou; stability_score and point (x, y) where masks were found without a prompt; category,
    if it has one.
    """
    with importing("scale", "Parquet"):
        import pyarrow as pa
        from pyarrow import parquet

    schema = pa.schema(
        [
            ("photo", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("counts", pa.string()),
            ("bbox", pa.list_(pa.float32())),
            ("area", pa.int64()),
            ("predicted_iou", pa.float32()),
            ("stability_score", pa.float32()),
            ("point", pa.list_(pa.float32())),
            ("category", pa.string()),
        ]
    )
    file = _Pieces()
    with parquet.ParquetWriter(pa.PythonFile(file, mode="w"), schema, compression="zstd") as writer:
        for part in parts:
            if rows := list(_rows(part)):
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            yield file.take()
    yield file.take()


class _Pieces(io.RawIOBase):
    """A file of which what was written is taken piece by piece, so that memory never holds all of it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(self._pieces[-1])

    def close(self) -> None:  # the writer closes it before its end is taken
        pass

    def take(self) -> bytes:
        """What was written since the last call."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _rows(members: bytes) -> Iterator[Mapping[str, Any]]:
    with tarfile.open(fileobj=io.BytesIO(members + END)) as tar:
        for one in tar:
            file = tar.extractfile(one)
            document = json.loads(file.read() if file else b"{}")
            image = document["image"]
            photo = str(PurePosixPath(one.name).with_name(PurePosixPath(image["file_name"]).name))
            for annotation in document["annotations"]:
                yield {
                    "photo": photo,
                    "height": image["height"],
                    "width": image["width"],
                    "counts": annotation["segmentation"]["counts"],
                    **annotation,
                }


FORMATS: dict[str, Callable[[Iterable[bytes]], Iterator[bytes]]] = {"tar": to_tar, "parquet": to_parquet}
"""By the endings of their files."""

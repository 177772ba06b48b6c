"""Embeddings as files: a photo is encoded once, and prompted on another day, or where its pixels never go.

One .npz, which numpy alone can read: `embedding` (1, C, S/16, S/16) float16; `height`, `width` and `name` of the
photo; the sha256 of its pixels (`photo`); the config of the model as JSON (`model`). Any engine may use what
another one has saved. Half precision halves the file; masks differ in a few pixels along their borders, if at all.
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketsam.config import FLOATS, LARGEST_CHANNELS, LARGEST_SIZE, ModelConfig
from pocketsam.errors import InputError
from pocketsam.predict.image import MAX_PIXELS
from pocketsam.utils.files import write

LARGEST = 2 * LARGEST_CHANNELS * (LARGEST_SIZE // 16) ** 2 + 4096
"""Bytes of the embedding of the largest model, and of its header."""

SHAPED_BY = ("image_size", "resize", "resampling", "mean", "std")
"""The fields of a config that, beside the weights and whether they are quantised, an embedding depends on."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """The embedding of a photo of `height` × `width` pixels, with digests of the photo and of the model.

    values: float32 (1, C, S/16, S/16). name: the photo's file name. photo: sha256 of its pixels.
    """

    values: NDArray[np.float32]
    height: int
    width: int
    name: str
    photo: str
    model: ModelConfig

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises InputError when that cannot be done."""
        write(path, self.encode(path))

    def encode(self, file_name: str | Path) -> bytes:
        """The content of a file of this name. Raises InputError for NaN, and for numbers beyond float16."""
        with np.errstate(over="ignore"):
            halved = self.values.astype(np.float16)
        if not np.isfinite(halved).all():
            raise InputError(f"{file_name}: not written; this embedding holds NaN, or numbers beyond float16")
        file = BytesIO()
        np.savez(
            file,
            embedding=halved,
            height=np.int64(self.height),
            width=np.int64(self.width),
            name=np.str_(self.name),
            photo=np.str_(self.photo),
            model=np.str_(self.model.to_json()),
        )
        return file.getvalue()


def load_embedding(path: Path, model: ModelConfig) -> Embedding:
    """The embedding in a file, which `model` must have made.

    Raises InputError when the file is missing, damaged or of another model.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    try:
        embedding = _read(path)
    except Exception as error:  # a damaged or foreign file can fail anywhere in the readers of numpy and zip
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: is damaged, or not what save_embedding writes ({reason}); save it again"
        ) from error
    if not _same_model(embedding.model, model):
        raise InputError(
            f"{path}: was made by the model {_mark(embedding.model)}, not by {_mark(model)};"
            " use that model, or save it again with this one"
        )
    _check_values(path, embedding.values, model)
    return embedding


def check_photo(path: Path, embedding: Embedding, image: NDArray[np.uint8], name: str) -> None:
    """Raises InputError unless the embedding in `path` was made of this photo, uint8 (H, W, 3)."""
    mark = photo_mark(image)
    if (embedding.photo, embedding.height, embedding.width) == (mark, *image.shape[:2]):
        return
    raise InputError(
        f"{path}: was made of another photo, {embedding.name} {embedding.photo[:12]}, not of {name} {mark[:12]};"
        " open that photo, or save it again with this one"
    )


def photo_mark(image: NDArray[np.uint8]) -> str:
    """The sha256 of a photo's pixels, row by row, uint8 RGB, upright."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()


def _read(path: Path) -> Embedding:
    with np.load(path, allow_pickle=False) as file:
        if any(member.file_size > LARGEST for member in file.zip.infolist()):
            raise ValueError("it unpacks to more than any embedding")
        values, height, width = file["embedding"], int(file["height"]), int(file["width"])
        name, photo, model = (str(file[key]) for key in ("name", "photo", "model"))
    if values.dtype != np.float16:
        raise ValueError(f"it holds {values.dtype}, not float16")
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"its photo is said to be {width} × {height} pixels")
    return Embedding(values.astype(np.float32), height, width, name, photo, ModelConfig.from_json(model))


def _check_values(path: Path, values: NDArray[np.float32], model: ModelConfig) -> None:
    side = model.embedding_size
    shape = (1, model.embedding_channels, side, side)
    if values.shape != shape:
        raise InputError(f"{path}: has the shape {values.shape}, this model's is {shape}; save it again")
    if not np.isfinite(values).all():
        raise InputError(f"{path}: holds NaN or infinite numbers; save it again")


def _same_model(a: ModelConfig, b: ModelConfig) -> bool:
    """Whether two models make the same embeddings; without a digest of its weights a model is known by its name.

    The same but for rounding: files in float16 and float32 are of one model, but a quantised one is another.
    """
    if a.numerics != b.numerics and not {a.numerics, b.numerics} <= set(FLOATS):
        return False
    known_by = "weights" if a.weights and b.weights else "name"
    return all(getattr(a, field) == getattr(b, field) for field in (known_by, *SHAPED_BY))


def _mark(model: ModelConfig) -> str:
    """A model's name, a short mark of all that is known of it and, of a quantised one, its numerics."""
    numerics = "" if model.numerics in FLOATS else f" ({model.numerics})"
    return f"{model.name} {hashlib.sha256(model.to_json().encode()).hexdigest()[:12]}{numerics}"

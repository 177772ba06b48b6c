"""Whose embeddings a store holds: all that they depend on, beside the photos."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from pocketsam.config import ModelConfig
from pocketsam.errors import DataError, InputError

VERSION = 1
BITS = (16, 8)
EMBEDDING_STRIDE = 16
"""Stride of the embedding, in pixels of the model's input."""

SIGNATURE_FILE = "store.json"


@dataclass(frozen=True)
class Signature:
    """All that embeddings depend on, beside the photo. `name` is for messages: two that differ only in it are equal.

    weights: sha256 of the teacher's; for an engine that has none, its name stands for it. numerics: how the numbers
    of the weights were rounded. bits: of each stored number. precision: of the arithmetic that computed it.
    """

    name: str = field(compare=False)
    weights: str
    numerics: str
    image_size: int
    resize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resampling: str
    embedding_channels: int
    bits: int
    precision: str = "float32"

    @classmethod
    def of(cls, config: ModelConfig, bits: int, precision: str = "float32") -> "Signature":
        """The signature of a teacher's embeddings. Raises InputError unless bits is 16 or 8."""
        if bits not in BITS:
            raise InputError(f"bits is {bits}; an embedding is stored with 16 or 8")
        about = {name: getattr(config, name) for name in _OF_TEACHER}
        return cls(**{**about, "weights": config.weights or config.name}, bits=bits, precision=precision)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one embedding: (C, g, g)."""
        side = self.image_size // EMBEDDING_STRIDE
        return self.embedding_channels, side, side

    def __str__(self) -> str:
        known = "" if self.weights == self.name else f" (weights {self.weights[:8]})"
        size = f"{self.image_size} × {self.image_size}"
        rounded = "" if self.numerics == "float32" else f", weights in {self.numerics}"
        computed = "" if self.precision == "float32" else f", computed in {self.precision}"
        return f"{self.name}{known} at {size}, {self.resize}{rounded}{computed}, {self.bits} bits"

    def to_json(self) -> bytes:
        """What store.json holds."""
        teacher = {name: value for name, value in asdict(self).items() if name in _OF_TEACHER}
        stored = {"version": VERSION, "bits": self.bits, "precision": self.precision, "teacher": teacher}
        return json.dumps(stored, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Signature":
        """The signature that `to_json` wrote. Raises ValueError where it is none, or of another version."""
        values = json.loads(text)
        if not isinstance(values, dict) or "version" not in values:
            raise ValueError("it is another file")
        if values["version"] != VERSION:
            raise ValueError(f"it is of version {values['version']}, this PocketSAM reads {VERSION}")
        try:
            teacher = ModelConfig.from_json(json.dumps(values["teacher"]))
            return cls.of(teacher, values["bits"], str(values["precision"]))
        except (KeyError, InputError) as error:
            raise ValueError(str(error)) from error


_OF_TEACHER = tuple(one.name for one in fields(Signature) if one.name not in ("bits", "precision"))


def check_same(path: Path, stored: Signature, wanted: Signature) -> None:
    """Raises DataError, with both signatures, unless they are equal. path: of the store."""
    if stored == wanted:
        return
    compared = [one.name for one in fields(Signature) if one.compare]
    differ = ", ".join(name for name in compared if getattr(stored, name) != getattr(wanted, name))
    raise DataError(
        f"{path}: holds embeddings of {stored}, not of {wanted}; they differ in: {differ};"
        " use what it was made with, or another store"
    )


def read_signature(path: Path) -> Signature:
    """Whose embeddings the store holds. Raises DataError when there is no store, or its store.json is damaged."""
    file = path / SIGNATURE_FILE
    try:
        return Signature.from_json(file.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{path}: there is no store of embeddings; run: pocketsam embed PHOTOS --teacher … -o {path}"
        ) from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{file}: cannot be used ({error}); embed again, into another folder") from error

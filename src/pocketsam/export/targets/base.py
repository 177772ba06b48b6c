"""What a target is: a place to run in, and the files that a model needs there."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from pocketsam.config import MODEL, ModelConfig
from pocketsam.utils.files import with_sizes
from pocketsam.utils.install import needing
from pocketsam.utils.options import OUTPUT, option

if TYPE_CHECKING:
    from pocketsam.export.programs import Program


class Zoo(Protocol):
    """What finds a model by its name, folder or file: `pocketsam.zoo`, which lies above this package."""

    def locate_weights(self, model: str, purpose: str) -> tuple[Path, ModelConfig | None]: ...

    def locate_onnx(self, model: str) -> Path: ...


FOLDER = option(Path, "The folder of the files.", flags=OUTPUT, metavar="FOLDER")
"""The metadata of a field that is the folder to write."""


class Target(ABC):
    """A target, a frozen dataclass whose fields are the options of its command.

    name: of its command. summary: for the list of commands. description: for its help.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    description: ClassVar[str]

    @abstractmethod
    def export(self, zoo: Zoo) -> Iterator[str]:
        """Write all files, and say where they are, in lines.

        Raises ModelError when the model cannot be used, InputError when a file cannot be written, ModuleNotFoundError
        where a package of the extra "export" is missing.
        """


@dataclass(frozen=True)
class ProgramTarget(Target):
    """A format of two files, the encoder and the decoder of `export/programs.py`, that some runtime reads.

    suffix: of its files. packages: what pip installs to write it.
    output: the folder. points: how many the decoder takes, where shapes are fixed.
    """

    suffix: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]

    output: Path
    model: str = field(default="pocket", metadata=MODEL)
    points: int = field(
        default=2,
        metadata=option(int, "The points the decoder takes, where shapes are fixed.", metavar="N", minimum=1),
    )

    @staticmethod
    @abstractmethod
    def write(program: "Program", path: Path) -> None:
        """Write a program as a file or folder. Raises ModuleNotFoundError where a package is missing."""

    def export(self, zoo: Zoo) -> Iterator[str]:
        """See `Target.export`. Raises InputError where a package is missing."""
        from pocketsam.export.programs import export_programs
        from pocketsam.models.checkpoints import load_model

        with needing(self.packages, f"exporting to {self.name}"):
            sam, config = load_model(*zoo.locate_weights(self.model, "export"))
            files = export_programs(sam, config, self.output, self.suffix, self.write, self.points)
        yield from with_sizes(files)

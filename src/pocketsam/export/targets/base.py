"""What a target is: a place to run in, and the files that a model needs there."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from pocketsam.config import ModelConfig
from pocketsam.utils.files import with_sizes
from pocketsam.utils.install import needing
from pocketsam.utils.options import OUTPUT, option
from pocketsam.utils.running import MODEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from pocketsam.export.programs import Program, Writer


class Zoo(Protocol):
    """What finds a model by its name, folder or file: `pocketsam.zoo`, which lies above this package."""

    def locate_weights(self, model: str, purpose: str) -> tuple[Path, ModelConfig | None]: ...

    def locate_onnx(self, model: str) -> Path: ...


class CalibrationImages(Protocol):
    """What reads photos to calibrate with: `data.calibration.calibration_images`, above this package, too."""

    def __call__(
        self, paths: Sequence[Path], count: int, config: ModelConfig
    ) -> "list[NDArray[np.float32]]": ...


CALIBRATION_PHOTOS = 8
"""As TinySAM takes."""

FOLDER = option(Path, "The folder of the files.", flags=OUTPUT, metavar="FOLDER")
"""The metadata of a field that is the folder to write."""


class Target(ABC):
    """A target, a frozen dataclass whose fields are the options of its command.

    name: of its command. summary: for the list of commands. description: for its help.
    output: the folder of the files.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    description: ClassVar[str]

    output: Path

    @abstractmethod
    def export(self, zoo: Zoo, read_images: CalibrationImages) -> Iterator[str]:
        """Write all files, and say where they are, in lines. read_images: reads photos to calibrate with.

        Raises ModelError when the model cannot be used, InputError when a file cannot be written, ModuleNotFoundError
        where a package of the extra "export" is missing.
        """


@dataclass(frozen=True)
class ProgramTarget(Target):
    """A format of two files, the encoder and the decoder of `export/programs.py`, that some runtime reads.

    suffix: of its files. packages: what pip installs to write it.
    points: how many the decoder takes, where shapes are fixed.
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

    def export(self, zoo: Zoo, read_images: CalibrationImages) -> Iterator[str]:
        """See `Target.export`. Raises InputError where a package is missing."""
        from pocketsam.export.programs import export_programs
        from pocketsam.models.checkpoints import load_model

        with needing(self.packages, f"exporting to {self.name}"):
            sam, config = load_model(*zoo.locate_weights(self.model, "export"))
            write = self.writer(config, read_images)
            files = export_programs(sam, config, self.output, self.suffix, write, self.points)
        yield from with_sizes(files)

    def writer(self, config: ModelConfig, read_images: CalibrationImages) -> "Writer":
        """What writes the programs of a model."""
        return self.write


@dataclass(frozen=True)
class QuantizableTarget(ProgramTarget):
    """A format whose encoder may also compute with 8-bit integers: the runtime's own library finds their scales.

    calibration: files and folders of photos; none for float32.
    """

    calibration: Sequence[Path] = field(
        default=(),
        metadata=option(
            list[Path],
            "Write the encoder in INT8, and calibrate it with these photos: a folder, tar shards or a COCO JSON."
            " May be repeated.",
            flags=("--calibrate",),
            metavar="PHOTOS",
        ),
    )

    @staticmethod
    @abstractmethod
    def write_int8(program: "Program", path: Path, images: "Sequence[Tensor]") -> None:
        """Write a program of one input, such as these, (1, 3, S, S) each. Raises as `ProgramTarget.write`."""

    def writer(self, config: ModelConfig, read_images: CalibrationImages) -> "Writer":
        """See `ProgramTarget.writer`. Raises as `read_images`."""
        if not self.calibration:
            return self.write
        import torch

        images = read_images(self.calibration, CALIBRATION_PHOTOS, config)
        return partial(self._write_mixed, images=[torch.from_numpy(image) for image in images])

    def _write_mixed(self, program: "Program", path: Path, images: "Sequence[Tensor]") -> None:
        """The encoder in INT8. The decoder stays in float32, as in the files of `pocketsam quantize`."""
        if program.name == "encoder":
            self.write_int8(program, path, images)
        else:
            self.write(program, path)

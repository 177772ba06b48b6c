"""What a target is: a format of two files that some runtime reads."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pocketsam.export.programs import Program


class Target(ABC):
    """A format.

    name: of its command. summary: for the list of commands. description: for its help. suffix: of its files.
    packages: what pip installs to write it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    description: ClassVar[str]
    suffix: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]

    @staticmethod
    @abstractmethod
    def write(program: "Program", path: Path) -> None:
        """Write a program as a file or folder. Raises ModuleNotFoundError where a package is missing."""

"""Tables of what has a file of its own in a package: an entry is FILE:CLASS, imported when it is needed."""

from importlib import import_module
from typing import Any


def load(package: str, entry: str) -> Any:
    """The class that an entry names. package: such as "pocketsam.evaluation.protocols", in which the file is."""
    file, _, name = entry.partition(":")
    return getattr(import_module(f"{package}.{file}"), name)

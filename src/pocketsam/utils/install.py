"""How to install what is missing: one wording for every hint."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from pocketsam.errors import InputError

CHECKOUT = Path(__file__).parents[3]
"""The repository, where the package runs from a checkout of it."""


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    return find_spec(package) is not None


def runs_from_checkout() -> bool:
    """Whether the package lies in a checkout of the repository, and not among installed packages."""
    return (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "src" / "pocketsam").is_dir()


def how_to_install(extra: str) -> str:
    """The command that installs an optional part of PocketSAM, such as "export"."""
    if runs_from_checkout():
        return f"pip install -e '{CHECKOUT}[{extra}]'"
    return f"pip install '.[{extra}]' in a checkout of PocketSAM's repository"


@contextmanager
def importing(extra: str, what: str) -> Iterator[None]:
    """Around imports of an optional part: a missing package ends in an InputError that says how to install it.

    what: needs the part, such as "training".
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{what} needs {error.name}; install it with: {how_to_install(extra)}") from error


@contextmanager
def needing(packages: Iterable[str], what: str) -> Iterator[None]:
    """Around imports of packages that are no part of an extra, as they are large or for few: see `importing`."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{what} needs {error.name}; install it with: pip install {' '.join(packages)}"
        ) from error

"""`install`: pocketsam.compat under the published packages' names, for code that cannot be edited."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = "pocketsam.compat"
NAMES = ("segment_anything", "mobile_sam")


def install(names: Sequence[str] = NAMES) -> None:
    """Make `import segment_anything`, and `mobile_sam`, give this package, with all its submodules.

    Call it before anything imports them. The installed package of that name, if there is one, is left out.
    Raises ImportError where it is imported already.
    """
    for name in names:
        there = sys.modules.get(name)
        if there is not None and there.__name__ != PACKAGE:
            raise ImportError(f"{name} is imported already: call pocketsam.compat.install() before that")
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    sys.meta_path.insert(0, _Finder(names))


class _Finder(MetaPathFinder, Loader):
    """Finds segment_anything.X as pocketsam.compat.X: the same module, under a second name."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self.names:
            return None
        try:
            module = import_module(_ours(fullname))
        except ModuleNotFoundError as error:
            if error.name != _ours(fullname):
                raise  # it is there, but needs PyTorch
            return None
        is_package = hasattr(module, "__path__")
        return ModuleSpec(fullname, self, loader_state=module.__spec__, is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return import_module(_ours(spec.name))

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None and module.__spec__.loader is self:
            # The import has replaced that of the module's first name.
            module.__spec__ = module.__spec__.loader_state


def _ours(fullname: str) -> str:
    _, dot, rest = fullname.partition(".")
    return f"{PACKAGE}{dot}{rest}"

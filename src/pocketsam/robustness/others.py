"""Other models that a study compares with: the option that names them, and opening each once in a process."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from pocketsam.evaluation.protocol import EvaluationProtocol, OpenModel
from pocketsam.segmenter import Segmenter
from pocketsam.utils.install import importing
from pocketsam.utils.options import Option, option

Others: TypeAlias = Mapping[str, OpenModel]
"""What opens each of some models, by name."""


def against_option(help: str) -> dict[str, Option]:
    """The metadata of the field for the other models, an `Others`."""
    return option(type=list[str], help=f"{help}; may be repeated.", metavar="MODEL", names_model=True)


def openers(names: Iterable[str] | None, open_model: Callable[[str], OpenModel]) -> Others:
    """What opens the models of these names."""
    return {name: open_model(name) for name in names or ()}


def surrogate_option() -> dict[str, Option]:
    """The metadata of the field for the model whose gradients a study uses, an `OpenModel`."""
    return option(
        type=str,
        help="The model whose gradients are used, with PyTorch; the measured one, if not given.",
        metavar="MODEL",
        names_model=True,
    )


def with_gradients(
    study: type[EvaluationProtocol], settings: Mapping[str, Any], open_model: Callable[[str], OpenModel]
) -> dict[str, Any]:
    """The settings of a study that attacks, with what opens its `surrogate` and the models that it is `against`.

    Raises InputError without PyTorch.
    """
    with importing("export", "attacking"):
        import torch  # noqa: F401
    surrogate = settings.get("surrogate")
    return {
        **settings,
        "surrogate": study.opener(surrogate, engine="torch") if surrogate else None,
        "against": openers(settings.get("against"), open_model),
    }


@lru_cache(maxsize=8)
def opened(opener: OpenModel) -> Segmenter:
    """A model, opened once in each process."""
    segmenter: Segmenter = opener()
    return segmenter


def each_opened(others: Others | None) -> dict[str, Segmenter]:
    """The other models, ready to be measured, by name."""
    return {name: opened(opener) for name, opener in (others or {}).items()}

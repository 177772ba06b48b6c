"""Other models that a study compares with: the option that names them, and opening each once in a process."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TypeAlias

from pocketsam.evaluation.protocol import EvaluationProtocol, OpenModel
from pocketsam.segmenter import Segmenter
from pocketsam.utils.options import Option, option

Others: TypeAlias = Mapping[str, OpenModel]
"""What opens each of some models, by name."""


def against_option(help: str) -> dict[str, Option]:
    """The metadata of the field for the other models, an `Others`."""
    return option(type=list[str], help=f"{help}; may be repeated.", metavar="MODEL", names_model=True)


def openers(names: Iterable[str] | None, open_model: Callable[[str], OpenModel]) -> Others:
    """What opens the models of these names."""
    return {name: open_model(name) for name in names or ()}


def opener_of_gradients(study: type[EvaluationProtocol], model: str | None) -> OpenModel | None:
    """What opens the model whose gradients a study uses, with PyTorch; None where none is named."""
    return study.opener(model, engine="torch") if model else None


@lru_cache(maxsize=8)
def opened(opener: OpenModel) -> Segmenter:
    """A model, opened once in each process."""
    segmenter: Segmenter = opener()
    return segmenter


def each_opened(others: Others | None) -> dict[str, Segmenter]:
    """The other models, ready to be measured, by name."""
    return {name: opened(opener) for name, opener in (others or {}).items()}

"""What every engine that runs ONNX files shares: a model folder's graphs, opened and checked.

All graphs of a folder carry the same `ModelConfig` in their metadata.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from pocketsam.config import ModelConfig
from pocketsam.errors import ModelError
from pocketsam.graphs import GRAPHS, ONNX_FILES

T = TypeVar("T")


class Contents(NamedTuple):
    """What an ONNX file says of itself: the names of its inputs and outputs, and its config as JSON."""

    inputs: list[str]
    outputs: list[str]
    config: str | None


def open_folder(
    folder: Path, open_file: Callable[[Path], tuple[T, Contents]]
) -> tuple[dict[str, T], ModelConfig]:
    """The graphs in `folder` by their names, as `open_file` gives them, and the model's config.

    open_file: may raise anything for a file that it cannot read.
    Raises ModelError when a file is missing, damaged or foreign, and when they are of different models.
    """
    opened = {name: _open(folder / f"{name}.onnx", open_file) for name in GRAPHS}
    descriptions = {config for _, config in opened.values()}
    if len(descriptions) > 1:
        raise ModelError(f"{folder}: its ONNX files are of different models; take all of them from one")
    return {name: graph for name, (graph, _) in opened.items()}, descriptions.pop()


def _open(path: Path, open_file: Callable[[Path], tuple[T, Contents]]) -> tuple[T, ModelConfig]:
    if not path.is_file():
        if (path.parent / "decoder.onnx").is_file():
            raise ModelError(
                f"{path}: is missing; {path.parent} was exported by an earlier PocketSAM: export the model again"
            )
        raise ModelError(f"{path}: is missing; a model folder holds {', '.join(ONNX_FILES)}")
    try:
        opened, (inputs, outputs, text) = open_file(path)
    except Exception as error:  # the runtimes' exceptions have no common base
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path}: is damaged or not an ONNX model ({reason}); get the file again, or convert the model again"
        ) from error
    if text is None or (inputs, outputs) != GRAPHS[path.stem]:
        raise ModelError(f"{path}: is not the {path.stem} of a PocketSAM model; export it with PocketSAM")
    try:
        return opened, ModelConfig.from_json(text)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: has an invalid config ({error}); export the model again") from error

"""What every engine that runs ONNX files shares: a model folder's graphs, opened and checked.

All graphs of a folder carry the same `ModelConfig` in their metadata.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from pocketsam.config import METADATA_KEY, ModelConfig
from pocketsam.errors import ModelError
from pocketsam.graphs import (
    ALL_GRAPHS,
    ENCODER,
    GRAPHS,
    INT8_ENCODER,
    ONNX_FILES,
    VERSION,
    VERSION_KEY,
    GraphSpec,
)

T = TypeVar("T")


class Contents(NamedTuple):
    """What an ONNX file says of itself: the names of its inputs and outputs, and its metadata."""

    inputs: list[str]
    outputs: list[str]
    metadata: Mapping[str, str]


def open_folder(
    folder: Path,
    open_file: Callable[[Path], tuple[T, Contents]],
    names: Iterable[str] = tuple(GRAPHS),
    int8: bool = False,
) -> tuple[dict[str, T], ModelConfig]:
    """The graphs in `folder` by their names, as `open_file` gives them, and the model's config.

    Each is opened in a thread of its own: runtimes leave Python's lock while they optimise a graph.
    open_file: may raise anything for a file that it cannot read. names: of the graphs that are needed. int8: take the
    encoder that computes with integers; the config then has its numerics.
    Raises ModelError when a file is missing, damaged or foreign, and when they are of different models.
    """
    files = {name: INT8_ENCODER if int8 and name == ENCODER else f"{name}.onnx" for name in names}
    with ThreadPoolExecutor() as pool:
        graphs = pool.map(lambda name: _open(name, folder / files[name], open_file), files)
        opened = dict(zip(files, graphs, strict=True))
    configs = [config for _, config in opened.values()]
    if len({replace(config, numerics="") if int8 else config for config in configs}) > 1:
        raise ModelError(f"{folder}: its ONNX files are of different models; take all of them from one")
    config = opened[ENCODER][1] if int8 and ENCODER in opened else configs[0]
    return {name: graph for name, (graph, _) in opened.items()}, config


def _open(name: str, path: Path, open_file: Callable[[Path], tuple[T, Contents]]) -> tuple[T, ModelConfig]:
    if not path.is_file():
        raise ModelError(f"{path}: is missing; a model folder holds {', '.join(ONNX_FILES)}")
    try:
        opened, contents = open_file(path)
    except Exception as error:  # the runtimes' exceptions have no common base
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path}: is damaged or not an ONNX model ({reason}); get the file again, or convert the model again"
        ) from error
    return opened, _check(ALL_GRAPHS[name], path, contents)


def _check(graph: GraphSpec, path: Path, contents: Contents) -> ModelConfig:
    """The config that a file carries. Raises ModelError unless it is the graph that its name says."""
    text = contents.metadata.get(METADATA_KEY)
    version = contents.metadata.get(VERSION_KEY, "")
    if text is not None and version != str(VERSION):
        raise ModelError(
            f"{path}: was exported for version {version or 'none'} of the graphs, and this PocketSAM runs version"
            f" {VERSION}; export the model again"
        )
    if text is None or (contents.inputs, contents.outputs) != (graph.input_names, graph.output_names):
        raise ModelError(f"{path}: is not the {graph.name} of a PocketSAM model; export it with PocketSAM")
    try:
        return ModelConfig.from_json(text)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: has an invalid config ({error}); export the model again") from error

"""What the benchmarks of everything mode share: models, measurements that are kept, and the page's sections.

Single measurements are kept in out/everything. What is there already, of the same weights, settings and image, is not
measured again: remove it to begin afresh.
"""

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pocketsam import Segmenter
from pocketsam.config import ModelConfig
from pocketsam.data.datasets import open_dataset
from pocketsam.engines import Engine, PreparedImage
from pocketsam.predict.image import PHOTO_ENDINGS, load_image
from pocketsam.segmenter import Photo
from pocketsam.utils.files import write
from pocketsam.zoo import locate

if TYPE_CHECKING:
    from pocketsam.models.sam import Sam

ROOT = Path(__file__).parents[1]
OUT = Path("out/everything")
POCKET = ROOT / "checkpoints/pocket/model.safetensors"
SECTION = "<!-- written by: python benchmarks/{} -->"
SECTIONS = (
    "everything_speed.py",
    "everything_quality.py",
    "everything_quality.py --model mobile_sam",
    "everything_memory.py",
    "everything_gpu.py",
)
"""The page's sections, by the command that writes them, in their order."""

Page = Annotated[Path, typer.Option("-o", "--output", help="The page to write the section into.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads.")]
PredIou = Annotated[
    float | None, typer.Option("--pred-iou-thresh", help="Of all; the model's own if not given.")
]
Stability = Annotated[
    float | None, typer.Option("--stability-score-thresh", help="Of all; the model's own if not given.")
]


def weights_of(model: str) -> Path:
    """The checkpoint of a model: of `pocket` the one it was exported from; a name's file, a folder or a file."""
    path = POCKET if model == "pocket" else locate(model)[0]
    return path / POCKET.name if path.is_dir() else path


def read_photos(paths: Sequence[Path], count: int) -> dict[str, NDArray[np.uint8]]:
    """Photos by name: the files given or, of data, so many of the first ones."""
    if all(path.suffix.lower() in PHOTO_ENDINGS for path in paths):
        return {path.stem: load_image(path) for path in paths}
    dataset = open_dataset(paths)
    samples = (dataset.read(i) for i in range(min(count, len(dataset))))
    return {sample.name: sample.image for sample in samples}


@cache
def open_weights(path: Path) -> "tuple[Sam, ModelConfig]":
    from pocketsam.models.checkpoints import load_model

    return load_model(path, locate(path)[1])


@cache
def open_segmenter(path: Path, engine: str, precision: str, threads: int) -> Segmenter:
    return Segmenter(path, engine, precision=precision, threads=threads)


def chosen_thresholds(
    config: ModelConfig, pred_iou_thresh: float | None, stability_score_thresh: float | None
) -> dict[str, float]:
    """Those that are given, and the model's own in place of the others."""
    own = {
        "pred_iou_thresh": config.pred_iou_thresh,
        "stability_score_thresh": config.stability_score_thresh,
    }
    given = {"pred_iou_thresh": pred_iou_thresh, "stability_score_thresh": stability_score_thresh}
    return {name: own[name] if value is None else value for name, value in given.items()}


def grid_name(hierarchical: bool) -> str:
    """Which of the grid's points are prompts, for tables."""
    return "hierarchical" if hierarchical else "all"


def warm_up(photo: Photo) -> None:
    """Some engines make themselves ready when they are first used."""
    photo.everything(points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0)


def decode_all(
    engine: Engine, prepared: PreparedImage, points: NDArray[np.float32], labels: NDArray[np.int32]
) -> None:
    """All masks of N prompts."""
    engine.decode_masks(engine.predict_iou(prepared, points, labels), range(len(points)))


def timed(call: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    start = perf_counter()
    call()
    return perf_counter() - start


def kept(file: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What lies in a file already or, where there is none, is measured now and put there."""
    if not file.exists():
        write(file, json.dumps(measure()).encode())
    return dict(json.loads(file.read_text()))


def digest_of(settings: object) -> str:
    """By which measurements know their settings."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:12]


@contextmanager
def progress() -> Iterator[Progress]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield bar


def publish(page: Path, section: str, text: str) -> None:
    """Print a section, and put it in its place on the page; the others stay as they are."""
    print(text)
    former = page.read_text() if page.exists() else ""
    sections = dict(
        re.findall(
            SECTION.format("(everything_.*?)") + r"\n+(.*?)\s*(?=<!-- written by|\Z)", former, re.DOTALL
        )
    )
    sections[section] = text.strip()
    order = [*SECTIONS, *(name for name in sections if name not in SECTIONS)]
    parts = [f"{SECTION.format(name)}\n\n{sections[name]}\n" for name in order if name in sections]
    before = former.split("<!-- written by")[0].strip() or "# Everything mode, measured"
    write(page, "\n".join([f"{before}\n", *parts]).encode())


def machine(threads: int) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "openvino"))
    return (
        f"{threads} threads of {os.cpu_count()} {platform.machine()} cores; {packages};"
        f" Python {platform.python_version()}"
    )

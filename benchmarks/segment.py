"""How long does it take to get a mask? Run: python benchmarks/segment.py

Two kinds of time, all measured in this one run, each the median of several after a warm-up:
whole processes, from their start to the files written, and prompts inside a process. Run nothing beside it.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pocketsam import Segmenter
from pocketsam.predict.image import load_image, preprocess
from pocketsam.zoo import locate, model_files

SAMPLE = Path(__file__).parent.parent / "samples" / "sneakers.jpg"
COMMAND = [sys.executable, "-c", "from pocketsam.__main__ import main; main()"]


def main(
    photo: Annotated[Path, typer.Argument(help="The photo to segment.")] = SAMPLE,
    box: Annotated[str, typer.Option(help="X0,Y0,X1,Y1; the middle half of the photo if not given.")] = "",
    model: Annotated[str, typer.Option(help="A model's name, or its folder.")] = "pocket",
    engine: Annotated[str, typer.Option(help="onnx is what a plain installation has.")] = "onnx",
    precision: Annotated[str, typer.Option(help="As of `pocketsam segment`.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all if not given.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Measured runs of each.")] = 7,
) -> None:
    height, width = load_image(photo).shape[:2]
    corners = (
        [float(x) for x in box.split(",")] if box else [width / 4, height / 4, width * 3 / 4, height * 3 / 4]
    )
    segmenter = Segmenter(model, engine, precision=precision, threads=threads)
    pixels = preprocess(load_image(photo), segmenter.engine.config)
    opened = segmenter.open(photo)

    rows = {
        "pocketsam --help, the process": measure(lambda: run(["--help"]), runs),
        "pocketsam segment, the process": measure(
            lambda: segment_process(photo, corners, model, engine, precision, threads), runs
        ),
        "load the model": measure(
            lambda: Segmenter(model, engine, precision=precision, threads=threads), runs
        ),
        "the image encoder": measure(lambda: segmenter.engine.encode(pixels), runs),
        "first prompt: open + segment": measure(
            lambda: segmenter.open(photo).segment(boxes=corners).binary, runs
        ),
        "next prompt on the same photo": measure(lambda: opened.segment(boxes=corners).binary, runs),
    }
    first, following = (statistics.median(rows[name]) for name in list(rows)[-2:])

    table = Table("", "median, ms", "fastest", "slowest", title=f"{runs} runs each", title_justify="left")
    for name, seconds in rows.items():
        numbers = statistics.median(seconds), min(seconds), max(seconds)
        table.add_row(name, *(f"{1000 * number:.1f}" for number in numbers))
    console = Console()
    console.print(
        f"{photo.name}, {width} × {height} pixels; {about(model, segmenter, threads)}", soft_wrap=True
    )
    console.print(table)
    console.print(f"The next prompt takes 1/{first / following:.1f} of the first.")


def measure(job: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of `runs` calls, after one that does not count."""
    job()
    seconds = []
    for _ in range(runs):
        start = perf_counter()
        job()
        seconds.append(perf_counter() - start)
    return seconds


def run(arguments: list[str]) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"pocketsam {' '.join(arguments)} failed: {done.stderr}")


def segment_process(
    photo: Path, corners: list[float], model: str, engine: str, precision: str, threads: int | None
) -> None:
    """`pocketsam segment` into a folder of its own: the overlay and the COCO JSON, as a user gets them."""
    box = ",".join(f"{x:g}" for x in corners)
    with tempfile.TemporaryDirectory() as folder:
        options = ["--box", box, "--model", model, "--engine", engine, "--precision", precision, "-o", folder]
        run(["segment", str(photo), *options, *(["--threads", str(threads)] if threads else [])])
        if len(list(Path(folder).iterdir())) != 2:
            sys.exit("pocketsam segment did not write its two files")


def about(model: str, segmenter: Segmenter, threads: int | None) -> str:
    path, _ = locate(model)
    megabytes = sum(file.stat().st_size for file in (model_files(path) if path.is_dir() else [path])) / 1e6
    info = segmenter.engine.info
    return (
        f"model {model}, {megabytes:.1f} MB, engine {info.name}, {info.numerics}; {threads or 'all'} threads of"
        f" {os.cpu_count()} cores, {platform.machine()}; Python {platform.python_version()}, ONNX Runtime"
        f" {version('onnxruntime')}"
    )


if __name__ == "__main__":
    typer.run(main)

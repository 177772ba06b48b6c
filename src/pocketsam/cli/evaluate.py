"""`pocketsam evaluate`: mean IoU of a model on photos with masks, for a box, one click and three clicks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pocketsam.evaluation.clicks import Result
    from pocketsam.segmenter import Segmenter


def evaluate(
    shards: Annotated[
        list[Path],
        typer.Argument(help="Tar shards, or folders of NAME.jpg beside NAME.json.", metavar="SHARD..."),
    ],
    model: Annotated[str, typer.Option(help="A model's name, its folder, or a checkpoint file.")] = "pocket",
    engine: Annotated[str, typer.Option(help="auto, onnx, openvino or torch.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many photos.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the clicks.")] = 0,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Where the result goes, as JSON.", metavar="RESULT.json"),
    ] = Path("evaluation.json"),
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all, if not given.")] = None,
) -> None:
    """Measure a model: mean IoU for a box, one click, three clicks."""
    from rich.console import Console

    from pocketsam.errors import InputError
    from pocketsam.files import check_writable, write
    from pocketsam.segmenter import Segmenter

    check_writable(output.parent, missing=True)
    if output.is_dir():
        raise InputError(f"{output}: is a folder; name a file in it, such as {output / 'evaluation.json'}")
    segmenter = Segmenter(model, engine, device=device, precision=precision, threads=threads)
    result = _measure(segmenter, shards, limit, seed)
    if not result.overall.masks:
        raise InputError(f"{', '.join(map(str, shards))}: no masks to measure on")

    console = Console()
    console.print(result.table())
    if empty := result.overall.empty:
        console.print(f"{empty} true {'mask has' if empty == 1 else 'masks have'} no pixels: left out.")
    record = _record(result, segmenter, model, shards, limit, seed) | {
        "device": device,
        "precision": precision,
    }
    write(output, (json.dumps(record, indent=2) + "\n").encode())
    console.print(f"Written to {output}", soft_wrap=True)


def _measure(segmenter: Segmenter, shards: list[Path], limit: int | None, seed: int) -> Result:
    """Run the protocol under a progress bar that shows the means so far."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from pocketsam.data.sa1b import Shards
    from pocketsam.evaluation.clicks import PROMPTS
    from pocketsam.evaluation.clicks import evaluate as run

    data = Shards(shards)
    photos = len(data) if limit is None else min(limit, len(data))
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("photos", total=photos)

        def show(result: Result) -> None:
            means = "  ".join(
                f"{prompt} {mean}" for prompt, mean in zip(PROMPTS, result.overall.percent, strict=True)
            )
            progress.update(task, advance=1, description=means)

        return run(segmenter, map(data.read, range(photos)), seed, show)


def _record(
    result: Result, segmenter: Segmenter, model: str, shards: list[Path], limit: int | None, seed: int
) -> dict[str, Any]:
    """The result and all that determines it."""
    from dataclasses import asdict

    from pocketsam.evaluation.provenance import fingerprint, versions
    from pocketsam.zoo import locate, model_files

    path, _ = locate(model)
    files = model_files(path) if path.is_dir() else [path]
    return {
        "protocol": "box, 1 click, 3 clicks (EfficientSAM, arXiv 2312.00863, Table 4)",
        **result.to_dict(),
        "model": {
            "name": model,
            "description": asdict(segmenter.engine.description),
            "files": [fingerprint(file) for file in files],
        },
        "engine": type(segmenter.engine).__name__,
        "seed": seed,
        "limit": limit,
        "data": [fingerprint(shard) for shard in shards],
        "versions": versions(),
    }

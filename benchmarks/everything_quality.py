"""How good everything mode is: average recall against seconds, by the density of the grid and by the hierarchy.

Run: python benchmarks/everything_quality.py val-000.tar -o docs/everything.md
"""

import json
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any, TypeAlias

import numpy as np
import typer
from everything_common import (
    OUT,
    Page,
    PredIou,
    Stability,
    Threads,
    chosen_thresholds,
    digest_of,
    kept,
    machine,
    open_weights,
    progress,
    publish,
    timed,
    warm_up,
    weights_of,
)
from numpy.typing import NDArray

from pocketsam import Segmenter
from pocketsam.data.datasets import open_dataset
from pocketsam.data.sample import Dataset
from pocketsam.evaluation.protocols.proposals import BEST, Everything
from pocketsam.evaluation.results import PhotoResult, Table, percent
from pocketsam.evaluation.session import run
from pocketsam.segmenter import Photo
from pocketsam.utils.files import write
from pocketsam.utils.journal import Journal

# Points a side, of grids that are prompted whole and of hierarchies, and these' confident logits.
GRIDS = (16, 24, 32)
HIERARCHIES = (16, 24, 32)
TAUS = (0.0, 3.0, 9.0)


def main(
    data: Annotated[list[Path], typer.Argument(help="Photos with masks, such as a shard.")],
    output: Page = Path("everything.md"),
    count: Annotated[int, typer.Option("--photos", min=1, help="So many of the data's first photos.")] = 40,
    model: Annotated[str, typer.Option(help="A name, folder or checkpoint.")] = "pocket",
    engine: Annotated[str, typer.Option(help="auto, onnx, openvino or torch.")] = "auto",
    precisions: Annotated[
        list[str] | None, typer.Option("--precision", help="float32, bfloat16; the first if not given.")
    ] = None,
    threads: Threads = 2,
    grids: Annotated[list[int] | None, typer.Option("--grid", help="Points a side, of whole grids.")] = None,
    hierarchies: Annotated[list[int] | None, typer.Option("--hierarchy", help="Points a side.")] = None,
    taus: Annotated[list[float] | None, typer.Option("--tau", help="Of the hierarchies.")] = None,
    pred_iou_thresh: PredIou = None,
    stability_score_thresh: Stability = None,
) -> None:
    """Average recall and mean best IoU against seconds a photo, by the density of the clicks."""
    dataset = open_dataset(data)
    count = min(count, len(dataset))
    config = open_weights(weights_of(model))[1]
    thresholds = chosen_thresholds(config, pred_iou_thresh, stability_score_thresh)
    settings = {
        ("all", side): Everything(points_per_side=side, hierarchical=False, **thresholds)
        for side in grids or GRIDS
    }
    for tau, side in product(taus or TAUS, hierarchies or HIERARCHIES):
        settings[f"hierarchical, τ = {tau:g}", side] = Everything(
            points_per_side=side, hierarchical=True, confident_logit=tau, **thresholds
        )
    rows: QualityRows = {}
    for precision in precisions or ["float32"]:
        segmenter = Segmenter(weights_of(model), engine, precision=precision, threads=threads)
        encoding = encoder_seconds(dataset, segmenter, precision)
        results = measure_quality(dataset, segmenter, precision, list(settings.values()), count)
        for (way, side), setting, found in zip(settings, settings.values(), results, strict=True):
            rows[precision, way, side] = quality_row(setting, found, encoding)
    picture = (
        "pictures/everything/quality.png"
        if config.name == "pocket"
        else f"pictures/everything/{config.name}.png"
    )
    write(
        OUT / f"quality-{config.name}.json",
        json.dumps([[*name, row] for name, row in rows.items()], indent=1).encode(),
    )
    write(output.parent / picture, quality_picture(rows))
    over, stable = thresholds.values()
    publish(
        output,
        "everything_quality.py" + (f" --model {config.name}" if config.name != "pocket" else ""),
        f"## Quality against time: `{config.name}`\n\nEngine {engine}, on the first {count} photos of"
        f" {', '.join(path.name for path in data)}. {machine(threads)}. Average recall as in SAM's section 7.3, best"
        f" IoU as in TinySAM's everything mode ([what they are](how-to/evaluate.md)). Predicted IoU over {over:g},"
        f" stability from {stable:g} on. Seconds are means, the encoder's among them. τ is the logit"
        " from which on a pixel is certain, and needs no further point.\n\n"
        f"{quality_table(rows).markdown()}\n![Quality against time]({picture})\n",
    )


QualityRows: TypeAlias = dict[tuple[str, str, int], dict[str, float]]
"""Precision, grid, points a side: the figures."""


def encoder_seconds(dataset: Dataset, segmenter: Segmenter, precision: str) -> float:
    name = digest_of((segmenter.engine.config, type(segmenter.engine).__name__, precision))
    file = OUT / "quality" / f"encoder-{name}.json"
    return kept(file, partial(time_encoding, dataset, segmenter))["seconds"]


class OpenedOnce:
    """A segmenter that keeps the photo it has opened last, so that a setting costs its prompts only."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter, self.batch = segmenter, segmenter.batch
        self.image = np.zeros((0, 0, 3), np.uint8)

    def at(self, image: NDArray[np.uint8]) -> "OpenedOnce":
        """With this photo open, and an engine that is warmed up on it."""
        if not np.array_equal(image, self.image):
            self.image, self.photo = image, self.segmenter.open(image)
            warm_up(self.photo)
        return self

    def open(self, image: NDArray[np.uint8]) -> Photo:
        return self.at(image).photo


def measure_quality(
    dataset: Dataset, segmenter: Segmenter, precision: str, settings: Sequence[Everything], count: int
) -> list[list[PhotoResult]]:
    """The results of each setting; they take turns, photo by photo."""
    once, weights = OpenedOnce(segmenter), segmenter.engine.config.weights
    engine = type(segmenter.engine).__name__, precision
    marks = [digest_of((setting, weights, *engine)) for setting in settings]
    journals = [Journal(OUT / "quality" / f"{name}.jsonl", {"digest": name}) for name in marks]
    found: list[list[PhotoResult]] = [[] for _ in settings]

    with progress() as bar:
        steps = bar.add_task("settings × photos", total=len(settings) * count)
        for photo, (i, setting) in product(range(count), enumerate(settings)):
            # Called only if there is something to measure.
            opened: Any = lambda photo=photo: once.at(dataset.read(photo).image)  # noqa: E731
            found[i] += run(setting, dataset, opened, photos=[photo], journal=journals[i])
            bar.advance(steps)
    return found


def quality_row(setting: Everything, results: Sequence[PhotoResult], encoding: float) -> dict[str, float]:
    numbers = setting.summarise(results).numbers
    return {
        "AR@1000": numbers["AR@1000"],
        BEST: numbers["mean_iou"][BEST],
        "masks": numbers["masks_per_photo"],
        "seconds": encoding + mean(result.facts["seconds"] for result in results if result.facts),
    }


def quality_table(rows: QualityRows) -> Table:
    lines = [
        [
            precision,
            way,
            str(side),
            *(percent(row[name]) for name in ("AR@1000", BEST)),
            f"{row['masks']:.1f}",
            f"{row['seconds']:.2f}",
        ]
        for (precision, way, side), row in rows.items()
    ]
    headings = [
        "precision",
        "clicks",
        "points a side",
        "AR@1000, %",
        "best IoU, %",
        "masks a photo",
        "s a photo",
    ]
    return Table("Everything as proposals", headings, lines)


def time_encoding(dataset: Dataset, segmenter: Segmenter) -> dict[str, float]:
    """Seconds, the median of a few photos."""
    images = [dataset.read(i).image for i in range(min(5, len(dataset)))]
    segmenter.open(images[0])
    return {"seconds": median(timed(partial(segmenter.open, image)) for image in images)}


def quality_picture(rows: QualityRows) -> bytes:
    """Recall and best IoU against seconds, a line for each kind of grid, as a PNG file. Numbers: points a side."""
    ways = dict.fromkeys((precision, way) for precision, way, _ in rows)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("AR@1000", BEST), strict=True):
        for way in ways:
            points = {
                side: (row["seconds"], 100 * row[name])
                for (*other, side), row in rows.items()
                if (*other,) == way
            }
            axes.plot(*zip(*points.values(), strict=True), "o-", markersize=3, label=", ".join(way))
            for side, point in points.items():
                axes.annotate(str(side), point, (3, 3), textcoords="offset points", fontsize=7, color="0.35")
        axes.set(title=f"{name}, %", xlabel="seconds a photo")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


if __name__ == "__main__":
    typer.run(main)

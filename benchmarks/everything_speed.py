"""How fast everything mode is: seconds an image and a click, and the masks, against SAM's own in PyTorch eager.

Run: python benchmarks/everything_speed.py val-000.tar -o docs/everything.md

The reference is SAM's mask generation as published (`everything_reference.py`). Keep the machine free.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from everything_common import (
    OUT,
    Page,
    PredIou,
    Stability,
    Threads,
    chosen_thresholds,
    decode_all,
    digest_of,
    grid_name,
    kept,
    machine,
    open_segmenter,
    open_weights,
    progress,
    publish,
    read_photos,
    timed,
    warm_up,
    weights_of,
)
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from rich.progress import Progress

from pocketsam.config import ModelConfig
from pocketsam.evaluation.results import Table, percent
from pocketsam.evaluation.timing import single_clicks, take_turns
from pocketsam.predict.embedding import photo_mark
from pocketsam.utils.files import write
from pocketsam.utils.rle import RLE

if TYPE_CHECKING:
    from everything_reference import Thresholds

    from pocketsam.models.sam import Sam

REFERENCE = "SAM's own, PyTorch eager"
ENGINES = (("onnx", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"))
SAME = 0.95
"""The IoU from which on two masks count as the same."""


@dataclass(frozen=True)
class Case:
    """A way to run everything mode; without an engine it is the reference."""

    engine: str = ""
    precision: str = "float32"
    hierarchical: bool = False

    @property
    def cells(self) -> list[str]:
        """What it is, for tables."""
        return [self.engine or REFERENCE, self.precision, grid_name(self.hierarchical)]

    @property
    def file_name(self) -> str:
        return f"{self.engine or 'reference'}-{self.precision}-{grid_name(self.hierarchical)}.json"


@dataclass(frozen=True)
class Measured:
    """The masks of an image, and the seconds that encoding it took, and all the rest."""

    rles: list[RLE]
    encoding: float
    rest: float

    @property
    def seconds(self) -> float:
        return self.encoding + self.rest


CASES = (
    Case(),
    *(Case(*engine, hierarchical=way) for engine in ENGINES for way in (False, True)),
)


def main(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or data with photos, such as a shard.")],
    output: Page = Path("everything.md"),
    count: Annotated[int, typer.Option("--photos", min=1, help="So many of the data's first photos.")] = 3,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="A name, folder or checkpoint; pocket if not given. May be repeated."),
    ] = None,
    points_per_side: Annotated[int, typer.Option(min=1, help="Of the grid.")] = 32,
    long_side: Annotated[
        int | None, typer.Option(min=1, help="Enlarge the photos to this size first.", metavar="PIXELS")
    ] = None,
    threads: Threads = 2,
    pred_iou_thresh: PredIou = None,
    stability_score_thresh: Stability = None,
) -> None:
    """Seconds a photo and a click, and the masks, against SAM's own mask generation."""
    import torch

    torch.set_num_threads(threads)
    images = {name: enlarge(image, long_side) for name, image in read_photos(photos, count).items()}
    tables, rows = [], []
    for name in models or ["pocket"]:
        measured = Speed(name, pred_iou_thresh, stability_score_thresh, points_per_side, threads)
        results = measured.everything(images)
        clicks = measured.clicks(next(iter(images.values())))
        tables += [measured.table(results), click_table(clicks)]
        rows += speed_rows(name, results, clicks)
    write(OUT / "speed.json", json.dumps(rows, indent=1).encode())
    sizes = ", ".join(f"{image.shape[1]} × {image.shape[0]}" for image in images.values())
    publish(
        output,
        "everything_speed.py",
        f"## Speed\n\n{points_per_side} × {points_per_side} clicks on {len(images)} photos ({sizes} pixels), in one"
        f" run; seconds are means over the photos. {machine(threads)}. The reference is SAM's automatic mask"
        " generation as published, in PyTorch eager, with the same weights and thresholds. Two masks are the same"
        f" from an IoU of {SAME} on.\n\n" + "\n".join(table.markdown() for table in tables),
    )


def enlarge(image: NDArray[np.uint8], long_side: int | None) -> NDArray[np.uint8]:
    """An image enlarged to the size of usual photos, where those of the data are small."""
    if long_side is None:
        return image
    scale = long_side / max(image.shape[:2])
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class Speed:
    """The measurements of one model. Thresholds that are None are the model's own."""

    model: str
    pred_iou_thresh: float | None
    stability_score_thresh: float | None
    points_per_side: int
    threads: int

    def everything(self, images: dict[str, NDArray[np.uint8]]) -> dict[Case, list[Measured]]:
        """The results of each case on each image; the cases take turns, image by image."""
        found: dict[Case, list[Measured]] = {case: [] for case in CASES}
        with progress() as bar:
            steps = bar.add_task(self.model, total=len(images) * len(CASES))
            for (name, image), case in product(images.items(), CASES):
                file = self.folder / f"{name}-{photo_mark(image)[:8]}-{case.file_name}"
                found[case].append(Measured(**kept(file, partial(self.measure, case, image, bar))))
                bar.advance(steps)
        return found

    def measure(self, case: Case, image: NDArray[np.uint8], bar: Progress) -> dict[str, Any]:
        return asdict(self.ours(case, image) if case.engine else self.reference(image, bar))

    def reference(self, image: NDArray[np.uint8], bar: Progress) -> Measured:
        from everything_reference import reference_everything

        generate = partial(reference_everything, *self.weights, image, self.thresholds)
        generate(points_per_side=2)  # to warm up
        batches = bar.add_task("  reference", total=-(-(self.points_per_side**2) // 64))
        found = generate(points_per_side=self.points_per_side, after_batch=partial(bar.advance, batches))
        bar.remove_task(batches)
        return Measured(found.rles, found.encoding, found.rest)

    def ours(self, case: Case, image: NDArray[np.uint8]) -> Measured:
        segmenter = open_segmenter(self.path, case.engine, case.precision, self.threads)
        warm_up(segmenter.open(image))
        start = perf_counter()
        photo = segmenter.open(image)
        encoded = perf_counter()
        found = photo.everything(
            points_per_side=self.points_per_side,
            hierarchical=case.hierarchical,
            pred_iou_thresh=self.thresholds.pred_iou,
            stability_score_thresh=self.thresholds.stability_score,
        )
        return Measured(found.rle, encoded - start, perf_counter() - encoded)

    def clicks(self, image: NDArray[np.uint8]) -> dict[str, list[float]]:
        """The seconds that one click on an encoded photo takes, by engine and precision."""
        return kept(self.folder / "clicks.json", partial(self.time_clicks, image))

    def time_clicks(self, image: NDArray[np.uint8]) -> dict[str, list[float]]:
        import torch
        from everything_reference import decode

        sam, config = self.weights
        points, labels = single_clicks(config, 1)[:2]
        embedding = open_segmenter(self.path, *ENGINES[0], self.threads).open(image).embedding
        tensors = [torch.from_numpy(values) for values in (embedding, points, labels)]
        jobs: dict[str, Callable[[], object]] = {REFERENCE: partial(decode, sam, *tensors)}
        for name, precision in ENGINES:
            engine = open_segmenter(self.path, name, precision, self.threads).engine
            jobs[f"{name} {precision}"] = partial(
                decode_all, engine, engine.prepare(embedding), points, labels
            )
        for job in jobs.values():
            job()
        return dict(
            zip(jobs, take_turns([partial(timed, job) for job in jobs.values()], seconds=3), strict=True)
        )

    def table(self, results: dict[Case, list[Measured]]) -> Table:
        """A line a case."""
        reference = results[CASES[0]]
        lines = [
            [
                *case.cells,
                f"{mean(one.encoding for one in found):.2f}",
                f"{mean(one.rest for one in found):.2f}",
                f"{sum(one.seconds for one in reference) / sum(one.seconds for one in found):.1f}",
                f"{mean(len(one.rles) for one in found):.1f}",
                percent(same(reference, found)),
                percent(same(found, reference)),
            ]
            for case, found in results.items()
        ]
        headings = ["engine", "precision", "clicks", "encoder, s", "rest, s", "times as fast", "masks"]
        headings += ["the reference's masks found, %", "found by the reference, %"]
        thresholds = self.thresholds
        title = (
            f"`{self.model}` at {self.weights[1].image_size}²; predicted IoU over {thresholds.pred_iou:g}, stability"
            f" from {thresholds.stability_score:g} on"
        )
        return Table(title, headings, lines)

    @property
    def path(self) -> Path:
        return weights_of(self.model)

    @property
    def weights(self) -> "tuple[Sam, ModelConfig]":
        return open_weights(self.path)

    @property
    def thresholds(self) -> "Thresholds":
        from everything_reference import Thresholds

        chosen = chosen_thresholds(self.weights[1], self.pred_iou_thresh, self.stability_score_thresh)
        return Thresholds(*chosen.values())

    @property
    def folder(self) -> Path:
        """Where the measurements of these weights and settings lie."""
        settings = self.thresholds, self.points_per_side, self.threads, self.weights[1]
        return OUT / "speed" / f"{self.weights[1].name}-{digest_of(settings)}"


def click_table(clicks: dict[str, list[float]]) -> Table:
    middles = {way: median(seconds) for way, seconds in clicks.items()}
    lines = [
        [way, f"{1e3 * middle:.1f}", f"{middles[REFERENCE] / middle:.1f}"] for way, middle in middles.items()
    ]
    return Table("One click on an encoded photo", ["engine", "median, ms", "times as fast"], lines)


def speed_rows(
    name: str, results: dict[Case, list[Measured]], clicks: dict[str, list[float]]
) -> Iterator[dict[str, Any]]:
    """For JSON: a row for each case and photo, and one for each way to decode a click."""
    for case, found in results.items():
        for photo, one in enumerate(found):
            numbers = {"encoding": one.encoding, "rest": one.rest, "masks": len(one.rles)}
            yield {"model": name, **asdict(case), "photo": photo, **numbers}
    for way, values in clicks.items():
        yield {"model": name, "click": way, "seconds": values}


def same(found: Sequence[Measured], others: Sequence[Measured]) -> float | None:
    """The share of the masks that are among the others too."""
    hits = [hit for one, other in zip(found, others, strict=True) for hit in are_among(one.rles, other.rles)]
    return float(mean(hits)) if hits else None


def are_among(rles: list[RLE], others: list[RLE]) -> list[bool]:
    if not rles or not others:
        return [False] * len(rles)
    return list((coco.iou(rles, others, [0] * len(others)).max(axis=1) >= SAME).tolist())


if __name__ == "__main__":
    typer.run(main)

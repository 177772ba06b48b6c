"""Everything mode, measured. Run: python benchmarks/everything.py speed val-000.tar -o docs/everything.md

speed    seconds a photo, and the masks, against SAM's own mask generation in PyTorch eager (`plain_everything.py`)
quality  average recall against seconds: how dense the grid is, and what the hierarchy asks again
memory   seconds and peak memory for photos of 24 million pixels and of 20000 × 300
gpu      milliseconds beside what the graphics processor's arithmetic and bandwidth allow

Each writes its section of the page. Single measurements lie in out/everything; what is there already, of the same
weights, settings and photo, is not measured again: remove it to begin afresh. Keep the machine free.
"""

import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from io import BytesIO
from itertools import product
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pocketsam import Segmenter
from pocketsam.config import SAM, ModelConfig
from pocketsam.data.datasets import open_dataset
from pocketsam.data.sample import Dataset
from pocketsam.engines import Engine, PreparedImage
from pocketsam.evaluation.protocols.proposals import BEST, Everything
from pocketsam.evaluation.results import PhotoResult, Table, percent
from pocketsam.evaluation.session import run
from pocketsam.evaluation.timing import lone_clicks, take_turns
from pocketsam.predict.embedding import photo_mark
from pocketsam.predict.image import PHOTO_ENDINGS, load_image
from pocketsam.segmenter import Photo
from pocketsam.utils.files import write
from pocketsam.utils.journal import Journal
from pocketsam.utils.rle import RLE

if TYPE_CHECKING:
    from plain_everything import Thresholds

    from pocketsam.engines.torch import TorchEngine
    from pocketsam.models.sam import Sam

ROOT = Path(__file__).parents[1]
OUT = Path("out/everything")
POCKET = ROOT / "checkpoints/pocket/model.safetensors"
MOBILE = OUT / "models/mobile_sam/model.safetensors"
WEIGHTS = {"mobile_sam": MOBILE, "pocket": POCKET}
SECTIONS = ("speed", "quality", "quality_mobile_sam", "memory", "gpu")
SECTION = "<!-- written by: python benchmarks/everything.py {} -->"
REFERENCE = "SAM's own, PyTorch eager"
ENGINES = (("onnx", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"))
SAME = 0.95
"""The IoU from which on two masks count as the same."""
# Points a side, of grids that are asked whole and of hierarchies, and these' confident logits.
GRIDS = (16, 24, 32)
HIERARCHIES = (16, 24, 32)
TAUS = (0.0, 3.0, 9.0)

app = typer.Typer(pretty_exceptions_enable=False)

Page = Annotated[Path, typer.Option("-o", "--output", help="The page to write the section into.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads.")]
PredIou = Annotated[
    float | None, typer.Option("--pred-iou-thresh", help="Of all; the model's own if not given.")
]
Stability = Annotated[
    float | None, typer.Option("--stability-score-thresh", help="Of all; the model's own if not given.")
]


@app.callback()
def main() -> None:
    """Everything mode: time, quality, memory, and a graphics processor's limits."""


# speed


@dataclass(frozen=True)
class Contender:
    """A way to run everything mode; without an engine it is the reference."""

    engine: str = ""
    precision: str = "float32"
    hierarchical: bool = False

    @property
    def cells(self) -> list[str]:
        """What it is, for tables."""
        return [self.engine or REFERENCE, self.precision, asked(self.hierarchical)]

    @property
    def file_name(self) -> str:
        return f"{self.engine or 'reference'}-{self.precision}-{asked(self.hierarchical)}.json"


@dataclass(frozen=True)
class Answer:
    """The masks of a photo, and the seconds that encoding it took, and all the rest."""

    rles: list[RLE]
    encoding: float
    rest: float

    @property
    def seconds(self) -> float:
        return self.encoding + self.rest


CONTENDERS = (
    Contender(),
    *(Contender(*engine, hierarchical=way) for engine in ENGINES for way in (False, True)),
)


@app.command()
def speed(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or data with photos, such as a shard.")],
    output: Page = Path("everything.md"),
    count: Annotated[int, typer.Option("--photos", min=1, help="So many of the data's first photos.")] = 3,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="pocket or mobile_sam; both if not given.")
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
    for name in models or WEIGHTS:
        if name == "mobile_sam":
            make_mobile()
        measured = Speed(name, pred_iou_thresh, stability_score_thresh, points_per_side, threads)
        answers = measured.everything(images)
        clicks = measured.clicks(next(iter(images.values())))
        tables += [measured.table(answers), click_table(clicks)]
        rows += speed_rows(name, answers, clicks)
    write(OUT / "speed.json", json.dumps(rows, indent=1).encode())
    sizes = ", ".join(f"{image.shape[1]} × {image.shape[0]}" for image in images.values())
    publish(
        output,
        "speed",
        f"## Speed\n\n{points_per_side} × {points_per_side} clicks on {len(images)} photos ({sizes} pixels), in one"
        f" run; seconds are means over the photos. {machine(threads)}. The reference is SAM's automatic mask"
        " generation as published, in PyTorch eager, with the same weights and thresholds. Two masks are the same"
        f" from an IoU of {SAME} on. `mobile_sam` is MobileSAM's architecture with the weights of `pocket`, whose"
        " windows are larger: their attention biases are cut to size.\n\n"
        + "\n".join(table.markdown() for table in tables),
    )


def enlarge(image: NDArray[np.uint8], long_side: int | None) -> NDArray[np.uint8]:
    """A photo as large as those that people take, where the data's are small."""
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

    def everything(self, images: dict[str, NDArray[np.uint8]]) -> dict[Contender, list[Answer]]:
        """What each contender makes of each photo; they take turns, photo by photo."""
        found: dict[Contender, list[Answer]] = {contender: [] for contender in CONTENDERS}
        with progress() as bar:
            steps = bar.add_task(self.model, total=len(images) * len(CONTENDERS))
            for (name, image), contender in product(images.items(), CONTENDERS):
                file = self.folder / f"{name}-{photo_mark(image)[:8]}-{contender.file_name}"
                found[contender].append(Answer(**kept(file, partial(self.measure, contender, image, bar))))
                bar.advance(steps)
        return found

    def measure(self, contender: Contender, image: NDArray[np.uint8], bar: Progress) -> dict[str, Any]:
        return asdict(self.ours(contender, image) if contender.engine else self.reference(image, bar))

    def reference(self, image: NDArray[np.uint8], bar: Progress) -> Answer:
        from plain_everything import plain_everything

        ask = partial(plain_everything, *self.weights, image, self.thresholds)
        ask(points_per_side=2)  # to warm up
        batches = bar.add_task("  reference", total=-(-(self.points_per_side**2) // 64))
        found = ask(points_per_side=self.points_per_side, after_batch=partial(bar.advance, batches))
        bar.remove_task(batches)
        return Answer(found.rles, found.encoding, found.rest)

    def ours(self, contender: Contender, image: NDArray[np.uint8]) -> Answer:
        segmenter = open_segmenter(self.path, contender.engine, contender.precision, self.threads)
        warm_up(segmenter.open(image))
        start = perf_counter()
        photo = segmenter.open(image)
        encoded = perf_counter()
        found = photo.everything(
            points_per_side=self.points_per_side,
            hierarchical=contender.hierarchical,
            pred_iou_thresh=self.thresholds.pred_iou,
            stability_score_thresh=self.thresholds.stability_score,
        )
        return Answer(found.rle, encoded - start, perf_counter() - encoded)

    def clicks(self, image: NDArray[np.uint8]) -> dict[str, list[float]]:
        """The seconds that one lone click on an encoded photo takes, by engine and precision."""
        return kept(self.folder / "clicks.json", partial(self.time_clicks, image))

    def time_clicks(self, image: NDArray[np.uint8]) -> dict[str, list[float]]:
        import torch
        from plain_everything import decode

        sam, config = self.weights
        points, labels = lone_clicks(config, 1)[:2]
        embedding = open_segmenter(self.path, *ENGINES[0], self.threads).open(image).embedding
        plain = [torch.from_numpy(values) for values in (embedding, points, labels)]
        jobs: dict[str, Callable[[], object]] = {REFERENCE: partial(decode, sam, *plain)}
        for name, precision in ENGINES:
            engine = open_segmenter(self.path, name, precision, self.threads).engine
            jobs[f"{name} {precision}"] = partial(
                ask_and_draw, engine, engine.prepare(embedding), points, labels
            )
        for job in jobs.values():
            job()
        return dict(
            zip(jobs, take_turns([partial(timed, job) for job in jobs.values()], seconds=3), strict=True)
        )

    def table(self, answers: dict[Contender, list[Answer]]) -> Table:
        """A line a contender."""
        reference = answers[CONTENDERS[0]]
        lines = [
            [
                *contender.cells,
                f"{mean(one.encoding for one in found):.2f}",
                f"{mean(one.rest for one in found):.2f}",
                f"{sum(one.seconds for one in reference) / sum(one.seconds for one in found):.1f}",
                f"{mean(len(one.rles) for one in found):.1f}",
                percent(same(reference, found)),
                percent(same(found, reference)),
            ]
            for contender, found in answers.items()
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
        return WEIGHTS[self.model]

    @property
    def weights(self) -> "tuple[Sam, ModelConfig]":
        return open_weights(self.path)

    @property
    def thresholds(self) -> "Thresholds":
        from plain_everything import Thresholds

        chosen = chosen_thresholds(self.weights[1], self.pred_iou_thresh, self.stability_score_thresh)
        return Thresholds(*chosen.values())

    @property
    def folder(self) -> Path:
        """Where the measurements of these weights and settings lie."""
        settings = self.thresholds, self.points_per_side, self.threads, self.weights[1]
        return OUT / "speed" / f"{self.model}-{mark(settings)}"


def click_table(clicks: dict[str, list[float]]) -> Table:
    middles = {way: median(seconds) for way, seconds in clicks.items()}
    lines = [
        [way, f"{1e3 * middle:.1f}", f"{middles[REFERENCE] / middle:.1f}"] for way, middle in middles.items()
    ]
    return Table("One click on an encoded photo", ["engine", "median, ms", "times as fast"], lines)


def speed_rows(
    name: str, answers: dict[Contender, list[Answer]], clicks: dict[str, list[float]]
) -> Iterator[dict[str, Any]]:
    """For JSON: a row for each contender and photo, and one for each way to answer a click."""
    for contender, found in answers.items():
        for photo, one in enumerate(found):
            numbers = {"encoding": one.encoding, "rest": one.rest, "masks": len(one.rles)}
            yield {"model": name, **asdict(contender), "photo": photo, **numbers}
    for way, values in clicks.items():
        yield {"model": name, "click": way, "seconds": values}


def same(found: Sequence[Answer], others: Sequence[Answer]) -> float | None:
    """The share of the masks that are among the others too."""
    hits = [hit for one, other in zip(found, others, strict=True) for hit in are_among(one.rles, other.rles)]
    return float(mean(hits)) if hits else None


def are_among(rles: list[RLE], others: list[RLE]) -> list[bool]:
    if not rles or not others:
        return [False] * len(rles)
    return list((coco.iou(rles, others, [0] * len(others)).max(axis=1) >= SAME).tolist())


def make_mobile() -> None:
    """MobileSAM's architecture with the trained weights of `pocket`: only its attention windows are smaller.

    A window's biases are one for each pair of offsets, so the smaller window's are among the larger one's.
    """
    from pocketsam.models.checkpoints import digest, load_model, save_model
    from pocketsam.models.sam import mobile_sam

    trained, pocket = open_weights(POCKET)
    weights = trained.state_dict()
    for name, wanted in mobile_sam().state_dict().items():
        if name.endswith("attention_biases"):
            larger, smaller = (math.isqrt(biases.shape[1]) for biases in (weights[name], wanted))
            weights[name] = weights[name].unflatten(1, (larger, larger))[:, :smaller, :smaller].flatten(1)
    config = replace(
        SAM,
        name="mobile_sam",
        architecture="mobile_sam",
        pred_iou_thresh=pocket.pred_iou_thresh,
        stability_score_thresh=pocket.stability_score_thresh,
        confident_logit=pocket.confident_logit,
        weights=digest(weights),
    )
    # Written anew, it would be exported anew.
    if not MOBILE.exists() or load_model(MOBILE)[1] != config:
        save_model(MOBILE, weights, config)


# quality


@app.command()
def quality(
    data: Annotated[list[Path], typer.Argument(help="Photos with masks, such as a shard.")],
    output: Page = Path("everything.md"),
    count: Annotated[int, typer.Option("--photos", min=1, help="So many of the data's first photos.")] = 40,
    model: Annotated[str, typer.Option(help="pocket or mobile_sam.")] = "pocket",
    engine: Annotated[str, typer.Option(help="auto, onnx, openvino or torch.")] = "auto",
    precisions: Annotated[
        list[str] | None, typer.Option("--precision", help="float32, bfloat16; the first if not given.")
    ] = None,
    threads: Threads = 2,
    grids: Annotated[list[int] | None, typer.Option("--grid", help="Points a side, all asked.")] = None,
    hierarchies: Annotated[list[int] | None, typer.Option("--hierarchy", help="Points a side.")] = None,
    taus: Annotated[list[float] | None, typer.Option("--tau", help="Of the hierarchies.")] = None,
    pred_iou_thresh: PredIou = None,
    stability_score_thresh: Stability = None,
) -> None:
    """Average recall and mean best IoU against seconds a photo, by the density of the clicks."""
    dataset = open_dataset(data)
    count = min(count, len(dataset))
    thresholds = chosen_thresholds(open_weights(POCKET)[1], pred_iou_thresh, stability_score_thresh)
    settings = {
        ("all", side): Everything(points_per_side=side, hierarchical=False, **thresholds)
        for side in grids or GRIDS
    }
    for tau, side in product(taus or TAUS, hierarchies or HIERARCHIES):
        settings[f"hierarchical, τ = {tau:g}", side] = Everything(
            points_per_side=side, hierarchical=True, confident_logit=tau, **thresholds
        )
    if model == "mobile_sam":
        make_mobile()
    rows: QualityRows = {}
    for precision in precisions or ["float32"]:
        segmenter = Segmenter(WEIGHTS[model], engine, precision=precision, threads=threads)
        encoding = encoder_seconds(dataset, segmenter, precision)
        results = measure_quality(dataset, segmenter, precision, list(settings.values()), count)
        for (way, side), setting, found in zip(settings, settings.values(), results, strict=True):
            rows[precision, way, side] = quality_row(setting, found, encoding)
    picture = "pictures/everything/quality.png" if model == "pocket" else f"pictures/everything/{model}.png"
    write(
        OUT / f"quality-{model}.json",
        json.dumps([[*name, row] for name, row in rows.items()], indent=1).encode(),
    )
    write(output.parent / picture, quality_picture(rows))
    over, stable = thresholds.values()
    publish(
        output,
        "quality" if model == "pocket" else f"quality_{model}",
        f"## Quality against time: `{model}`\n\nEngine {engine}, on the first {count} photos of"
        f" {', '.join(path.name for path in data)}. {machine(threads)}. Average recall as in SAM's section 7.3, best"
        f" IoU as in TinySAM's everything mode ([what they are](how-to/evaluate.md)). Predicted IoU over {over:g},"
        f" stability from {stable:g} on. Seconds are means, the encoder's among them. τ is the logit"
        " from which on a pixel is not asked about again.\n\n"
        f"{quality_table(rows).markdown()}\n![Quality against time]({picture})\n",
    )


QualityRows: TypeAlias = dict[tuple[str, str, int], dict[str, float]]
"""Precision, way to ask, points a side: the figures."""


def encoder_seconds(dataset: Dataset, segmenter: Segmenter, precision: str) -> float:
    name = mark((segmenter.engine.config, type(segmenter.engine).__name__, precision))
    file = OUT / "quality" / f"encoder-{name}.json"
    return kept(file, partial(time_encoding, dataset, segmenter))["seconds"]


class OpenedOnce:
    """A segmenter that keeps the photo it has opened last, so that a setting costs its prompts only."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter, self.batch = segmenter, segmenter.batch
        self.image = np.zeros((0, 0, 3), np.uint8)

    def at(self, image: NDArray[np.uint8]) -> "OpenedOnce":
        """With this photo open, and an engine that has answered about it."""
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
    marks = [mark((setting, weights, *engine)) for setting in settings]
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
    """Recall and best IoU against seconds, a line for each way to ask, as a PNG file. Numbers: points a side."""
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


# memory


@app.command()
def memory(
    output: Page = Path("everything.md"),
    points_per_side: Annotated[int, typer.Option(min=1, help="Of the grid.")] = 64,
    engines: Annotated[
        list[str] | None,
        typer.Option("--engine", help="onnx, openvino or torch; the first two if not given."),
    ] = None,
    threads: Threads = 2,
) -> None:
    """Seconds and peak memory for very large photos, each in a process of its own."""
    lines = []
    with tempfile.TemporaryDirectory() as folder, progress() as bar:
        cases = list(product(large_photos(Path(folder)), engines or ("onnx", "openvino"), (False, True)))
        steps = bar.add_task("photos", total=len(cases))
        for photo, engine, hierarchical in cases:
            found = in_own_process(photo, points_per_side, engine, threads, hierarchical)
            seconds = [f"{found[name]:.1f}" for name in ("opening", "everything")]
            memory = [f"{found[name] / 2**20:.0f}" for name in ("loaded", "opened", "peak")]
            lines.append([photo.stem, engine, asked(hierarchical), str(found["masks"]), *seconds, *memory])
            bar.advance(steps)
    headings = ["photo", "engine", "clicks", "masks", "opening, s", "everything, s"]
    headings += ["model loaded, MB", "photo opened, MB", "peak, MB"]
    publish(
        output,
        "memory",
        f"## Memory\n\n`pocket`, {points_per_side} × {points_per_side} clicks on photos laid out of the samples, each"
        " in a process of its own. Memory is the most that the process has taken, interpreter and libraries included:"
        f" once the model is loaded, once the photo is open, and in the end. {machine(threads)}.\n\n"
        + Table("Large photos", headings, lines).markdown(),
    )


def in_own_process(
    photo: Path, points_per_side: int, engine: str, threads: int, hierarchical: bool
) -> dict[str, Any]:
    """What `alone` prints. Ends this process where that one fails."""
    options = ["--points-per-side", points_per_side, "--engine", engine, "--threads", threads]
    command = [sys.executable, __file__, "alone", photo, *options, *["--hierarchical"] * hierarchical]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{photo.stem}, {engine}: ended with {done.returncode}\n{done.stderr}")
    return dict(json.loads(done.stdout))


@app.command(hidden=True)
def alone(
    photo: Path, points_per_side: int = 64, engine: str = "onnx", threads: int = 2, hierarchical: bool = False
) -> None:
    """One photo, and then no more: seconds, masks and memory as JSON."""
    segmenter = Segmenter("pocket", engine, threads=threads)
    loaded, start = peak_memory(), perf_counter()
    opened = segmenter.open(photo)
    after_opening, middle = peak_memory(), perf_counter()
    masks = len(opened.everything(points_per_side=points_per_side, hierarchical=hierarchical))
    seconds = {"opening": middle - start, "everything": perf_counter() - middle}
    memory = {"loaded": loaded, "opened": after_opening, "peak": peak_memory()}
    print(json.dumps({**seconds, **memory, "masks": masks}))


def peak_memory() -> int:
    """The most bytes that this process has taken."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would begin with the peak of the process that started this one
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def large_photos(folder: Path) -> list[Path]:
    """A photo of 24 million pixels and a panorama, laid out of the samples."""
    samples = sorted((ROOT / "samples").glob("*.jpg"))
    photos = []
    for width, height, tile in ((6000, 4000, 1000), (20000, 300, 300)):
        page = Image.new("RGB", (width, height))
        for i, (y, x) in enumerate(product(range(0, height, tile), range(0, width, tile))):
            with Image.open(samples[i % len(samples)]) as sample:
                page.paste(sample.convert("RGB").resize((tile, tile), Image.Resampling.BICUBIC), (x, y))
        photos.append(folder / f"{width} × {height}.jpg")
        page.save(photos[-1], quality=92)
    return photos


# gpu


@app.command()
def gpu(
    output: Page = Path("everything.md"),
    photo: Annotated[Path, typer.Option(help="For everything mode.")] = ROOT / "samples/sneakers.jpg",
    model: Annotated[Path, typer.Option(help="A checkpoint.")] = POCKET,
    float32: Annotated[float | None, typer.Option(help="Tflop/s; measured if not given.")] = None,
    bfloat16: Annotated[float | None, typer.Option(help="Tflop/s; measured if not given.")] = None,
    bandwidth: Annotated[
        float | None, typer.Option(help="GB/s of its memory; measured if not given.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Measure each for so long, and 3 times.")] = 2,
) -> None:
    """Encoder, decoder and everything mode in PyTorch on a GPU, beside what the chip allows."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("gpu: PyTorch finds no CUDA device here")
    chip = measure_chip("cuda")
    given = {"float32": float32, "bfloat16": bfloat16}
    rates = {name: 1e12 * rate if rate else chip.flops[name] for name, rate in given.items()}
    chip = replace(chip, flops=rates, bandwidth=1e9 * bandwidth if bandwidth else chip.bandwidth)
    table = gpu_table(model, "cuda", chip, load_image(photo), seconds)
    publish(
        output,
        "gpu",
        f"## On a graphics processor\n\n{torch.cuda.get_device_name()}, torch {torch.__version__};"
        f" {model.parent.name}, through the engine: arrays in the host's memory go in and come out. The chip's rates:"
        f" {chip}. At these, “arithmetic” is the least that multiply-adds take; “memory”, that weights, inputs and"
        " outputs take, each moved once; “to the host”, that answers take on their way back. Rates not given"
        " were measured in this run, by large products and copies. Convolutions in float32 may use TF32, PyTorch's"
        f" default, and beat float32's arithmetic.\n\n{table.markdown()}",
    )


@dataclass(frozen=True)
class Job:
    """Something to time: so many images or clicks, multiply-adds, and bytes moved there and sent back; 0: unknown."""

    name: str
    call: Callable[[], object]
    count: int
    macs: int = 0
    moved: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Chip:
    """A graphics processor's rates: flop/s by precision, bytes/s in its memory and to the host."""

    flops: dict[str, float]
    bandwidth: float
    to_host: float

    def __str__(self) -> str:
        flops = ", ".join(f"{rate / 1e12:.1f} Tflop/s in {name}" for name, rate in self.flops.items())
        return (
            f"{flops}, {self.bandwidth / 1e9:.0f} GB/s in its memory and {self.to_host / 1e9:.1f} to the host"
        )

    def least_seconds(self, precision: str, job: Job) -> list[float]:
        """What a job takes at least: of arithmetic, of memory, of answers on their way to the host."""
        return [2 * job.macs / self.flops[precision], job.moved / self.bandwidth, job.sent / self.to_host]


def gpu_table(model: Path, device: str, chip: Chip, image: NDArray[np.uint8], seconds: float) -> Table:
    """A line for each job, in each precision, compiled or not."""
    from pocketsam.engines.torch import TorchEngine

    cases = list(product((False, True), chip.flops))
    lines = []
    with progress() as bar:
        steps = bar.add_task("ways to run", total=len(cases))
        for compiled, precision in cases:
            engine = TorchEngine.load(model, device, precision, compile=compiled)
            # The same, but its operations can be counted.
            plain = TorchEngine(engine.sam, engine.config, precision)
            for job in gpu_jobs(engine, plain, image):
                for _ in range(3):  # compiling is no part of it
                    job.call()
                (taken,) = take_turns([partial(timed, job.call)], seconds)
                way = [precision, "yes" if compiled else "no"]
                lines.append([*way, *gpu_line(job, median(taken), chip.least_seconds(precision, job))])
            bar.advance(steps)
    headings = ["precision", "compiled", "job", "ms", "a second", "GMAC"]
    headings += ["arithmetic, ms", "memory, ms", "to the host, ms", "of what is possible, %"]
    return Table("Medians, beside the least that the chip takes", headings, lines)


def gpu_line(job: Job, seconds: float, least: list[float]) -> list[str]:
    cells = [job.name, f"{1e3 * seconds:.2f}", f"{job.count / seconds:.1f}"]
    if not job.macs:
        return [*cells, *["–"] * 5]
    arithmetic, memory, to_host = least  # arithmetic and memory overlap
    possible = (max(arithmetic, memory) + to_host) / seconds
    return [*cells, f"{job.macs / 1e9:.2f}", *(f"{1e3 * one:.3f}" for one in least), f"{100 * possible:.0f}"]


def gpu_jobs(engine: "TorchEngine", plain: "TorchEngine", image: NDArray[np.uint8]) -> Iterator[Job]:
    """What `engine` is timed at; the operations are those of `plain`."""
    size, number = engine.config.image_size, engine.dtype.itemsize
    pixels = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    embedding = plain.encode(pixels)
    encoder, decoder = (
        number * sum(weights.numel() for weights in part.parameters())
        for part in (engine.sam.image_encoder, engine.sam.mask_decoder)
    )
    macs = count_macs(partial(plain.encode, pixels))
    moved = encoder + number * (pixels.size + embedding.size)
    yield Job("encode", partial(engine.encode, pixels), 1, macs, moved, embedding.nbytes)

    prepared, plain_seen = engine.prepare(embedding), plain.prepare(embedding)
    of_image = decoder + number * sum(part.numel() for part in plain_seen)
    for count in (1, 64, 1024):
        clicks = lone_clicks(engine.config, count)[:2]
        macs = count_macs(partial(plain.ask, plain_seen, *clicks))
        yield Job(f"ask {count}", partial(engine.ask, prepared, *clicks), count, macs, of_image, 16 * count)
        macs = count_macs(partial(ask_and_draw, plain, plain_seen, *clicks))
        logits = 4 * count * (size // 4) ** 2
        draw = partial(ask_and_draw, engine, prepared, *clicks)
        yield Job(f"ask and draw {count}", draw, count, macs, of_image + number * logits, 4 * logits)

    segmenter = Segmenter(engine=engine)
    for hierarchical in (False, True):
        job = partial(open_and_segment, segmenter, image, hierarchical=hierarchical)
        yield Job(f"everything, {asked(hierarchical)}", job, 1)


def open_and_segment(segmenter: Segmenter, image: NDArray[np.uint8], **options: Any) -> None:
    segmenter.open(image).everything(**options)


def count_macs(call: Callable[[], object]) -> int:
    """The multiply-adds of the convolutions and matrix products in a call."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:  # written out: the counter does not know every fused kernel
        call()
    return counter.get_total_flops() // 2


def measure_chip(device: str, size: int = 8192) -> Chip:
    """The rates of large matrix products, and of large copies: within the memory, and into the host's."""
    import torch

    flops = {}
    for name in ("float32", "bfloat16"):
        a, b = (torch.randn(size, size, device=device, dtype=getattr(torch, name)) for _ in range(2))
        flops[name] = 2 * size**3 / fastest(partial(torch.matmul, a, b))
    a = torch.randn(4, size, size, device=device)
    b = torch.empty_like(a)
    bandwidth = 2 * a.nbytes / fastest(partial(b.copy_, a))  # read once, written once
    return Chip(flops, bandwidth, a.nbytes / fastest(partial(a.to, "cpu", copy=True)))


def fastest(call: Callable[[], object], runs: int = 10) -> float:
    """Seconds, the least of so many calls after one that does not count."""
    import torch

    def done() -> None:
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    done()
    return min(timed(done) for _ in range(runs))


# what they share


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

    return load_model(path)


@cache
def open_segmenter(path: Path, engine: str, precision: str, threads: int) -> Segmenter:
    return Segmenter(path, engine, precision=precision, threads=threads)


def chosen_thresholds(
    config: ModelConfig, pred_iou_thresh: float | None, stability_score_thresh: float | None
) -> dict[str, float]:
    """Those that are given, and the model's own in place of the others."""
    given = {"pred_iou_thresh": pred_iou_thresh, "stability_score_thresh": stability_score_thresh}
    return {name: getattr(config, name) if value is None else value for name, value in given.items()}


def asked(hierarchical: bool) -> str:
    """Which of the grid's clicks are asked, for tables."""
    return "hierarchical" if hierarchical else "all"


def warm_up(photo: Photo) -> None:
    """Some engines make themselves ready when they are first used."""
    photo.everything(points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0)


def ask_and_draw(
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


def mark(settings: object) -> str:
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
        re.findall(SECTION.format(r"(\w+)") + r"\n+(.*?)\s*(?=<!-- written by|\Z)", former, re.DOTALL)
    )
    sections[section] = text.strip()
    parts = [f"{SECTION.format(name)}\n\n{sections[name]}\n" for name in SECTIONS if name in sections]
    before = former.split("<!-- written by")[0].strip() or "# Everything mode, measured"
    write(page, "\n".join([f"{before}\n", *parts]).encode())


def machine(threads: int) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "openvino"))
    return (
        f"{threads} threads of {os.cpu_count()} {platform.machine()} cores; {packages};"
        f" Python {platform.python_version()}"
    )


if __name__ == "__main__":
    app()

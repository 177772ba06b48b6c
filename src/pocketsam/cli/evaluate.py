"""`pocketsam evaluate PROTOCOL DATA`: measure a model the way a paper does, on any engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pocketsam.cli.options import Device, Engine, Model, Precision, Threads
from pocketsam.errors import InputError

if TYPE_CHECKING:
    from pocketsam.data.sample import Dataset
    from pocketsam.evaluation.results import PhotoResult, Report
    from pocketsam.evaluation.session import EvaluationProtocol
    from pocketsam.segmenter import Segmenter
    from pocketsam.utils.journal import Journal

PROTOCOLS = ("clicks", "interactive", "boxes", "teacher", "everything", "efficiency")
COUNTED = ("boxes", "everything")
"""The protocols whose answers faster-coco-eval counts."""
TIMED = "everything"
"""The protocol that also takes the time: by itself, one photo has all cores."""
BATCH = 64
MOST_WORKERS, PHOTOS_WORTH_WORKERS, SMALL_MODEL = 4, 40, 100 << 20
"""Without --workers: no more processes than these, none for fewer photos, nor for larger models (bytes)."""
MEANS_SHOWN = 4
"""Of the running means, beside the progress bar."""
# Options that not every protocol has, and those that do.
KNOWN_BY = {
    "clicks": ("clicks", "interactive"),
    "seed": ("clicks", "teacher"),
    "detections": ("boxes",),
    "against": ("teacher", "efficiency"),
    "points_per_side": ("everything",),
    "hierarchical": ("everything",),
    "confident_logit": ("everything",),
    "pred_iou_thresh": ("everything",),
    "stability_score_thresh": ("everything",),
    "photos": PROTOCOLS[:-1],
    "limit": PROTOCOLS[:-1],
    "worst": PROTOCOLS[:-1],
    "batch": PROTOCOLS[:-1],
    "workers": PROTOCOLS[:-1],
}


def evaluate(
    protocol: Annotated[str, typer.Argument(help=f"{', '.join(PROTOCOLS)}.", metavar="PROTOCOL")],
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos with masks: tar shards or folders of NAME.jpg beside NAME.json (SA-1B), a COCO or LVIS"
            " .json, images/ with labels/, the Data Science Bowl's layout.",
            metavar="DATA",
        ),
    ] = None,
    model: Model = "pocket",
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="teacher: the model to agree with. efficiency: models to compare with, one an option."
        ),
    ] = None,
    clicks: Annotated[
        str | None,
        typer.Option(
            help="clicks: how many clicks to measure (1,3). interactive: the last one (5).", metavar="K,…"
        ),
    ] = None,
    detections: Annotated[
        Path | None, typer.Option(help="boxes: a detector's results, in COCO's format.", metavar="FILE.json")
    ] = None,
    points_per_side: Annotated[
        int | None, typer.Option(min=1, help="everything: of the grid (32).", metavar="N")
    ] = None,
    hierarchical: Annotated[
        bool | None,
        typer.Option(
            help="everything: a coarse grid first, the whole one where that leaves a doubt and finds something"
            " (it does)."
        ),
    ] = None,
    confident_logit: Annotated[
        float | None,
        typer.Option(help="everything: the logit that leaves no doubt (the model's own).", metavar="T"),
    ] = None,
    pred_iou_thresh: Annotated[
        float | None,
        typer.Option(
            help="everything: the least predicted IoU (the model's own); 0 lets all pass.", metavar="T"
        ),
    ] = None,
    stability_score_thresh: Annotated[
        float | None,
        typer.Option(help="everything: the least stability (the model's own).", metavar="T"),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="The photos of a COCO or LVIS .json.", metavar="FOLDER")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many photos.", metavar="N")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Fixes what is drawn (0).", metavar="N")] = None,
    worst: Annotated[
        int | None, typer.Option(min=0, help="Draw a sheet of so many of the worst masks.", metavar="N")
    ] = None,
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "float32",
    threads: Threads = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Prompts decoded at a time (64).", metavar="N")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes, each with a model of its own; 0: this one alone. Up to 4 where that is faster.",
            metavar="N",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The folder of the result; evaluation/MODEL-PROTOCOL.", metavar="FOLDER"
        ),
    ] = None,
) -> None:
    """Measure a model as the papers do.

    \b
    clicks       mean IoU for a box, and for clicks drawn in the mask (EfficientSAM)
    interactive  the same after one corrective click after another (SAM, TinySAM)
    boxes        a detector's boxes as prompts, and AP (TinySAM, EfficientSAM)
    teacher      agreement with another model (MobileSAM)
    everything   recall and best IoU of what is found without a prompt (SAM)
    efficiency   size, work, time and memory

    The same command goes on where a killed run stopped.
    """
    given = {
        "clicks": clicks,
        "seed": seed,
        "detections": detections,
        "against": against,
        "points_per_side": points_per_side,
        "hierarchical": hierarchical,
        "confident_logit": confident_logit,
        "pred_iou_thresh": pred_iou_thresh,
        "stability_score_thresh": stability_score_thresh,
        "photos": photos,
        "limit": limit,
        "worst": worst,
        "batch": batch,
        "workers": workers,
    }
    _check(protocol, data or [], given)
    folder = output or Path("evaluation") / f"{_name(model)}-{protocol}"
    _check_folder(folder)
    opening: dict[str, Any] = {"engine": engine, "device": device, "precision": precision, "threads": threads}
    if protocol == "efficiency":
        _measure_efficiency([model, *(against or [])], opening, folder)
        return

    from pocketsam.data.datasets import open_dataset
    from pocketsam.engines import cores
    from pocketsam.evaluation.provenance import fingerprint, model_files
    from pocketsam.segmenter import Segmenter

    opening["batch"] = batch or BATCH
    dataset = open_dataset(data or [], photos, labelled=protocol != "teacher")
    count = len(dataset) if limit is None else min(limit, len(dataset))
    models = {name: model_files(name) for name in (model, *(against or []))}
    segmenter = Segmenter(model, **opening)
    if workers is None:
        workers = 0 if protocol == TIMED else _workers(segmenter, models, count)
    if workers:
        opening["threads"] = threads or max(1, cores() // workers)
    teacher = partial(Segmenter, against[0], **opening) if against else None
    chosen = _protocol(protocol, given, dataset, teacher)
    record = _record(chosen, segmenter, model, against[0] if against else None, models, precision)
    used = [path for path in (*(data or []), detections, photos) if path is not None]
    record["data"] = [fingerprint(path, without=folder) for path in used]
    if protocol == TIMED:
        record |= {"threads": opening["threads"], "workers": workers}
    ran = {"threads": opening["threads"], "batch": opening["batch"], "workers": workers, "cores": cores()}
    once = {"engine": segmenter.engine, "batch": opening["batch"]}
    open_segmenter = partial(Segmenter, model, **(opening if workers else once))
    del segmenter, once  # the workers make their own
    _measure(chosen, dataset, open_segmenter, folder, count, workers, worst or 0, record, ran)


def _name(model: str) -> str:
    """For a folder: the model's name or, where its file is called as all are, its folder's."""
    path = Path(model)
    return path.parent.name if path.name == "model.safetensors" and path.parent.name else path.stem


def _workers(segmenter: Segmenter, models: dict[str, list[dict[str, Any]]], photos: int) -> int:
    """How many processes are fastest: on a CPU one a core; but few photos are not worth their start."""
    from pocketsam.engines import cores

    size = sum(file["bytes"] for files in models.values() for file in files)
    if _device(segmenter) != "cpu" or size > SMALL_MODEL or photos < PHOTOS_WORTH_WORKERS or cores() == 1:
        return 0
    return min(MOST_WORKERS, cores())


def _device(segmenter: Segmenter) -> str:
    """Where the model runs: only PyTorch's engine knows others than the CPU."""
    return str(getattr(segmenter.engine, "device", "cpu"))


def _measure(
    protocol: EvaluationProtocol,
    dataset: Dataset,
    open_segmenter: Callable[[], Segmenter],
    folder: Path,
    count: int,
    workers: int,
    worst: int,
    record: dict[str, Any],
    ran: dict[str, Any],
) -> None:
    """Run the protocol on the first `count` photos and write its results into `folder`.

    record: all that determines the results. ran: what else is to be known of how they came about.
    """
    from pocketsam.evaluation.output import left_out, write_masks, write_report
    from pocketsam.utils.journal import Journal

    journal = Journal(folder / "journal.jsonl", record)
    results = _run(protocol, dataset, open_segmenter, count, workers, journal)
    losses = left_out(results)
    if not any(result.rows for result in results):
        journal.remove()  # there is nothing in it to go on with
        why = f" ({losses['left_out'][0]})" if losses["left_out"] else ""
        raise InputError(f"there are no masks to measure on in these {count} photos{why}")
    report = protocol.summarise(results)
    names = write_report(folder, report, {**record, **ran, "photos": count, **losses})
    names += write_masks(folder, results, dataset, protocol.headline, worst)
    for name in {"curves.png", "worst.jpg"}.difference(names):  # those of an earlier result
        (folder / name).unlink(missing_ok=True)
    journal.remove()
    _show(report, folder, names, losses["left_out"])


def _run(
    protocol: EvaluationProtocol,
    dataset: Dataset,
    open_segmenter: Callable[[], Segmenter],
    count: int,
    workers: int,
    journal: Journal,
) -> list[PhotoResult]:
    """Run the protocol under a progress bar that shows the means so far."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from pocketsam.evaluation.results import Means, percent
    from pocketsam.evaluation.session import run

    means = Means()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("photos", total=count)

        def show(result: PhotoResult) -> None:
            means.add(result)
            shown = list(means.scores)[:MEANS_SHOWN]
            text = "  ".join(f"{name} {percent(means[name])}" for name in shown)
            progress.update(task, advance=1, config=text)

        return run(
            protocol,
            dataset,
            open_segmenter,
            photos=range(count),
            workers=workers,
            journal=journal,
            after_photo=show,
        )


def _show(report: Report, folder: Path, names: list[str], losses: list[str]) -> None:
    from rich.console import Console

    console = Console(markup=False)
    for table in report.tables:
        console.print(table.rich())
    if losses:
        console.print(
            f"Left out: {len(losses)}, such as {losses[0]}; all of them are in result.json.", soft_wrap=True
        )
    if report.curves and "curves.png" not in names:
        console.print(
            "No curves were drawn, as matplotlib is not installed: pip install 'pocketsam[evaluate]'"
        )
    console.print(f"Written to {folder}: {', '.join(names)}", soft_wrap=True)


def _protocol(
    name: str, given: dict[str, Any], dataset: Dataset, teacher: Callable[[], Segmenter] | None
) -> EvaluationProtocol:
    """The protocol of this name, with the settings that were given."""
    from pocketsam.data.coco import CocoSet
    from pocketsam.evaluation.protocols.agreement import Teacher
    from pocketsam.evaluation.protocols.boxes import Boxes
    from pocketsam.evaluation.protocols.clicks import Clicks
    from pocketsam.evaluation.protocols.interactive import Interactive
    from pocketsam.evaluation.protocols.proposals import Everything

    seed = given["seed"] or 0
    if name == "clicks":
        return Clicks(_counts(given["clicks"] or "1,3"), seed)
    if name == "interactive":
        counts = _counts(given["clicks"] or "5")
        if len(counts) > 1:
            raise InputError(
                f"--clicks {given['clicks']}: interactive takes the last one alone, such as {counts[-1]}"
            )
        return Interactive(counts[0])
    if name == "teacher":
        assert teacher is not None
        return Teacher(teacher, seed=seed)
    if name == "everything":
        wanted = [option for option, protocols in KNOWN_BY.items() if protocols == ("everything",)]
        return Everything(**{key: given[key] for key in wanted if given[key] is not None})
    if not isinstance(dataset, CocoSet):
        raise InputError(
            "boxes are measured on a COCO or LVIS .json, by whose numbers a detector names photos"
        )
    return Boxes(dataset, given["detections"])


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        counts = ()
    if not counts or counts[0] < 1:
        raise InputError(f"--clicks {text}: give numbers from 1 on with commas between them, such as 1,3")
    return counts


def _check(protocol: str, data: list[Path], given: dict[str, Any]) -> None:
    """Refuse what makes no sense before anything is loaded."""
    if protocol not in PROTOCOLS:
        raise InputError(
            f"there is no protocol {protocol!r}; use {', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}"
        )
    for name, value in given.items():
        if value is not None and protocol not in KNOWN_BY.get(name, PROTOCOLS):
            option = name.replace("_", "-")
            raise InputError(
                f"--{option} is for {' and '.join(KNOWN_BY[name])}, not for {protocol}; leave it out"
            )
    if protocol == "efficiency" and data:
        raise InputError(f"efficiency is measured without data; leave {data[0]} out")
    if protocol != "efficiency" and not data:
        raise InputError(f"give the photos to measure {protocol} on: pocketsam evaluate {protocol} DATA")
    if protocol == "boxes" and given["detections"] is None:
        raise InputError("boxes needs a detector's results: --detections FILE.json, in COCO's format")
    if protocol == "teacher" and len(given["against"] or []) != 1:
        raise InputError("teacher needs the model to agree with: --against MODEL, once")
    if protocol in COUNTED:
        from pocketsam.evaluation.average_precision import require_counter

        require_counter()


def _check_folder(folder: Path) -> None:
    from pocketsam.utils.files import check_writable

    if folder.is_file() or folder.suffix in (".json", ".csv", ".md"):
        raise InputError(f"{folder}: the result is a folder of files; give the name of a folder")
    check_writable(folder, missing=True)


def _record(
    protocol: EvaluationProtocol,
    segmenter: Segmenter,
    model: str,
    against: str | None,
    models: dict[str, list[dict[str, Any]]],
    precision: str,
) -> dict[str, Any]:
    """All that determines the result but for the data. models: by name, their files."""
    from dataclasses import asdict

    from pocketsam.evaluation.output import settings
    from pocketsam.evaluation.provenance import versions

    teacher = {"against": {"name": against, "files": models[against]}} if against else {}
    return {
        "protocol": {"name": protocol.name, "follows": protocol.follows, **settings(protocol)},
        "model": {
            "name": model,
            "description": asdict(segmenter.engine.config),
            "files": models[model],
        },
        **teacher,
        "engine": type(segmenter.engine).__name__,
        "device": _device(segmenter),
        "precision": precision,
        "versions": versions(),
    }


def _measure_efficiency(models: list[str], opening: dict[str, Any], folder: Path) -> None:
    """Time the models in turns, and write the result into `folder`."""
    from rich.console import Console
    from rich.progress import Progress

    from pocketsam.evaluation.output import write_report
    from pocketsam.evaluation.protocols.efficiency import measure_efficiency
    from pocketsam.evaluation.provenance import model_files, versions
    from pocketsam.evaluation.timing import Contender

    contenders = [Contender(model, **opening) for model in models]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("efficiency")
        report = measure_efficiency(
            contenders, progress=lambda done, total: progress.update(task, completed=done, total=total)
        )
    record = {
        "protocol": {"name": "efficiency"},
        "models": [{"name": model, "files": model_files(model)} for model in models],
        **opening,
        "versions": versions(),
    }
    _show(report, folder, write_report(folder, report, record), [])

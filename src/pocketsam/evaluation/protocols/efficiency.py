"""What a model costs: parameters, multiply-adds, time, memory and the size of its files.

MobileSAM (arXiv 2306.14289, Tables 6 and 7) and TinySAM (arXiv 2312.13789, Table 1) compare models by these. A
benchmark case is a model and a way to run it. Multiply-adds are counted (work.py), and the cases are timed in turns
(timing.py).
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

from pocketsam.errors import InputError, ModelError
from pocketsam.evaluation.protocol import Measurement
from pocketsam.evaluation.results import Report, Table
from pocketsam.evaluation.timing import ENCODE, BenchmarkCase, Runner, decode, start, take_turns
from pocketsam.evaluation.work import Work, count_work, network_of
from pocketsam.utils.install import how_to_install
from pocketsam.utils.options import option
from pocketsam.zoo import model_files

Numbers: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Efficiency(Measurement):
    """against: the models to compare with, each a name, a folder or a file."""

    against: tuple[str, ...] = field(
        default=(),
        metadata=option(
            type=list[str],
            help="A model to compare with; may be repeated.",
            metavar="MODEL",
            read=tuple,
            names_model=True,
        ),
    )

    name: ClassVar[str] = "efficiency"
    summary: ClassVar[str] = "parameters, multiply-adds, time and memory"
    description: ClassVar[str] = (
        "Counts a model's parameters and multiply-adds, and times its encoder and decoder, alternating with the"
        " models that it is compared with. It needs no photos."
    )
    follows: ClassVar[str] = (
        "MobileSAM (arXiv 2306.14289), Tables 6 and 7; TinySAM (arXiv 2312.13789), Table 1"
    )
    results: ClassVar[dict[str, str]] = {
        "parameters, GMAC": "parameters in millions; multiply-adds in billions for one image and for one click",
        "encoder, 1 prompt, 64 prompts": "median time in ms, with the 10th and the 90th percentile",
        "images/s, prompts/s": "throughput",
        "peak, MB; files, MB": "peak memory of the process, and the size of the model's files",
    }


def measure_efficiency(
    cases: Sequence[BenchmarkCase],
    *,
    seconds: float = 5.0,
    prompts: Sequence[int] = (1, 64),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Size, multiply-adds, time and memory of each benchmark case, and how many times as fast as the first it is.

    seconds: how long each case is timed at each job, after a call that does not count (see `take_turns`).
    prompts: the numbers of single clicks to decode at a time.
    progress: is called with how many of all steps are done.
    Times are of whole calls, NumPy in and NumPy out. Peak memory is the process's, interpreter and libraries
    included; on CUDA it is what PyTorch allocated on the device.
    Raises InputError when there is nothing to measure; ModelError when a case cannot run; PocketSAMError when
    its process dies.
    """
    if not cases:
        raise InputError("there is nothing to measure; give at least one model")
    if not seconds > 0:
        raise InputError(f"seconds is {seconds}; give more than 0")
    if not prompts or min(prompts) < 1:
        raise InputError(f"prompts is {list(prompts)}; give numbers of clicks from 1 on")
    with ExitStack() as stack:
        runners: list[Runner] = []
        steps = len(cases) + 1 + len(prompts)
        for case in cases:
            runners.append(stack.enter_context(start(case, prompts)))
            progress(len(runners), steps)
        times: list[dict[str, list[float]]] = [{} for _ in runners]
        for done, job in enumerate(_names(prompts), start=len(runners) + 1):
            taken = take_turns([partial(runner.run, job) for runner in runners], seconds)
            for timed, one in zip(times, taken, strict=True):
                timed[job] = one
            progress(done, steps)
        peaks = [runner.run(None) for runner in runners]
    measured = zip(runners, times, peaks, strict=True)
    rows = [_row(runner, timed, peak, max(prompts)) for runner, timed, peak in measured]
    work, notes = _work_by_model(runners)
    return _report(rows, work, notes, seconds, prompts)


def _names(prompts: Sequence[int]) -> dict[str, str]:
    """The jobs, each with its heading in tables."""
    return {ENCODE: "encoder", **{decode(n): "1 prompt" if n == 1 else f"{n} prompts" for n in prompts}}


def _work_by_model(runners: Sequence[Runner]) -> tuple[dict[str, list[Work]], list[str]]:
    """The work of every model that can be counted, and for each of the others the reason why it cannot."""
    work: dict[str, list[Work]] = {}
    notes: dict[str, str] = {}
    for runner in runners:
        model, config = str(runner.case.model), runner.opened.config
        if model in work or model in notes:
            continue
        try:
            work[model] = count_work(network_of(runner.source, config), config)
        except ModuleNotFoundError as error:
            notes[model] = f"{model}: counting needs {error.name}: {how_to_install('export')}"
        except ModelError as error:
            notes[model] = str(error)
    return work, list(notes.values())


def _row(runner: Runner, times: dict[str, list[float]], peak: int | None, most: int) -> Numbers:
    timed = {job: _spread(taken) for job, taken in times.items()}
    return {
        "model": str(runner.case.model),
        "engine": runner.opened.engine,
        "device": runner.opened.device,
        "precision": runner.case.precision,
        "threads": runner.case.threads,
        "image_size": runner.opened.config.image_size,
        "file_bytes": _file_bytes(runner.source, runner.opened.engine),
        "peak_bytes": peak,
        "seconds": timed,
        "images_per_second": 1 / timed[ENCODE]["median"],
        "prompts_per_second": most / timed[decode(most)]["median"],
    }


def _spread(taken: list[float]) -> Numbers:
    p10, median, p90 = np.percentile(taken, [10, 50, 90]).tolist()
    return {"calls": len(taken), "p10": p10, "median": median, "p90": p90}


def _file_bytes(source: Path, engine: str) -> int:
    """The size of the files that this engine reads or, where it has its own made of them, of those there are."""
    files = [source] if source.is_file() else model_files(source)
    read = [file for file in files if (file.suffix == ".safetensors") == (engine == "torch")]
    return sum(file.stat().st_size for file in read or files)


def _report(
    rows: list[Numbers],
    work: dict[str, list[Work]],
    notes: list[str],
    seconds: float,
    prompts: Sequence[int],
) -> Report:
    jobs = _names(prompts)
    first = rows[0]["seconds"]
    for row in rows:
        row["times_as_fast"] = {job: first[job]["median"] / row["seconds"][job]["median"] for job in jobs}
    return Report(
        numbers={
            "seconds_each": seconds,
            "cases": rows,
            "work": {model: _work_numbers(parts) for model, parts in work.items()},
            "notes": notes,
        },
        tables=[
            _size_table(rows, work, notes),
            _time_table(rows, jobs),
            _rate_table(rows, max(prompts)),
            *([_ratio_table(rows, jobs)] if len(rows) > 1 else []),
            *(_work_table(model, parts) for model, parts in work.items()),
        ],
    )


def _work_numbers(parts: list[Work]) -> Numbers:
    encoder, *others = [part for part in parts if _is_whole(part)]
    return {
        "parameters": sum(part.parameters for part in (encoder, *others)),
        "encoder_macs": encoder.macs,
        "decoder_macs": sum(part.macs for part in others),
        "modules": [asdict(part) for part in parts],
    }


def _is_whole(part: Work) -> bool:
    return part.module in ("image_encoder", "prompt_encoder", "mask_decoder")


def _size_table(rows: list[Numbers], work: dict[str, list[Work]], notes: list[str]) -> Table:
    lines = []
    for model, size in {row["model"]: row["image_size"] for row in rows}.items():
        cells = ["–"] * 3
        if model in work:
            counted = _work_numbers(work[model])
            macs = counted["encoder_macs"], counted["decoder_macs"]
            cells = [f"{counted['parameters'] / 1e6:.2f}", *(f"{value / 1e9:.2f}" for value in macs)]
        lines.append([model, f"{size}²", *cells])
    title = "\n".join(["Size, and multiply-adds for one image and one click", *notes])
    headings = ["model", "input", "parameters, M", "encoder, GMAC", "decoder, GMAC"]
    return Table(title, headings, lines)


def _time_table(rows: list[Numbers], jobs: dict[str, str]) -> Table:
    lines = [[_label(row), *(_milliseconds(row["seconds"][job]) for job in jobs)] for row in rows]
    title = "Time in ms: the median and, in brackets, the 10th and the 90th percentile"
    return Table(title, ["case", *jobs.values()], lines)


def _milliseconds(spread: Numbers) -> str:
    return f"{1e3 * spread['median']:.1f} ({1e3 * spread['p10']:.1f}–{1e3 * spread['p90']:.1f})"


def _rate_table(rows: list[Numbers], most: int) -> Table:
    lines = [
        [
            _label(row),
            f"{row['images_per_second']:.1f}",
            f"{row['prompts_per_second']:.0f}",
            "–" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.0f}",
            f"{row['file_bytes'] / 2**20:.1f}",
        ]
        for row in rows
    ]
    headings = ["case", "images/s", "prompts/s", "peak, MB", "files, MB"]
    return Table(f"Throughput, of prompts {most} at a time; memory and files", headings, lines)


def _ratio_table(rows: list[Numbers], jobs: dict[str, str]) -> Table:
    lines = [[_label(row), *(f"{row['times_as_fast'][job]:.2f}" for job in jobs)] for row in rows]
    return Table(f"How many times as fast as {_label(rows[0])}", ["case", *jobs.values()], lines)


def _label(row: Numbers) -> str:
    """A benchmark case in the tables, with what is unusual about it."""
    parts = [row["model"], row["engine"], row["precision"]]
    parts += [row["device"]] if row["device"] != "cpu" else []
    parts += [f"{row['threads']} threads"] if row["threads"] else []
    return ", ".join(parts)


def _work_table(model: str, parts: list[Work]) -> Table:
    whole = [part for part in parts if _is_whole(part)]
    total = Work("all", sum(part.parameters for part in whole), sum(part.macs for part in whole))
    lines = [
        [part.module, f"{part.parameters / 1e6:.3f}", f"{part.macs / 1e9:.3f}"] for part in [*parts, total]
    ]
    return Table(f"{model}, module by module", ["module", "parameters, M", "GMAC"], lines, total=True)

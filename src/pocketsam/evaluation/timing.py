"""Timing models in turns, each in a process of its own.

In a process of its own a model's peak memory is its own; in turns, whatever else the machine does slows all of them
alike.
"""

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.engines import Engine, PreparedImage, open_engine
from pocketsam.errors import PocketSAMError
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.prompts import Prompts
from pocketsam.zoo import locate

ENCODE = "encode"
LEAST_CALLS = 3


@dataclass(frozen=True)
class BenchmarkCase:
    """A model and a way to run it: as in `Segmenter`."""

    model: str | Path = "pocket"
    engine: str = "auto"
    device: str = "auto"
    precision: str = "float32"
    threads: int | None = None


def decode(count: int) -> str:
    """The job of decoding so many clicks at a time."""
    return f"decode {count}"


def take_turns(calls: Sequence[Callable[[], float]], seconds: float) -> list[list[float]]:
    """The seconds that each of `calls` took, which return them: one call of each, round after round.

    A call is left out of further rounds once it was made three times and took `seconds` in all, or took twice that
    in all.
    """
    taken: list[list[float]] = [[] for _ in calls]
    waiting = list(range(len(calls)))
    while waiting:
        for i in waiting:
            taken[i].append(calls[i]())
        waiting = [i for i in waiting if not _enough(taken[i], seconds)]
    return taken


def _enough(taken: list[float], seconds: float) -> bool:
    patience = seconds if len(taken) >= LEAST_CALLS else 2 * seconds
    return sum(taken) >= patience


@dataclass(frozen=True)
class Opened:
    """What a runner reports of its model, once it is ready."""

    config: ModelConfig
    engine: str
    device: str


@dataclass(frozen=True)
class Runner:
    """The process that runs a benchmark case, and the connection to it. source: the model's files."""

    case: BenchmarkCase
    source: Path
    connection: "Connection[Any, Any]"
    opened: Opened

    def run(self, job: str | None) -> Any:
        """The seconds that a job took; for None, the peak memory in bytes, and the process ends."""
        return _answer(self.case, self.connection, job)


@contextmanager
def start(case: BenchmarkCase, prompts: Sequence[int]) -> Iterator[Runner]:
    """A process with the model of a benchmark case, warmed up."""
    source, config = locate(case.model)
    context = get_context("spawn")  # the engines' threads do not survive a fork
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, case, source, config, prompts), daemon=True)
    process.start()
    there.close()  # so that this end hears when the other one is gone
    try:
        yield Runner(case, source, here, _answer(case, here))
    finally:
        process.terminate()
        process.join()
        here.close()


def _answer(case: BenchmarkCase, connection: "Connection[Any, Any]", *request: str | None) -> Any:
    """What the process returns for a request or, without one, when it is ready; an error there is raised here."""
    try:
        for job in request:
            connection.send(job)
        answer = connection.recv()
    except (EOFError, OSError) as error:
        raise PocketSAMError(
            f"{case.model}, {case.engine}: its process ended without a result, perhaps for want of memory;"
            " measure fewer models at a time"
        ) from error
    if isinstance(answer, PocketSAMError):
        raise answer
    return answer


def _serve(
    connection: "Connection[Any, Any]",
    case: BenchmarkCase,
    source: Path,
    config: ModelConfig | None,
    prompts: Sequence[int],
) -> None:
    """The process: open the model, warm it up, then do one job after the other, and return how long each took."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    try:
        engine = open_engine(
            source,
            case.engine,
            device=case.device,
            precision=case.precision,
            threads=case.threads,
            config=config,
        )
    except PocketSAMError as error:
        connection.send(error)
        return
    jobs = _jobs(engine, prompts)
    for job in jobs.values():
        job()
    connection.send(Opened(engine.config, engine.info.name, engine.info.device))
    with suppress(EOFError):  # the parent is gone
        while (name := connection.recv()) is not None:
            start = perf_counter()
            jobs[name]()
            connection.send(perf_counter() - start)
        connection.send(_peak_memory(engine.info.device))


def _jobs(engine: Engine, prompts: Sequence[int]) -> dict[str, Callable[[], object]]:
    size = engine.config.image_size
    image = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    jobs: dict[str, Callable[[], object]] = {ENCODE: lambda: engine.prepare(engine.encode(image))}
    prepared = engine.prepare(engine.encode(image))
    for count in prompts:
        points, labels, *_ = single_clicks(engine.config, count)
        jobs[decode(count)] = partial(_answer_clicks, engine, prepared, points, labels)
    return jobs


def _answer_clicks(
    engine: Engine, prepared: PreparedImage, points: NDArray[np.float32], labels: NDArray[np.int32]
) -> None:
    engine.decode_masks(engine.predict_iou(prepared, points, labels), range(len(points)))


def single_clicks(config: ModelConfig, count: int) -> Sequence[Any]:
    """So many single clicks, as `Photo` gives them to an engine."""
    size = config.image_size
    geometry = Geometry.of(config, size, size)
    points = np.random.default_rng(count).random((count, 1, 2)) * size
    prompts = Prompts.of(points=points, photo_size=(size, size))
    return *prompts.tokens(geometry, config.pad_points_to), *prompts.mask_tokens(geometry)


def _peak_memory(device: str) -> int | None:
    """Bytes; None where the system does not report it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    # Not getrusage: there a process begins with the peak of the one that started it.
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return 1024 * int(found[1]) if found else None

"""Running a protocol over a dataset: image by image, in one process or several, and on from where a run was killed.

The result of an image depends on the protocol, the model and the image alone. So images may be measured by any worker
and in any run, and the results are the same.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cached_property, partial
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, TypeAlias

from pocketsam.data.sample import Dataset
from pocketsam.errors import DataError, PocketSAMError
from pocketsam.evaluation.protocol import EvaluationProtocol, OpenModel
from pocketsam.evaluation.results import PhotoResult
from pocketsam.utils.journal import Journal

Pool: TypeAlias = Callable[[EvaluationProtocol, Dataset, OpenModel, Sequence[int]], Iterator[PhotoResult]]
"""Measures images elsewhere, such as on a cluster; their results come in any order."""


def run(
    protocol: EvaluationProtocol,
    dataset: Dataset,
    open_segmenter: OpenModel,
    *,
    photos: Iterable[int] | None = None,
    workers: int = 0,
    pool: Pool | None = None,
    journal: Journal | None = None,
    after_photo: Callable[[PhotoResult], None] = lambda result: None,
) -> list[PhotoResult]:
    """Measure the images of a dataset (all, or those numbered `photos`); their results in the dataset's order.

    workers: processes beside this one, each with a model of its own; 0 does all the work in this one.
    pool: what measures the images instead of workers.
    journal: what is in it already is not measured again, and what is measured is added to it.
    after_photo: is called with every result as it comes, those of the journal first.
    Raises DataError when an image cannot be read and the protocol needs all of them.
    """
    wanted = sorted(set(range(len(dataset)) if photos is None else photos))
    # What was missing may be there now.
    kept = [PhotoResult.from_dict(entry) for entry in journal.entries.values()] if journal else []
    known = {result.photo: result for result in kept if not result.missing}
    found = {number: known[number] for number in wanted if number in known}
    for result in found.values():
        after_photo(result)
    waiting = [number for number in wanted if number not in found]
    measure_all = pool or partial(_measure_all, workers=workers)
    for result in measure_all(protocol, dataset, open_segmenter, waiting):
        if journal:
            journal.add(str(result.photo), result.to_dict())
        found[result.photo] = result
        after_photo(result)
    return [found[number] for number in wanted]


def measure(protocol: EvaluationProtocol, dataset: Dataset, segmenter: Any, photo: int) -> PhotoResult:
    """The result of image number `photo` of a dataset, which names what cannot be measured of it."""
    try:
        sample = dataset.read(photo)
    except DataError as error:
        if protocol.needs_all_photos:
            raise
        return PhotoResult(photo, name=str(photo), missing=str(error))
    sample = sample.promptable()
    if not sample.rles and protocol.needs_masks:
        return PhotoResult(photo, sample.name, sample.source, left_out=list(sample.left_out))
    result = protocol.measure(segmenter, sample, photo)
    return replace(result, left_out=[*sample.left_out, *result.left_out])


def _measure_all(
    protocol: EvaluationProtocol,
    dataset: Dataset,
    open_segmenter: OpenModel,
    photos: Sequence[int],
    workers: int,
) -> Iterator[PhotoResult]:
    """The results in the order of `photos`."""
    if not photos:
        return
    if not workers:
        segmenter = open_segmenter()
        yield from (measure(protocol, dataset, segmenter, photo) for photo in photos)
        return
    # Fresh processes: the engines' threads do not survive a fork.
    context = get_context("spawn")
    executor = ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(protocol, dataset, open_segmenter)
    )
    try:
        yield from executor.map(_measure_in_worker, photos)
    except BrokenProcessPool as error:
        raise PocketSAMError(
            "a worker process ended without a result, perhaps for want of memory; use fewer --workers"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


@dataclass
class _Worker:
    """What one process measures with; its model is opened for its first image, so that an error reaches the user."""

    protocol: EvaluationProtocol
    dataset: Dataset
    open_segmenter: OpenModel

    @cached_property
    def segmenter(self) -> Any:
        return self.open_segmenter()


_worker: _Worker


def _start_worker(protocol: EvaluationProtocol, dataset: Dataset, open_segmenter: OpenModel) -> None:
    global _worker  # noqa: PLW0603  (it lasts from image to image in a worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers
    Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(protocol, dataset, open_segmenter)


def _end_with_parent() -> None:
    """End this worker when its parent has ended: a parent that is killed cannot end its workers itself."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure_in_worker(photo: int) -> PhotoResult:
    return measure(_worker.protocol, _worker.dataset, _worker.segmenter, photo)

"""A protocol on a Ray cluster: images are measured by tasks, a few each, and their results come back to the driver.

The driver keeps the journal, as in a run on one machine (`evaluation/session.py`), and resumes after it was killed.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias
from uuid import uuid4

from pocketsam.data.sample import Dataset
from pocketsam.errors import PocketSAMError
from pocketsam.evaluation.protocol import EvaluationProtocol, OpenModel
from pocketsam.evaluation.results import PhotoResult
from pocketsam.evaluation.session import Pool, measure
from pocketsam.scale.cluster import CRASHES, TRIES, connect, resources
from pocketsam.utils.install import importing

with importing("scale", "--ray"):
    import ray
    from ray.exceptions import ObjectLostError

PHOTOS = 8
"""That a task measures."""

Work: TypeAlias = tuple[str, EvaluationProtocol, Dataset, OpenModel]
"""A name of this run's own, and what it measures with."""


def pool_on_ray(address: str) -> Pool:
    """What measures images on a cluster. The data must be where all machines see them.

    address: see `ScaleArguments`.
    """
    return partial(_measure_all, address)


def _measure_all(
    address: str, protocol: EvaluationProtocol, dataset: Dataset, open_model: OpenModel, photos: Sequence[int]
) -> Iterator[PhotoResult]:
    """The results in any order. Raises as `session.run` does, and InputError where there is no cluster."""
    connect(address)
    try:
        work = ray.put((uuid4().hex, protocol, dataset, open_model))
        yield from _in_batches(
            protocol, partial(_measure_some.options(max_retries=TRIES - 1).remote, work), photos
        )
    finally:
        ray.shutdown()


def _in_batches(
    protocol: EvaluationProtocol, send: Callable[[Sequence[int]], Any], photos: Sequence[int]
) -> Iterator[PhotoResult]:
    """Twice as many tasks on their way as there are cores; images at which a process ends are measured one by one."""
    waiting = [photos[i : i + PHOTOS] for i in range(0, len(photos), PHOTOS)][::-1]
    flight: dict[Any, Sequence[int]] = {}
    while waiting or flight:
        while waiting and len(flight) < 2 * max(1, int(resources().get("CPU", 1))):
            batch = waiting.pop()
            flight[send(batch)] = batch
        ready, _ = ray.wait(list(flight), num_returns=1)
        batch = flight.pop(ready[0])
        try:
            yield from ray.get(ready[0])
        except ObjectLostError:
            waiting.append(batch)
        except CRASHES:
            if len(batch) == 1:
                yield _poison(protocol, batch[0])
            else:
                waiting += [[photo] for photo in batch]


def _poison(protocol: EvaluationProtocol, photo: int) -> PhotoResult:
    reason = f"photo {photo}: ends the process that measures it"
    if protocol.needs_all_photos:
        raise PocketSAMError(f"{reason}, and {protocol.name} needs all photos; take it out")
    return PhotoResult(photo, name=str(photo), missing=reason)


_opened: dict[str, Any] = {}


@ray.remote(num_cpus=1)
def _measure_some(work: Work, photos: Sequence[int]) -> list[PhotoResult]:
    key, protocol, dataset, open_model = work
    if key not in _opened:
        _opened[key] = open_model()
    return [measure(protocol, dataset, _opened[key], photo) for photo in photos]

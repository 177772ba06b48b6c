"""A job on a Ray cluster: every shard is a task, which has its photos encoded and decoded by other tasks.

    driver ─► do_shard ─► encode (photos → embeddings) ─► decode (→ a part of the results) ─► do_shard publishes

Ray decides where a task runs, and runs it again elsewhere when its process or its machine ends, so machines may come
and go. A process keeps its engine from task to task. Tasks, and not actors, hold the engines: an actor belongs to a
machine, and what waits for it waits until that is back; and as each process runs either stage, no core waits for the
slower one. Few photos are on their way at a time (IN_FLIGHT), so that memory does not depend on a shard's size.

A photo at which its process ends again and again, a poison photo, is found by trying the photos one by one, and put
into quarantine.
"""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias

from pocketsam.engines import cores
from pocketsam.errors import InputError
from pocketsam.scale.job import DECODED, ENCODED, Failure, Job, Stages, decode_photos, encode_photos
from pocketsam.scale.results import Outcome, Part, ShardResults, Work, join
from pocketsam.scale.shards import StoredPhoto
from pocketsam.scale.storage import StoragePath
from pocketsam.scale.work import NumberedPhotos, finish_shard
from pocketsam.utils.install import importing

with importing("scale", "--ray"):
    import ray
    from ray.exceptions import ObjectLostError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

IN_FLIGHT = 6
"""Parts of a shard that are on their way at a time: read, encoded or being decoded."""
TRIES = 2
"""How often a process may end at some photos; then they are tried one by one, each as often."""

CRASHES = (WorkerCrashedError, OutOfMemoryError)
Photos: TypeAlias = Sequence[StoredPhoto]
_Flight: TypeAlias = dict[Any, NumberedPhotos]
"""What is on its way: the number and the photos of a part by the task that makes it."""


def run_on_ray(works: Sequence[Work], address: str) -> Iterator[Outcome]:
    """The outcome of each shard, as it is done. address: see `ScaleArguments`.

    Raises InputError where there is no cluster.
    """
    connect(address)
    try:
        yield from _run(deque(works))
    finally:
        ray.shutdown()


def connect(address: str) -> None:
    """Join a cluster, or start one. Raises InputError where there is none."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = address == "local"
    try:
        ray.init(
            None if own else address,
            num_cpus=cores() if own else None,
            include_dashboard=False if own else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--ray {address}: there is no Ray cluster to join ({reason}); start one with ray start --head, or give"
            " --ray local"
        ) from error


def _run(waiting: deque[Work]) -> Iterator[Outcome]:
    """As many shards at a time as keep all cores busy."""
    flight: dict[Any, Work] = {}
    while waiting or flight:
        while waiting and len(flight) < _shards_at_a_time(waiting[0].job):
            work = waiting.popleft()
            flight[_do_shard.remote(work)] = work
        ready, _ = ray.wait(list(flight), num_returns=1)
        yield _outcome(flight.pop(ready[0]), ready[0])


def _shards_at_a_time(job: Job) -> int:
    tasks = int(resources().get("CPU", 1)) // (job.running.threads or 1)
    return max(2, 2 * -(-tasks // IN_FLIGHT))


def _outcome(work: Work, reference: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except RayTaskError:  # a fault of ours keeps its traceback
        raise
    except RayError as error:
        return Outcome(work.shard.name, error=f"{work.shard}: {str(error).splitlines()[0]}")
    return outcome


@ray.remote(num_cpus=0, max_retries=-1, scheduling_strategy="SPREAD")
def _do_shard(work: Work) -> Outcome:
    """Do a shard; it waits for other tasks most of the time, and so counts for no core."""
    return finish_shard(work, lambda results, missing: _make(work.job, results, missing))


def _make(job: Job, results: ShardResults, missing: Iterator[NumberedPhotos]) -> None:
    """Make the parts that are missing of a shard."""
    flight: _Flight = {}
    while parts := list(islice(missing, ENCODED // DECODED)):
        _send(job, results, parts, flight)
        while len(flight) > IN_FLIGHT:
            _receive(job, results, flight)
    while flight:
        _receive(job, results, flight)


def _send(job: Job, results: ShardResults, parts: Sequence[NumberedPhotos], flight: _Flight) -> None:
    """Have the photos of some parts encoded by one task, and each part decoded by another."""
    made = _stage(job, _encode, num_returns=len(parts)).remote(job, *(photos for _, photos in parts))
    for (number, photos), encoded in zip(parts, made if len(parts) > 1 else [made], strict=True):
        flight[_stage(job, _decode_to).remote(job, encoded, results.part(number))] = number, photos


def _receive(job: Job, results: ShardResults, flight: _Flight) -> None:
    """Wait for one part."""
    ready, _ = ray.wait(list(flight), num_returns=1)
    number, photos = flight.pop(ready[0])
    try:
        ray.get(ready[0])
    except ObjectLostError:  # a machine ended with the embeddings, more than once
        _send(job, results, [(number, photos)], flight)
    except CRASHES:
        part = join([_alone(job, photo) for photo in photos])
        results.part(number).write([part.to_bytes()])


def _alone(job: Job, photo: StoredPhoto) -> Part:
    """The results of a photo at which a process may end."""
    while True:
        try:
            encoded = _stage(job, _encode).remote(job, [photo])
            part: Part = ray.get(_stage(job, _decode).remote(job, encoded))
        except ObjectLostError:
            continue
        except OutOfMemoryError:
            return Part.of([Failure(photo.file_name, "takes more memory than there is")])
        except WorkerCrashedError:
            return Part.of([Failure(photo.file_name, "ends the process that works on it")])
        return part


def _stage(job: Job, task: Any, **options: Any) -> Any:
    """A task with the cores that an engine uses or, on machines with GPUs, its part of one."""
    wants: dict[str, Any] = {"num_cpus": job.running.threads or 1}
    if resources().get("GPU") and job.running.device in ("auto", "cuda"):
        # A process keeps its engine and its device, so it has to see all of them. max_calls=0: and does not end.
        sees_all = {"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}}
        wants = {"num_cpus": 1, "num_gpus": 0.5, "runtime_env": sees_all}
    return task.options(**wants, max_retries=TRIES - 1, **options)


def resources() -> dict[str, float]:
    """The cores ("CPU"), "GPU" and so on that the machines of the cluster have now."""
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return found


@ray.remote(max_calls=0)
def _encode(job: Job, *parts: Photos) -> Any:
    encoded = [encode_photos(_stages(job), photos) for photos in parts]
    return encoded if len(encoded) > 1 else encoded[0]


@ray.remote(max_calls=0)
def _decode(job: Job, encoded: Any) -> Part:
    return Part.of(decode_photos(_stages(job), encoded))


@ray.remote(max_calls=0)
def _decode_to(job: Job, encoded: Any, output: StoragePath) -> None:
    output.write([Part.of(decode_photos(_stages(job), encoded)).to_bytes()])


_opened: dict[str, Stages] = {}


def _stages(job: Job) -> Stages:
    """The job's engine in this process, on the GPU that the task has, if any; it stays open for the next task."""
    if gpus := ray.get_gpu_ids():
        job = replace(job, running=replace(job.running, device=f"cuda:{gpus[0]}"))
    key = repr(job)
    if key not in _opened:
        _opened[key] = job.open()
    return _opened[key]

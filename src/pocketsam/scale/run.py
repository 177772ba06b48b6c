"""A job over many shards, from their paths to the manifest of all results; and a shard, in this process.

    inputs → shards ─► on this machine, one after the other ─┐
                    └► on a Ray cluster (cluster.py)         ─┴─► outcomes → manifest.jsonl

Either way a shard goes through the same stages (job.py) to the same files (results.py). The same call goes on where
a run ended, whatever ended it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pocketsam.engines.base import EngineOptions
from pocketsam.engines.registry import resolve
from pocketsam.errors import InputError
from pocketsam.predict.formats import means_a_file
from pocketsam.scale.arguments import ScaleArguments
from pocketsam.scale.job import Job
from pocketsam.scale.results import Outcome, Work, begin, end
from pocketsam.scale.shards import find_shards
from pocketsam.scale.storage import storage_path
from pocketsam.scale.work import do_shard
from pocketsam.utils.progress import Progress
from pocketsam.utils.running import Running
from pocketsam.utils.wording import count
from pocketsam.zoo import locate


@dataclass(frozen=True)
class Summary:
    """What became of all shards, in order."""

    output: str
    outcomes: Sequence[Outcome]

    @property
    def failed(self) -> list[str]:
        """A line for each shard that is not done."""
        return [one.error for one in self.outcomes if one.error]

    @property
    def quarantined(self) -> int:
        """How many photos could not be used; the manifest says why."""
        return sum(len(one.manifest.get("quarantined", ())) for one in self.outcomes)

    def total(self, name: str) -> int:
        """The sum of the shards' "photos" or "masks"."""
        return sum(one.manifest.get(name, 0) for one in self.outcomes)

    def __str__(self) -> str:
        text = f"{self.output}: {count(self.total('photos'), 'photo')}"
        if masks := self.total("masks"):
            text += f", {count(masks, 'mask')}"
        done = [one for one in self.outcomes if not one.error]
        text += f", {count(len(done), 'shard')}"
        if resumed := sum(one.resumed for one in done):
            text += f", {resumed} of them done by an earlier run"
        if self.quarantined:
            text += f"; {count(self.quarantined, 'photo')} could not be used: manifest.jsonl says why"
        return text

    def check(self) -> None:
        """Raises InputError with the first of the shards that failed."""
        if self.failed:
            others = f", and {count(len(self.failed) - 1, 'other shard')}" if len(self.failed) > 1 else ""
            raise InputError(f"{self.failed[0]}{others}; the same command tries again")


def run(
    job: Job,
    inputs: Iterable[str | Path],
    output: str | Path,
    args: ScaleArguments | None = None,
    after_shard: Callable[[Outcome, int], None] = lambda outcome, shards: None,
) -> Summary:
    """Do a job over all shards in `inputs`, and publish the results of each in the folder `output`.

    inputs: tar shards, folders of them, folders of photos, photos; paths or URLs.
    args: where, and how results are stored; by default in this process, as tar.
    after_shard: sees what became of each shard, in any order, and how many there are.
    A shard that fails does not stop the others. Raises InputError where there is nothing to do, the output holds
    results of other settings, or nothing can be written; ModelError where the model cannot be run.
    """
    args = args or ScaleArguments()
    shards, folder = find_shards(inputs), storage_path(output)
    format = "parquet" if args.parquet else "tar"
    if args.ray:  # as many processes as cores, each with a thread: the least waiting
        job = replace(job, running=alike_everywhere(job.model, job.running))
    stages = job.open()
    settings = begin(folder, {"job": job.name, "format": format, **stages.settings()}, stages.shared_files())
    works = [Work(job, settings, shard, folder, format) for shard in shards]
    found = _on_ray(works, args.ray) if args.ray else (do_shard(work, stages) for work in works)
    outcomes: dict[str, Outcome] = {}
    for outcome in found:
        outcomes[outcome.shard] = outcome
        after_shard(outcome, len(shards))
    summary = Summary(str(folder), [outcomes[shard.name] for shard in shards])
    if not summary.failed:
        end(folder, summary.outcomes)
    return summary


def run_with_progress(
    job: Job,
    inputs: Iterable[str | Path],
    output: Path | None,
    args: ScaleArguments,
    say: Callable[[str], None] = print,
) -> None:
    """The same, showing how far it is. say: gets a line at the end, with what was done and where the results are.

    Raises as `run` does, and InputError where `output` is no folder, or a shard failed.
    """
    if output is None or means_a_file(output):
        raise InputError("shards need a folder for their results; give a folder or URL: -o FOLDER")
    with Progress("shards", resumes=True) as progress:
        done = 0

        def show(outcome: Outcome, shards: int) -> None:
            nonlocal done
            done += outcome.manifest.get("photos", 0)
            if outcome.error:
                progress.warn(outcome.error)
            progress.update(progress.done + 1, shards, f"{done} photos")

        summary = run(job, inputs, output, args, show)
    say(str(summary))
    summary.check()


def alike_everywhere(model: str, running: Running) -> Running:
    """The engine and the precision that "auto" is here, for machines whose own choice may be another; and threads."""
    source, config = locate(model)
    wanted = EngineOptions(running.device, running.precision, config=config)
    entry, options = resolve(source, running.engine, wanted)
    threads = running.threads or 1
    return replace(running, engine=entry.name, precision=options.precision, threads=threads)


def _on_ray(works: Sequence[Work], address: str) -> Iterator[Outcome]:
    from pocketsam.scale.cluster import run_on_ray

    return run_on_ray(works, address)

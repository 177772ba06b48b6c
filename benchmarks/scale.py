"""Jobs over shards on Ray: their results when everything is killed, their speed, and what millions of photos cost.

Run: python benchmarks/scale.py kill val-000.tar --photos 40 --shards 8 --seeds 3
     python benchmarks/scale.py throughput val-000.tar --photos 200
     python benchmarks/scale.py capacity val-000.tar --photos 40

The cluster is two machines that are processes of this one, with a core each (two raylets). Keep the machine free for
`throughput`; `capacity` counts seconds of the processor, which other programs change little.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from pocketsam.automatic.options import Options
from pocketsam.scale.arguments import ScaleArguments
from pocketsam.scale.job import Files, Job, decode_photos, encode_photos
from pocketsam.scale.jobs.everything import Everything
from pocketsam.scale.results import Part
from pocketsam.scale.run import run
from pocketsam.scale.shards import Shard, StoredPhoto, find_shards, is_photo
from pocketsam.utils.running import Running

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Source = Annotated[Path, typer.Argument(help="A tar shard, whose first photos are used.")]
Photos = Annotated[int, typer.Option(help="How many photos.")]
Shards = Annotated[int, typer.Option(help="Into how many shards they are divided.")]
Side = Annotated[int, typer.Option("--points-per-side", help="Of everything mode's grid.")]


@app.command()
def kill(
    source: Source, photos: Photos = 40, shards: Shards = 8, seeds: int = 3, points_per_side: Side = 24
) -> None:
    """Kill a process, a machine and the command at random moments, start again, and compare the bytes."""
    with _folder() as folder, _two_machines() as cluster:
        inputs = _divide(source, folder / "shards", photos, shards)
        words = [str(inputs), "--points-per-side", str(points_per_side), "--ray", cluster.address]
        began = time.monotonic()
        _finish(_start(words, folder / "undisturbed"))
        seconds = time.monotonic() - began
        expected = _digests(folder / "undisturbed")
        print(f"undisturbed: {photos} photos in {shards} shards, {seconds:.0f} s", flush=True)
        same = 0
        for seed in range(seeds):
            out = folder / f"seed-{seed}"
            killed = _disturb(random.Random(seed), words, out, seconds, cluster)
            is_same = _digests(out) == expected
            same += is_same
            print(f"seed {seed}: {killed}; {'the same bytes' if is_same else 'OTHER BYTES'}", flush=True)
            shutil.rmtree(out)
        print(f"{same} of {seeds} runs gave the bytes of the undisturbed one")


def _disturb(rng: random.Random, words: Sequence[str], out: Path, seconds: float, cluster: Any) -> str:
    """A run of which a process, a machine and the command are killed, and the next run; says what was killed when."""
    moments = sorted(rng.uniform(0.25, 0.9) * seconds for _ in range(3))
    began, told = time.monotonic(), []
    command = _start(words, out)
    for index, (moment, what) in enumerate(zip(moments, ("process", "machine", "command"), strict=True)):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        done = len(list(out.glob("*.manifest.json")))
        if what == "process":
            told.append(f"process {_kill_worker(rng, cluster)} at {moment:.0f} s")
        elif what == "machine":
            cluster.remove_node(cluster.second, allow_graceful=False)
        else:
            command.send_signal(signal.SIGKILL)
            command.wait()
        if len(told) == index:
            told.append(f"{what} at {moment:.0f} s")
        told[index] += f" with {done} shards done"
    cluster.second = cluster.add_node(**MACHINE)
    _finish(_start(words, out))
    return ", ".join(told)


def _kill_worker(rng: random.Random, cluster: Any) -> str:
    """Kill a process that works on a task, and return its name."""
    machines = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}
    workers = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                name = (entry / "cmdline").read_bytes().partition(b"\0")[0].decode()
            except OSError:
                continue
            if parent in machines and name.startswith("ray::_"):
                workers[int(entry.name)] = name
    if not workers:
        return "(none was there)"
    pid = rng.choice(sorted(workers))
    os.kill(pid, signal.SIGKILL)
    return workers[pid]


@app.command()
def throughput(source: Source, photos: Photos = 200, shards: Shards = 8, points_per_side: Side = 24) -> None:
    """Photos a second of two processes of `pocketsam everything`, each with half of the shards, and of Ray."""
    with _folder() as folder:
        inputs = sorted(_divide(source, folder / "shards", photos, shards).iterdir())
        options = ["--points-per-side", str(points_per_side), "--threads", "1"]
        began = time.monotonic()
        halves = [
            _start([*map(str, inputs[half::2]), *options], folder / f"plain-{half}") for half in range(2)
        ]
        for half in halves:
            _finish(half)
        plain = photos / (time.monotonic() - began)
        print(f"two processes: {plain:.2f} photos/s", flush=True)
        with _two_machines() as cluster:
            began = time.monotonic()
            _finish(_start([*map(str, inputs), *options, "--ray", cluster.address], folder / "ray"))
            on_ray = photos / (time.monotonic() - began)
        print(f"Ray, two machines: {on_ray:.2f} photos/s, {on_ray / plain:.2f} of it")


@dataclass(frozen=True)
class Cost:
    """Processor seconds of a photo: reading and encoding, finding masks, and storing these; and bytes stored."""

    encode: float
    decode: float
    store: float
    bytes: float

    @property
    def seconds(self) -> float:
        return self.encode + self.decode + self.store


@app.command()
def capacity(
    source: Source,
    photos: Photos = 40,
    points_per_side: Side = 24,
    total: int = 11_000_000,
    price: Annotated[float, typer.Option(help="Of a core for an hour, in US dollars.")] = 0.04,
    stored: Annotated[float, typer.Option(help="Of a gigabyte stored for a month, in US dollars.")] = 0.023,
    workers: Annotated[str, typer.Option(help="Simulated cores.")] = "1,2,4,8,16",
) -> None:
    """Processor seconds and bytes of a photo; how the rate grows with simulated cores; and what millions cost."""
    job = Everything(running=Running(threads=1), options=Options(points_per_side=points_per_side))
    with _folder() as folder:
        inputs = _divide(source, folder / "shards", photos, 1)
        cost = _measure(job, find_shards([inputs])[0], folder / "part")
    print(
        f"a photo: {cost.encode:.3f} s to read and encode, {cost.decode:.3f} s to find masks, {cost.store:.4f} s"
    )
    print(f"to store {cost.bytes / 1e3:.1f} kB; {1 / cost.seconds:.2f} photos/s a core")
    hours, gigabytes = total * cost.seconds / 3600, total * cost.bytes / 1e9
    print(
        f"{total:,} photos: {hours:,.0f} core-hours, {hours * price:,.0f} $ at {price} $;"
        f" {gigabytes:,.0f} GB, {gigabytes * stored:,.0f} $ a month at {stored} $"
    )
    rates = {}
    for cores in map(int, workers.split(",")):
        rate, busy = _simulate(cost, cores)
        rates[cores] = rate
        ideal = cores / (cost.encode + cost.decode)
        print(
            f"{cores} simulated cores: {rate:.2f} photos/s, {rate / ideal:.2f} of the ideal;"
            f" {busy * 1e3:.0f} ms of a processor a photo for everything but the model",
            flush=True,
        )

    slope = sum(cores * rate for cores, rate in rates.items()) / sum(cores**2 for cores in rates)
    days = total / slope / 64 / 86400
    print(f"the line through 0: {slope:.3f} photos/s a core; {total:,} photos on 64 cores: {days:.1f} days")


def _measure(job: Everything, shard: Shard, part: Path) -> Cost:
    stages, seconds, size, photos = job.open(), [0.0, 0.0, 0.0], 0, 0
    read = shard.read()
    decode_photos(stages, encode_photos(stages, list(islice(shard.read(), 1))))  # the first takes longer
    while True:
        moments = [time.process_time()]
        given = list(islice(read, 4))
        if not given:
            return Cost(*(one / photos for one in seconds), size / photos)
        encoded = encode_photos(stages, given)
        moments.append(time.process_time())
        found = decode_photos(stages, encoded)
        moments.append(time.process_time())
        made = Part.of(found)
        part.write_bytes(made.to_bytes())
        moments.append(time.process_time())
        seconds = [
            one + after - before
            for one, before, after in zip(seconds, moments[:-1], moments[1:], strict=True)
        ]
        photos, size = photos + len(given), size + len(made.content)


@dataclass(frozen=True)
class Sleeping(Job):
    """Takes as long as a job, but sleeps. size: of a photo's results, in bytes."""

    name: ClassVar[str] = "sleeping"
    encoding: float = 0.1
    decoding: float = 0.3
    size: int = 10_000

    def open(self) -> "Sleeping":
        return self

    def settings(self) -> dict[str, Any]:
        return {}

    def shared_files(self) -> dict[str, bytes]:
        return {}

    def encode(self, photo: StoredPhoto) -> tuple[str, bytes]:
        time.sleep(self.encoding)
        return photo.name, bytes(1 << 20)  # as large as pocket's embedding

    def decode(self, encoded: tuple[str, bytes]) -> Files:
        time.sleep(self.decoding)
        return Files(((f"{encoded[0]}.json", bytes(self.size)),), 1)


def _simulate(cost: Cost, cores: int) -> tuple[float, float]:
    """Photos a second of so many cores that sleep, and processor seconds a photo; without the first shards."""
    job = Sleeping(encoding=cost.encode, decoding=cost.decode, size=int(cost.bytes))
    shards = 12 * cores
    with _folder() as folder, _machines([cores]) as cluster:
        (folder / "shards").mkdir()
        for number in range(shards):
            photos_of_it = [(f"{i}.jpg", bytes(30_000)) for i in range(PHOTOS_SIMULATED)]
            _write(folder / "shards" / f"{number:04}.tar", photos_of_it)
        moments: list[float] = []
        busy = [0.0]

        def note(*_: Any) -> None:
            moments.append(time.monotonic())
            busy.append(_processor_seconds(cluster))

        run(job, [folder / "shards"], folder / "out", ScaleArguments(ray=cluster.address), note)
    middle = slice(len(moments) // 4, None)  # without the start of the processes
    photos = PHOTOS_SIMULATED * (len(moments[middle]) - 1)
    rate = photos / (moments[-1] - moments[middle][0])
    return rate, (busy[-1] - busy[1:][middle][0]) / photos


def _processor_seconds(cluster: Any) -> float:
    """Of this process, and of all processes of the cluster."""
    own = [os.getpid()]
    for node in cluster.list_all_nodes():
        own += [one.process.pid for kind in node.all_processes.values() for one in kind]
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(entry.name) in own or int(fields[1]) in own:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


PHOTOS_SIMULATED = 8
"""Of a shard."""
MACHINE = {"num_cpus": 1, "object_store_memory": 200 << 20}


@contextmanager
def _two_machines() -> Iterator[Any]:
    with _machines([1, 1]) as cluster:
        yield cluster


@contextmanager
def _machines(cores: Sequence[int]) -> Iterator[Any]:
    """A cluster of machines with so many cores; `second` is the one that is not the head."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "PYTHONPATH": path}
    from ray.cluster_utils import Cluster

    head = {**MACHINE, "num_cpus": cores[0], "include_dashboard": False}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    for more in cores[1:]:
        cluster.second = cluster.add_node(**{**MACHINE, "num_cpus": more})
    try:
        yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pocketsam-scale-") as folder:
        yield Path(folder)


def _divide(source: Path, folder: Path, photos: int, shards: int) -> Path:
    """Shards of the first photos of an archive, each of about as many."""
    folder.mkdir()
    with tarfile.open(source) as tar:
        members = list(islice((one for one in tar if is_photo(one.name)), photos))
        contents = [(one.name, tar.extractfile(one).read()) for one in members]  # type: ignore[union-attr]
    for number in range(shards):
        _write(folder / f"{number:04}.tar", contents[number::shards])
    return folder


def _write(path: Path, files: Sequence[tuple[str, bytes]]) -> None:
    from pocketsam.utils.tars import END, member

    path.write_bytes(b"".join(member(*file) for file in files) + END)


def _start(words: Sequence[str], out: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pocketsam", "everything", *words, "-o", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _finish(process: "subprocess.Popen[bytes]") -> None:
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"pocketsam everything ended with {process.returncode}: {said.decode()[-2000:]}")


def _digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file; and whether each photo is in one result, once."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names: list[str] = []
    for path in files:
        if path.suffix == ".tar":
            with tarfile.open(path) as tar:
                names += tar.getnames()
    twice = json.dumps(sorted({name for name in names if names.count(name) > 1}))
    digests = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {**digests, "photos": str(len(names)), "twice": twice}


if __name__ == "__main__":
    app()

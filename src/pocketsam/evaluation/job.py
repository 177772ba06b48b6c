"""One evaluation from a model's name to the folder of its result: what the command `pocketsam evaluate` does.

settings and data ─► protocol, model ─► record: all that determines the numbers
                                          │
                    session.run ◄─────────┴─► folder, journal
                         └──► protocol.summarise ─► report ─► output: the folder's files
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from pocketsam.data.sample import Dataset
from pocketsam.engines import cores
from pocketsam.engines.source import weights_file
from pocketsam.errors import InputError
from pocketsam.evaluation.average_precision import require_counter
from pocketsam.evaluation.output import EXAMPLES, check_folder, left_out, settings, write_masks, write_report
from pocketsam.evaluation.protocol import EvaluationProtocol, Measurement, OpenModel
from pocketsam.evaluation.protocols import PROTOCOLS
from pocketsam.evaluation.protocols.efficiency import Efficiency, measure_efficiency
from pocketsam.evaluation.provenance import fingerprint, model_files, versions
from pocketsam.evaluation.results import Means, PhotoResult, Report
from pocketsam.evaluation.session import Pool, run
from pocketsam.evaluation.timing import BenchmarkCase
from pocketsam.utils.files import check_writable
from pocketsam.utils.install import how_to_install
from pocketsam.utils.journal import Journal, settings_digest
from pocketsam.utils.options import Option, flag_of, option, options_of
from pocketsam.utils.running import ExactRunning, Running
from pocketsam.zoo import locate

RESULTS = Path("evaluation")
"""Where results go that are given no folder."""
BATCH = 64
MOST_WORKERS, PHOTOS_WORTH_WORKERS, SMALL_MODEL = 4, 40, 100 << 20
"""By default there are no more processes than these, and none for fewer images, nor for larger models (bytes)."""

Progress: TypeAlias = Callable[[int, int, str], None]
"""Is called with how many of how many steps are done, and the means so far, as text."""


@dataclass(frozen=True)
class Run(ExactRunning):
    """How to run an evaluation. Nothing but model, engine, device, precision and limit changes the numbers.

    model, engine, device, precision, threads: as in `Segmenter`.
    output: the folder of the result; None: one in `evaluation`, named after the model, the protocol and the settings.
    pool: what measures the images instead of this machine.
    The other fields are options of the command line, where their help describes them.
    """

    model: str = "pocket"
    output: Path | None = None
    pool: Pool | None = None
    photos: Path | None = field(
        default=None,
        metadata=option(
            Path, "The photos of a COCO or LVIS .json, or of an annotation tool's files.", metavar="FOLDER"
        ),
    )
    limit: int | None = field(
        default=None, metadata=option(int, "Measure only the first N photos.", metavar="N", minimum=1)
    )
    worst: int = field(
        default=0, metadata=option(int, "Also draw a sheet of the N worst masks.", metavar="N", minimum=0)
    )
    batch: int = field(
        default=BATCH, metadata=option(int, "Prompts decoded at a time.", metavar="N", minimum=1)
    )
    workers: int | None = field(
        default=None,
        metadata=option(
            int,
            "Processes, each with a model of its own; 0: only the main process. By default up to 4 where that is"
            " faster.",
            metavar="N",
            minimum=0,
        ),
    )

    @property
    def opening(self) -> dict[str, Any]:
        """How the model is opened, in a process of its own or in this one."""
        return {one.name: getattr(self, one.name) for one in fields(Running)}


@dataclass(frozen=True)
class Outcome:
    """A report, its folder, the names of the files in it, and what was left out of the measurement, a line each."""

    report: Report
    folder: Path
    files: list[str]
    left_out: list[str]

    def notes(self) -> Iterator[str]:
        """What there is to know beside the tables, a line each."""
        if self.left_out:
            yield f"Left out: {len(self.left_out)}, such as {self.left_out[0]}; all of them are in result.json."
        if self.report.curves and "curves.png" not in self.files:
            yield f"No curves were drawn, as matplotlib is not installed: {how_to_install('evaluate')}"
        yield f"Written to {self.folder}: {', '.join(self.files)}"


def evaluate(
    protocol: type[Measurement],
    given: Mapping[str, Any],
    how: Run,
    data: Sequence[Path] = (),
    progress: Progress = lambda done, total, means: None,
) -> Outcome:
    """Measure a model by a protocol, and write the result into a folder.

    given: the protocol's options as they are typed on the command line; None, or nothing, for the default.
    data: files or folders of images with masks; none for `efficiency`.
    A run that was killed resumes when the same is called again.
    Raises InputError when the options make no sense, nothing can be measured, or the folder cannot be written to or
    holds the result of other settings; ModelError when the model cannot be used.
    """
    if how.output is not None:
        _check_output(how.output)
    chosen = protocol.read(given)
    if how.pool and (not issubclass(protocol, EvaluationProtocol) or protocol.is_timed):
        raise InputError(f"{protocol.name} takes the time of one machine; leave out --ray")
    if issubclass(protocol, Efficiency):
        if data:
            raise InputError(f"{protocol.name} is measured without data; leave {data[0]} out")
        return _measure_models(protocol(**chosen), how, progress)
    if not issubclass(protocol, EvaluationProtocol):
        raise TypeError(f"{protocol} is neither an EvaluationProtocol nor Efficiency")
    if not data:
        raise InputError(
            f"give the photos to measure {protocol.name} on: pocketsam {protocol.group} {protocol.name} DATA"
        )
    if protocol.needs_counter:
        require_counter()
    return _measure_photos(protocol, chosen, how, data, progress)


def check_unknown_options(
    protocol: type[Measurement], data: Iterable[Path], table: Mapping[str, type[Measurement]] = PROTOCOLS
) -> None:
    """Raises InputError for an option among the data, which the protocol does not have; it names those that do.

    table: the protocols of its command.
    """
    for word in map(str, data):
        if not word.startswith("-"):
            continue
        flag = word.partition("=")[0]
        having = [name for name, other in table.items() if flag in map(flag_of, all_options(other))]
        if having:
            raise InputError(f"{flag} is for {' and '.join(having)}, not for {protocol.name}; leave it out")
        command = f"pocketsam {protocol.group} {protocol.name}"
        raise InputError(f"there is no option {flag}; {command} --help shows all")


def all_options(protocol: type[Measurement]) -> dict[str, Option]:
    """The options of a protocol and those of a run by it, in the order in which help lists them."""
    return run_options(protocol) | protocol.options()


def run_options(protocol: type[Measurement]) -> dict[str, Option]:
    """The options of a run by a protocol."""
    if issubclass(protocol, EvaluationProtocol):
        return protocol.run_options(options_of(Run))
    return options_of(ExactRunning)


def _measure_photos(
    kind: type[EvaluationProtocol],
    chosen: Mapping[str, Any],
    how: Run,
    data: Sequence[Path],
    progress: Progress,
) -> Outcome:
    dataset = kind.open_data(data, how.photos)
    count = len(dataset) if how.limit is None else min(how.limit, len(dataset))
    segmenter = kind.opener(how.model, **how.opening, batch=how.batch)()
    files = {name: model_files(name) for name in _models(kind, chosen, how)}
    size = sum(file["bytes"] for one in files.values() for file in one)
    workers = _workers(kind, segmenter, size, count) if how.workers is None else how.workers
    opening = {**how.opening, "batch": how.batch}
    if workers or how.pool:
        opening["threads"] = how.threads or (1 if how.pool else max(1, cores() // workers))
    protocol = kind.build(
        chosen,
        dataset,
        lambda name: kind.opener(name, **{**opening, "engine": _engine_for(name, how.engine)}),
    )
    ran = {"threads": opening["threads"], "batch": how.batch, "workers": workers, "cores": cores()}
    record = {
        "protocol": {"name": kind.name, "follows": kind.follows, **settings(protocol)},
        **_model_record(kind, chosen, how, segmenter, files),
        "data": [fingerprint(path, without=how.output or RESULTS) for path in _paths(data, how, chosen)],
        **({"threads": ran["threads"], "workers": workers} if kind.is_timed else {}),
    }
    opened = None if workers or how.pool else segmenter
    del segmenter  # the workers open their own
    open_model = kind.opener(how.model, **opening) if workers or how.pool else lambda: opened
    return _measure(protocol, dataset, open_model, count, how, record, ran, progress)


def _engine_for(model: str, engine: str) -> str:
    """The engine that another model is compared on: PyTorch has no use for ONNX files, such as those of INT8."""
    return "auto" if engine == "torch" and weights_file(locate(model)[0]) is None else engine


def _models(kind: type[Measurement], chosen: Mapping[str, Any], how: Run) -> list[str]:
    """The model, and those that the settings name."""
    named = (chosen.get(name) for name, one in kind.options().items() if one.names_model)
    return [how.model, *(model for value in named if value for model in _listed(value))]


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    """The names that an option has, which may be given once or repeatedly."""
    return [value] if isinstance(value, str) else value


def _paths(data: Sequence[Path], how: Run, chosen: Mapping[str, Any]) -> list[Path]:
    """All files and folders that the numbers depend on."""
    named = [value for value in chosen.values() if isinstance(value, Path)]
    return [*data, *named, *([how.photos] if how.photos else [])]


def _model_record(
    kind: type[Measurement],
    chosen: Mapping[str, Any],
    how: Run,
    segmenter: Any,
    files: Mapping[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    others = {
        name: [{"name": model, "files": files[model]} for model in _listed(chosen[name])]
        for name, one in kind.options().items()
        if one.names_model and chosen.get(name)
    }
    engine = segmenter.engine
    return {
        "model": {"name": how.model, "description": asdict(engine.config), "files": files[how.model]},
        **others,
        "engine": engine.info.name,
        "device": engine.info.device,
        "precision": engine.info.numerics,
        "versions": versions(),
    }


def _workers(kind: type[EvaluationProtocol], segmenter: Any, size: int, count: int) -> int:
    """How many processes are fastest: on a CPU one a core; but few images are not worth their start.

    size: of all models' files, in bytes. count: of images.
    """
    if kind.is_timed or segmenter.engine.info.device != "cpu" or cores() == 1:
        return 0
    return min(MOST_WORKERS, cores()) if size <= SMALL_MODEL and count >= PHOTOS_WORTH_WORKERS else 0


def _measure(
    protocol: EvaluationProtocol,
    dataset: Dataset,
    open_model: OpenModel,
    count: int,
    how: Run,
    record: dict[str, Any],
    ran: dict[str, Any],
    progress: Progress,
) -> Outcome:
    """Run the protocol on the first `count` images and write its result.

    record: all that determines the results. ran: what else there is to know of how they were measured.
    """
    folder = _folder(protocol.name, how, {**record, "photos": count})
    journal = Journal(folder / "journal.jsonl", record)
    means, done = Means(), 0

    def after_photo(result: PhotoResult) -> None:
        nonlocal done
        done += 1
        means.add(result)
        progress(done, count, means.as_text())

    results = run(
        protocol,
        dataset,
        open_model,
        photos=range(count),
        workers=ran["workers"],
        pool=how.pool,
        journal=journal,
        after_photo=after_photo,
    )
    losses = left_out(results)
    if not any(result.rows for result in results):
        journal.remove()  # there is nothing in it to go on with
        why = f" ({losses['left_out'][0]})" if losses["left_out"] else ""
        raise InputError(f"there are no masks to measure on in these {count} photos{why}")
    report = protocol.summarise(results)
    pictures = protocol.pictures(results, dataset, open_model)
    report = replace(report, files=report.files | pictures)
    names = write_report(folder, report, {**record, **ran, "photos": count, **losses})
    names += write_masks(folder, results, dataset, protocol.headline, how.worst)
    for name in {"curves.png", "worst.jpg", EXAMPLES}.difference(names):  # those of an earlier result
        (folder / name).unlink(missing_ok=True)
    journal.remove()
    return Outcome(report, folder, names, losses["left_out"])


def _measure_models(protocol: Efficiency, how: Run, progress: Progress) -> Outcome:
    """Time the models in turns, and write the result."""
    models = [how.model, *protocol.against]
    record = {
        "protocol": {"name": protocol.name},
        "models": [{"name": model, "files": model_files(model)} for model in models],
        **how.opening,
        "versions": versions(),
    }
    folder = _folder(protocol.name, how, record)
    report = measure_efficiency(
        [BenchmarkCase(model, **how.opening) for model in models],
        progress=lambda done, total: progress(done, total, ""),
    )
    return Outcome(report, folder, write_report(folder, report, record), [])


def _folder(protocol: str, how: Run, record: dict[str, Any]) -> Path:
    """The folder of the result. Raises InputError when it holds that of other settings, or cannot be written to."""
    if how.output is not None:
        folder = how.output
    else:
        lasting = {name: value for name, value in record.items() if name != "versions"}
        folder = RESULTS / f"{_short_name(how.model)}-{protocol}-{settings_digest(lasting)[:8]}"
        _check_output(folder)
    check_folder(folder, record)
    return folder


def _short_name(model: str) -> str:
    """For a folder: the model's name or, where its file is called as all are, its folder's."""
    path = Path(model)
    return path.parent.name if path.name == "model.safetensors" and path.parent.name else path.stem


def _check_output(folder: Path) -> None:
    if folder.is_file() or folder.suffix in (".json", ".csv", ".md"):
        raise InputError(f"{folder}: the result is a folder of files; give the name of a folder")
    check_writable(folder, missing=True)

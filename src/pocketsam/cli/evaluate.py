"""`pocketsam evaluate PROTOCOL DATA`: measure a model the way a paper does, on any engine.

A command for each protocol: the options that all have, and those that its own file declares.
"""

from __future__ import annotations

from functools import cache
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pocketsam.cli.options import Device, Engine, Model, Precision, Threads
from pocketsam.errors import InputError

if TYPE_CHECKING:
    from pocketsam.evaluation.job import Outcome
    from pocketsam.evaluation.protocol import Measurement, Option

PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "pretty_exceptions_enable": False}

Data = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Photos with masks: tar shards or folders of NAME.jpg beside NAME.json (SA-1B), a COCO or LVIS"
        " .json, images/ with labels/, the Data Science Bowl's layout.",
        metavar="DATA",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="The folder of the result; one in evaluation/, named after the model, the protocol and the settings.",
        metavar="FOLDER",
    ),
]


def _on_photos(
    data: Data = None,
    model: Model = "pocket",
    photos: Annotated[
        Path | None, typer.Option(help="The photos of a COCO or LVIS .json.", metavar="FOLDER")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Measure only the first N photos.", metavar="N")
    ] = None,
    worst: Annotated[
        int, typer.Option(min=0, help="Also draw a sheet of the N worst masks.", metavar="N")
    ] = 0,
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "float32",
    threads: Threads = None,
    batch: Annotated[int, typer.Option(min=1, help="Prompts decoded at a time.", metavar="N")] = 64,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes, each with a model of its own; 0: only the main process. By default up to 4 where that is"
            " faster.",
            metavar="N",
        ),
    ] = None,
    output: Output = None,
) -> None:
    """The options of every protocol that measures on photos."""


WITHOUT_PHOTOS = "model", "engine", "device", "precision", "threads", "output"
"""Those of the options above that protocols without photos have."""


class Protocols(TyperGroup):
    """The protocols as commands, which are made when they are first needed: `pocketsam --help` starts at once."""

    def list_commands(self, ctx: Any) -> list[str]:
        from pocketsam.evaluation.protocols import PROTOCOLS

        return list(PROTOCOLS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from pocketsam.evaluation.protocols import PROTOCOLS

        if cmd_name not in PROTOCOLS:
            names = list(PROTOCOLS)
            raise InputError(f"there is no protocol {cmd_name!r}; use {', '.join(names[:-1])} or {names[-1]}")
        return _command(PROTOCOLS[cmd_name])


evaluate = typer.Typer(cls=Protocols, no_args_is_help=True, **PLAIN)


@evaluate.callback()
def _evaluate() -> None:
    """Measure a model as the papers do; `pocketsam evaluate clicks --help` shows the options of `clicks`.

    The same command goes on where a killed run stopped.
    """


@cache
def _parameters(protocol: type[Measurement]) -> dict[str, Parameter]:
    """The options of a protocol, as Typer reads them: the common ones, and those that it declares."""
    from pocketsam.evaluation.protocol import EvaluationProtocol

    common = dict(signature(_on_photos, eval_str=True).parameters)
    if not issubclass(protocol, EvaluationProtocol):
        hidden: Any = Annotated[list[Path] | None, typer.Argument(hidden=True)]
        data = common["data"].replace(annotation=hidden)
        common = {"data": data, **{name: common[name] for name in WITHOUT_PHOTOS}}
    return common | {name: _parameter(name, option) for name, option in protocol.options().items()}


@cache
def _command(protocol: type[Measurement]) -> Any:
    """The command of a protocol, with its options and what it reports."""
    parameters = _parameters(protocol)
    measure: Any = lambda **values: _measure(protocol, values)  # noqa: E731
    measure.__signature__ = Signature(list(parameters.values()))
    measure.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    app = typer.Typer(**PLAIN)
    app.command(
        protocol.name,
        help=f"{protocol.description}\n\nFollows {protocol.follows}.",
        short_help=protocol.summary,
        epilog="\b\nReports:\n" + "\n".join(f"  {name}: {text}" for name, text in protocol.results.items()),
        # What is no option ends among DATA, so that the line about it can name the protocols that have it.
        context_settings={"ignore_unknown_options": True},
    )(measure)
    return typer.main.get_command(app)


def _parameter(name: str, option: Option) -> Parameter:
    """An option of a protocol as Typer reads it."""
    shown = typer.Option(help=option.help, metavar=option.metavar, min=option.minimum)
    typed: Any = Annotated[option.type | None, shown]
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=typed, default=option.default)


def _measure(protocol: type[Measurement], values: dict[str, Any]) -> None:
    """Measure, show how far it is and the means so far, and print the tables."""
    from pocketsam.evaluation.job import Run, evaluate
    from pocketsam.utils.progress import Progress

    data = values.pop("data") or []
    _check_options(protocol, data)
    given = {name: values.pop(name) for name in protocol.options()}
    with Progress(protocol.name) as progress:

        def show(done: int, total: int, means: str) -> None:
            progress.update(done, means, total=total)

        outcome = evaluate(protocol, given, Run(**values), data, show)
    _print(outcome)


def _check_options(protocol: type[Measurement], data: list[Path]) -> None:
    """Raises InputError for an option that the protocol does not have, with the protocols that have it."""
    from pocketsam.evaluation.protocol import flag_of
    from pocketsam.evaluation.protocols import PROTOCOLS

    for word in map(str, data):
        if not word.startswith("-"):
            continue
        flag = word.partition("=")[0]
        having = [name for name, other in PROTOCOLS.items() if flag in map(flag_of, _parameters(other))]
        if having:
            raise InputError(f"{flag} is for {' and '.join(having)}, not for {protocol.name}; leave it out")
        raise InputError(f"there is no option {flag}; pocketsam evaluate {protocol.name} --help shows all")


def _print(outcome: Outcome) -> None:
    from rich.console import Console

    console = Console(markup=False)
    for table in outcome.report.tables:
        console.print(table.rich())
    for note in outcome.notes():
        console.print(note, soft_wrap=True)

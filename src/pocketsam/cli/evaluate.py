"""`pocketsam evaluate PROTOCOL DATA`: measure a model the way a paper does, on any engine.

A command for each protocol: the options that all have, those of a run, and those that its own file declares.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pocketsam.cli.app import PLAIN
from pocketsam.cli.options import RAY, Model, output_option, with_options
from pocketsam.errors import InputError

if TYPE_CHECKING:
    from pocketsam.evaluation.protocol import Measurement

DATA = (
    "Photos with masks: tar shards or folders of NAME.jpg beside NAME.json (SA-1B), a COCO or LVIS .json,"
    " the files of annotation tools (LabelMe, CVAT, Label Studio, YOLO, VOC), images/ with labels/, the Data Science"
    " Bowl's layout."
)


class Protocols(TyperGroup):
    """The protocols as commands, which are made when they are first needed: `pocketsam --help` starts at once."""

    kind = "protocol"

    def table(self) -> Mapping[str, Any]:
        """The protocols by name."""
        from pocketsam.evaluation.protocols import PROTOCOLS

        return PROTOCOLS

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.table())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        table = self.table()
        if cmd_name not in table:
            *names, last = table
            raise InputError(f"there is no {self.kind} {cmd_name!r}; use {', '.join(names)} or {last}")
        return _command(table[cmd_name], self)


evaluate = typer.Typer(cls=Protocols, no_args_is_help=True, **PLAIN)


@evaluate.callback()
def _evaluate() -> None:
    """Measure a model as the papers do.

    Each protocol has its own --help, such as `pocketsam evaluate clicks --help`. The same command continues a run
    that was stopped or killed.
    """


def _pool(address: str) -> Any:
    from pocketsam.scale.evaluation import pool_on_ray

    return pool_on_ray(address)


@cache
def _command(protocol: "type[Measurement]", group: Protocols) -> Any:
    """The command of a protocol, with its options and what it reports."""
    from pocketsam.evaluation.job import run_options
    from pocketsam.evaluation.protocol import EvaluationProtocol

    on_photos = issubclass(protocol, EvaluationProtocol)
    scaled = RAY if issubclass(protocol, EvaluationProtocol) and not protocol.is_timed else {}
    data_argument = typer.Argument(readable=False, help=DATA, metavar="DATA", hidden=not on_photos)

    def measure(
        data: Annotated[list[Path] | None, data_argument] = None,
        model: Model = "pocket",
        output: Annotated[
            Path | None,
            output_option(
                "The folder of the result; if not given, one in evaluation/, named by model, protocol and settings.",
                "FOLDER",
            ),
        ] = None,
        *,
        given: dict[str, Any],
        how: dict[str, Any],
        scale: dict[str, str | None],
    ) -> None:
        """Measure, show how far it is and the means so far, and print the tables."""
        from rich.console import Console

        from pocketsam.evaluation.job import Run, check_unknown_options, evaluate
        from pocketsam.utils.progress import Progress

        check_unknown_options(protocol, data or [], group.table())
        address = scale.get("ray")
        pool = _pool(address) if address else None
        run = Run(model=model, output=output, pool=pool, **how)
        with Progress("photos", resumes=True) as progress:
            outcome = evaluate(protocol, given, run, data or [], progress.update)
        console = Console(markup=False)
        for table in outcome.report.tables:
            console.print(table.rich())
        for note in outcome.notes():
            console.print(note, soft_wrap=True)

    app = typer.Typer(**PLAIN)
    app.command(
        protocol.name,
        help=f"{protocol.description}\n\nFollows {protocol.follows}.",
        short_help=protocol.summary,
        epilog="\b\nReports:\n" + "\n".join(f"  {name}: {text}" for name, text in protocol.results.items()),
        # What is no option ends among DATA, so that the line about it can name the protocols that have it.
        context_settings={"ignore_unknown_options": True},
    )(with_options(how=run_options(protocol), given=protocol.options(), scale=scaled)(measure))
    return typer.main.get_command(app)

"""Options that several commands have, and those that a class declares (`utils/options`)."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from pocketsam.utils.options import Option
from pocketsam.utils.words import size

Model = Annotated[
    str, typer.Option(help="A model's name, its folder, or a checkpoint file.", metavar="MODEL")
]
Engine = Annotated[
    str,
    typer.Option(
        help="auto, fake-quant, onnx, openvino or torch; auto is the fastest that is installed.",
        metavar="ENGINE",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda (or cuda:1 and so on) or mps.", metavar="DEVICE")]
Precision = Annotated[
    str,
    typer.Option(help="The precision of the arithmetic: float32, bfloat16 or float16.", metavar="PRECISION"),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; all cores, if not given.", metavar="N")
]


def output_option(help: str, metavar: str = "OUT") -> Any:
    """The option for where results go."""
    return typer.Option("-o", "--output", help=help, metavar=metavar)


def with_options(options: Mapping[str, Option]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a command: declared options stand last in its help, and come as its **options."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**values: Any) -> None:
            command(**values)

        *own, _ = signature(command).parameters.values()  # but for **options
        wanted = [*own, *(_parameter(name, option) for name, option in options.items())]
        run.__annotations__ = {one.name: one.annotation for one in wanted}
        run.__signature__ = Signature([one.replace(kind=Parameter.KEYWORD_ONLY) for one in wanted])  # type: ignore[attr-defined]
        return run

    return decorate


def _parameter(name: str, option: Option) -> Parameter:
    """A declared option as Typer reads it."""
    shown = typer.Option(help=option.help, metavar=option.metavar, min=option.minimum)
    typed: Any = Annotated[option.type | None, shown]
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=typed, default=option.default)


def show_files(files: Iterable[Path]) -> None:
    """A line for each file that was written: its path and its size."""
    for file in files:
        typer.echo(f"  {file}: {size(file.stat().st_size)}")

"""Options that several commands have, and those that a class declares (`utils/options`)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from pocketsam.utils.options import Option, option, options_of
from pocketsam.utils.words import size

if TYPE_CHECKING:
    from pocketsam.segmenter import Segmenter

Command: TypeAlias = Callable[..., None]

Model = Annotated[
    str, typer.Option(help="A model's name, its folder, or a checkpoint file.", metavar="MODEL")
]


@dataclass(frozen=True)
class Running:
    """How a model is run: see `Segmenter`."""

    engine: str = field(
        default="auto",
        metadata=option(
            str,
            "auto, fake-quant, onnx, openvino or torch; auto is the fastest that is installed.",
            metavar="ENGINE",
        ),
    )
    device: str = field(
        default="auto",
        metadata=option(str, "auto, cpu, cuda (or cuda:1 and so on) or mps.", metavar="DEVICE"),
    )
    precision: str = field(
        default="float32",
        metadata=option(
            str, "The precision of the arithmetic: float32, bfloat16 or float16.", metavar="PRECISION"
        ),
    )
    threads: int | None = field(
        default=None,
        metadata=option(int, "CPU threads; all cores, if not given.", metavar="N", minimum=1),
    )

    def open(self, model: str, one_image: bool = False) -> "Segmenter":
        """The model that is given, which raises ModelError when it cannot be used so."""
        from pocketsam.segmenter import Segmenter

        return Segmenter(model, one_image=one_image, **vars(self))


def output_option(help: str, metavar: str = "OUT") -> Any:
    """The option for where results go."""
    return typer.Option("-o", "--output", help=help, metavar=metavar)


def with_options(**declared: type | Mapping[str, Option]) -> Callable[[Command], Command]:
    """Decorates a command, which gets declared options by these names; they stand last in its help.

    Those of a class come as an object of it, those of a mapping as a dictionary.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(**values: Any) -> None:
            for name, source in declared.items():
                given = {one: values.pop(one) for one in _options(source)}
                values[name] = source(**given) if isinstance(source, type) else given
            command(**values)

        wanted = [one for one in signature(command).parameters.values() if one.name not in declared]
        wanted += [_parameter(*named) for source in declared.values() for named in _options(source).items()]
        run.__annotations__ = {one.name: one.annotation for one in wanted}
        ordered = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in wanted]
        run.__signature__ = Signature(ordered)  # type: ignore[attr-defined]
        return run

    return decorate


def _options(source: type | Mapping[str, Option]) -> Mapping[str, Option]:
    return options_of(source) if isinstance(source, type) else source


def _parameter(name: str, one: Option) -> Parameter:
    """A declared option as Typer reads it."""
    shown = typer.Option(help=one.help, metavar=one.metavar, min=one.minimum)
    typed: Any = Annotated[one.type | None, shown]
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=typed, default=one.default)


def show_files(files: Iterable[Path]) -> None:
    """A line for each file that was written: its path and its size."""
    for file in files:
        typer.echo(f"  {file}: {size(file.stat().st_size)}")

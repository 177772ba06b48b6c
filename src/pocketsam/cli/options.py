"""What commands share: options, those that a class declares (`utils/options`), and the lines that they print."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import typer

from pocketsam.scale.arguments import ScaleArguments
from pocketsam.utils.options import Option, flag_of, options_of
from pocketsam.utils.running import MODEL, Running

if TYPE_CHECKING:
    from pocketsam.predict.photo_files import PhotoOutcome
    from pocketsam.segmenter import Segmenter

RAY = {"ray": options_of(ScaleArguments)["ray"]}
"""--ray alone, for commands whose results have one format."""

Command: TypeAlias = Callable[..., None]
Outcome = TypeVar("Outcome", bound="PhotoOutcome")
Opened = TypeVar("Opened")


def open_model(model: str, running: Running, one_image: bool = False) -> "Segmenter":
    """The model that is given. Raises ModelError when it cannot be run so."""
    from pocketsam.segmenter import Segmenter

    return Segmenter(model, one_image=one_image, **vars(running))


def begin(open: Callable[[], Opened]) -> Callable[[], Opened]:
    """Open a model in a thread of its own, while this one imports what its command takes: each needs 0.1 s.

    Not for what takes longer, as a command that ends by an error waits for the thread. Returns what gives the result.
    """
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1).submit(open).result


def output_option(help: str, metavar: str = "OUT") -> Any:
    """The option for where results go."""
    return typer.Option("-o", "--output", help=help, metavar=metavar, readable=False)


def with_options(**declared: type | Mapping[str, Option]) -> Callable[[Command], Command]:
    """Decorates a command, which gets declared options by these names, and has them in its help in their place.

    Those of a class come as an object of it, those of a mapping as a dictionary.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(**values: Any) -> None:
            for name, source in declared.items():
                given = {one: values.pop(one) for one in _options(source)}
                values[name] = source(**given) if isinstance(source, type) else given
            command(**values)

        wanted: list[Parameter] = []
        for one in signature(command).parameters.values():
            options = _options(declared[one.name]) if one.name in declared else None
            wanted += [one] if options is None else [_parameter(*named) for named in options.items()]
        run.__annotations__ = {one.name: one.annotation for one in wanted}
        ordered = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in wanted]
        run.__signature__ = Signature(ordered)  # type: ignore[attr-defined]
        return run

    return decorate


def _options(source: type | Mapping[str, Option]) -> Mapping[str, Option]:
    """The options by their names; whether those of a mapping are missing is for what reads them to say."""
    if isinstance(source, type):
        return options_of(source)
    return {name: replace(one, required=False) for name, one in source.items()}


def _parameter(name: str, one: Option) -> Parameter:
    """A declared option as Typer reads it."""
    typed: Any = Annotated[one.type if one.required else one.type | None, _shown(name, one)]
    default = Parameter.empty if one.required else one.default
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=typed, default=default)


def _shown(name: str, one: Option) -> Any:
    """How Typer shows and takes the value."""
    if one.argument:
        return typer.Argument(help=one.help, metavar=one.metavar, readable=False)
    own = [flag_of(name)] if one.default is False else []  # without a --no-… beside it
    return typer.Option(
        *(one.flags or own),
        help=one.help,
        metavar=one.metavar,
        min=one.minimum,
        max=one.maximum,
        envvar=one.variable,
        readable=False,  # what cannot be read is one line, and does not stop other photos
    )


Model = Annotated[str, _shown("model", MODEL["option"])]


def show(lines: Iterable[str]) -> None:
    """Print lines as they come."""
    for line in lines:
        typer.echo(line)


def warn(lines: Iterable[str]) -> None:
    """Print what went wrong to the standard error stream."""
    for line in lines:
        typer.echo(f"pocketsam: {line}", err=True)


def show_outcomes(outcomes: Iterable[Outcome], photos: int) -> list[Outcome]:
    """Print what became of each of so many photos, as it comes; the error of the only one ends the command later."""
    shown = []
    for outcome in outcomes:
        shown.append(outcome)
        warn(outcome.warnings)
        if outcome.error and photos > 1:
            warn([outcome.error])
        show(outcome.lines)
    return shown

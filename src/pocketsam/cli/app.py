"""`pocketsam`: the commands, and the one place where an error becomes a line and an exit code."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pocketsam import __version__
from pocketsam.cli.convert import convert
from pocketsam.cli.embed import embed
from pocketsam.cli.evaluate import evaluate
from pocketsam.cli.everything import everything
from pocketsam.cli.labels import convert_labels
from pocketsam.cli.models import models
from pocketsam.cli.quantize import quantize
from pocketsam.cli.segment import segment
from pocketsam.cli.serve import serve
from pocketsam.cli.train import train
from pocketsam.errors import PocketSAMError


class Commands(TyperGroup):
    """Errors that the user can correct end in one line and exit code 2; all others keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the program that read the output has ended, as `head` does
            raise
        except (PocketSAMError, OSError) as error:
            line = " ".join(str(error).split())
            typer.echo(f"pocketsam: {line}", err=True)
            raise typer.Exit(2) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pocketsam {__version__}")
        raise typer.Exit()


def _pocketsam(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Segment Anything, made small: masks from clicks and boxes, on any computer.

    Each command has its own --help.
    """


app = typer.Typer(
    cls=Commands,
    callback=_pocketsam,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help shows at once
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (segment, everything, serve, models, embed, train, convert, quantize, convert_labels):
    app.command()(command)
app.add_typer(evaluate, name="evaluate")


def main() -> None:
    """The `pocketsam` command. Exits with 0, with 2 for errors that the user can correct, with 130 for Ctrl-C."""
    app(prog_name="pocketsam")

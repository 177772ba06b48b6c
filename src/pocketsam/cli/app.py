"""`pocketsam`: the commands, and the one place where an error becomes a line and an exit code."""

from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pocketsam import __version__
from pocketsam.errors import InputError, PocketSAMError

COMMANDS = {
    "segment": "Segment objects in photos, by clicks, boxes or text.",
    "everything": "Find the masks of all objects in photos, without a prompt.",
    "cutout": "Cut the main object out of photos, without a prompt.",
    "track": "Carry the masks of objects through the frames of a clip.",
    "transmit": "Send what matters in a photo well, and the rest poorly.",
    "serve": "Annotate photos in the browser.",
    "models": "List the models that have a name, and where their files are.",
    "embed": "Store a teacher's embeddings of photos, for training students.",
    "train": "Train a model by a recipe.",
    "convert": "Convert a checkpoint to safetensors, ONNX or PyTorch.",
    "export": "Make a model ready for another place to run in, such as a browser.",
    "quantize": "Quantise a model to 8 bits or fewer, by TinySAM's method.",
    "convert-labels": "Convert annotations of photos from one format to another.",
    "evaluate": "Measure a model as the papers do.",
    "robustness": "Measure how robust a model is, as the papers do.",
}
"""Each command is a file of its name. It is imported when it is needed, so that `pocketsam --help` starts at once."""

PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "pretty_exceptions_enable": False}


@cache
def _load(name: str) -> Any:
    """A command, or a group of commands, as Click runs it."""
    module = name.replace("-", "_")
    command = getattr(import_module(f"pocketsam.cli.{module}"), module)
    if not isinstance(command, typer.Typer):
        command, function = typer.Typer(**PLAIN), command
        command.command(name)(function)
    return typer.main.get_command(command)


class Commands(TyperGroup):
    """Errors that the user can correct end in one line and exit code 2; all others keep their traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            close = get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"use {', '.join(COMMANDS)}"
            raise InputError(f"there is no command {cmd_name!r}; {hint}")
        return _load(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

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
    context_settings={"help_option_names": ["-h", "--help"]},
    **PLAIN,
)

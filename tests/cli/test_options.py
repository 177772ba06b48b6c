"""Options that a dataclass declares, as a command gets them."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pocketsam.cli.options import with_options
from pocketsam.utils.options import option, options_of


@dataclass(frozen=True)
class Words:
    place: Path = field(metadata=option(Path, "Where.", argument=True, metavar="PLACE"))
    known_as: str = field(metadata=option(str, "What it is.", flags=("--as",)))
    port: int = field(default=1, metadata=option(int, "A port.", minimum=0, maximum=9, variable="TEST_PORT"))
    fast: bool = field(default=False, metadata=option(bool, "Whether to hurry."))
    browser: bool = field(default=True, metadata=option(bool, "Whether to open it."))
    left_alone: int = 7


def invoke(source, *words, **env):
    """The exit code and the output of a command with declared options, and what it got."""
    got = []
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @with_options(words=source)
    def command(*, words) -> None:
        got.append(words)

    result = CliRunner(env=env).invoke(app, words)
    return result.exit_code, result.output, got


def test_they_come_as_the_dataclass():
    assert invoke(Words, "here", "--as", "x")[2] == [Words(Path("here"), "x")]
    words = ("--fast", "--no-browser", "--port", "9", "--as", "x", "here")
    assert invoke(Words, *words)[2] == [Words(Path("here"), "x", 9, True, False)]


def test_of_an_empty_mapping_nothing_is_shown():
    assert invoke({})[2] == [{}]
    assert "--words" not in invoke({}, "--help")[1]


def test_the_environment_gives_what_the_command_line_does_not():
    assert invoke(Words, "here", "--as", "x", TEST_PORT="3")[2][0].port == 3
    assert invoke(Words, "here", "--as", "x", "--port", "4", TEST_PORT="3")[2][0].port == 4


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["here"], "Missing option '--as'"),
        (["--as", "x"], "PLACE"),
        (["here", "--as", "x", "--port", "10"], "Invalid value for '--port'"),
        (["here", "--as", "x", "--no-fast"], "No such option"),
    ],
)
def test_others_are_refused(words, line):
    code, printed, got = invoke(Words, *words)
    assert (code, got) == (2, [])
    assert line in printed


def test_those_of_a_mapping_come_as_they_are_typed_and_what_reads_them_misses_some():
    options = {name: options_of(Words)[name] for name in ("known_as", "port")}
    assert invoke(options, "--port", "2")[2] == [{"known_as": None, "port": 2}]

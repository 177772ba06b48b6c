"""Commands, run as their users do."""

import sys
from pathlib import Path

import pytest

from pocketsam.cli.app import app


def run(monkeypatch, capsys, *words) -> tuple[int, str, str]:
    """`pocketsam WORDS…`: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["pocketsam", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        app(prog_name="pocketsam")
    said = capsys.readouterr()
    return end.value.code or 0, said.out, said.err


def files(folder: Path = Path()) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

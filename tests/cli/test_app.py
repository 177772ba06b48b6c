import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import run
from pocketsam.cli.app import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, name, "--help")
    assert code == 0
    assert " ".join(out.split("\n\n")[1].split()) == COMMANDS[name]


def test_help_lists_the_commands_and_imports_none():
    code = (
        "import sys; sys.argv = ['pocketsam', '--help']; from pocketsam.cli.app import app;"
        "app(standalone_mode=False); print([name for name in sys.modules if name.startswith('pocketsam.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *help_text, modules = done.stdout.splitlines()
    assert all(any(line.split()[:1] == [name] for line in help_text) for name in COMMANDS)
    assert "pocketsam.cli.segment" not in modules


def test_a_command_that_is_none_gets_a_hint(monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "segmnt")
    assert (code, err) == (2, "pocketsam: there is no command 'segmnt'; did you mean 'segment'?\n")


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["segment", "missing.jpg"], 2)])
def test_the_process_ends_at_once_after_threads_and_exit_handlers(words, code):
    program = f"""
import atexit, sys, threading
from pocketsam.__main__ import main
from pocketsam.cli.app import Commands
class Freed:
    def __del__(self): print("freed")
one = Freed()
invoke = Commands.main
def begin(*given, **named):
    atexit.register(print, "exit handler")
    threading.Timer(0.2, print, ["thread"]).start()
    return invoke(*given, **named)
Commands.main = begin
sys.argv = ["pocketsam", *{words}]
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.splitlines()[-2:] == ["thread", "exit handler"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_not_silent():
    words = [sys.executable, "-m", "pocketsam", "--version"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0 and "No space left" in done.stderr


def test_an_error_about_a_name_that_the_output_cannot_show_is_still_a_line():
    words = [sys.executable, "-m", "pocketsam", "cutout", "\u03b5.jpg"]
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("pocketsam: \\u03b5.jpg") and done.stderr.count("\n") == 1


def test_output_may_be_closed():
    command = f"{sys.executable} -m pocketsam --version >&-"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Exception ignored" not in done.stderr

"""The process `pocketsam`, also as `python -m pocketsam`."""

import atexit
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from pocketsam.cli.app import app


def main() -> None:
    """Run a command. Exits with 0, with 2 for errors that the user can correct, with 130 for Ctrl-C."""
    # Names of files need not be UTF-8, nor of the output's encoding.
    if isinstance(sys.stdout, TextIOWrapper):
        utf_8 = sys.stdout.encoding.lower() == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf_8 else "backslashreplace")
    codes: list[int] = []
    atexit.register(_end_at_once, codes)  # as the first that is registered, it runs last
    try:
        app(prog_name="pocketsam")
    except SystemExit as end:
        codes += [end.code] if isinstance(end.code, int) else []
        raise


def _end_at_once(codes: Sequence[int]) -> None:
    """End the process without freeing each object, which would take 30 ms. Threads and exit handlers are done by now.

    codes: the exit code; none where an error ends the process.
    """
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):
        return  # the interpreter says so at its end
    for code in codes:
        os._exit(code)


if __name__ == "__main__":
    main()

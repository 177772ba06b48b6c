"""Processes that run `pocketsam`, forked off one that has imported PyTorch: importing it takes seconds of each."""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pocketsam.training.loop", "pocketsam.training.tasks.full_stage"])


def start(
    *words: object,
    stdout: Path | None = None,
    stderr: Path | None = None,
    folder: Path | None = None,
    source: Path | None = None,
    **environment: object,
) -> ForkServerProcess:
    """`pocketsam WORDS…` in a process, and a process group, of its own.

    stdout, stderr: files for what it says there. folder: where it is run. source: the folder of another package
    `pocketsam`, to be run instead. environment: variables besides those of this process.
    """
    variables = {name: str(value) for name, value in environment.items()}
    streams = {1: stdout, 2: stderr}
    process = _CONTEXT.Process(target=_run, args=([*map(str, words)], variables, streams, folder, source))
    process.start()
    return process


def _run(
    words: list[str],
    environment: Mapping[str, str],
    streams: Mapping[int, Path | None],
    folder: Path | None,
    source: Path | None,
) -> None:
    os.setpgrp()
    multiprocessing.set_start_method(None, force=True)  # of its own workers: the usual one, not this one
    os.environ.update(environment)
    for stream, file in streams.items():
        if file:
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    if folder:
        os.chdir(folder)
    if source:
        sys.path.insert(0, str(source))
        for name in [name for name in sys.modules if name.partition(".")[0] == "pocketsam"]:
            del sys.modules[name]
    sys.argv = ["pocketsam", *words]
    import_module("pocketsam.__main__").main()

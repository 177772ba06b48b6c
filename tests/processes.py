"""Processes that run `pocketsam`, forked off one that has imported PyTorch: importing it takes seconds of each."""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from pocketsam.cli.app import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pocketsam.training.loop", "pocketsam.training.tasks.full_stage"])


def start(*words: object, stderr: Path | None = None, **environment: object) -> ForkServerProcess:
    """`pocketsam WORDS…` in a process, and a process group, of its own.

    stderr: a file for what it says there. environment: variables besides those of this process.
    """
    variables = {name: str(value) for name, value in environment.items()}
    process = _CONTEXT.Process(target=_run, args=([*map(str, words)], variables, stderr))
    process.start()
    return process


def _run(words: list[str], environment: Mapping[str, str], stderr: Path | None) -> None:
    os.setpgrp()
    multiprocessing.set_start_method(None, force=True)  # of its own workers: the usual one, not this one
    os.environ.update(environment)
    if stderr:
        os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = ["pocketsam", *words]
    main()

import io
import time

import pytest
from rich.console import Console

from pocketsam.utils import progress as module
from pocketsam.utils.progress import Progress


@pytest.fixture
def log() -> Console:
    return Console(file=io.StringIO(), width=80, highlight=False)


@pytest.fixture
def terminal() -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=True, highlight=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_a_minute(log: Console) -> None:
    clock = Clock()
    with Progress("photos", total=1000, done=100, console=log, clock=clock) as progress:
        for done in range(101, 301):
            clock.now += 1
            progress.update(done, status="1.0 photos/s")
    assert written(log).splitlines() == [
        "photos: 160 of 1000, 1.0 photos/s, 0:14:00 left",
        "photos: 220 of 1000, 1.0 photos/s, 0:13:00 left",
        "photos: 280 of 1000, 1.0 photos/s, 0:12:00 left",
    ]


def test_a_total_that_is_not_known_yet(log: Console) -> None:
    clock = Clock()
    with Progress("photos", console=log, clock=clock) as progress:
        clock.now = 61
        progress.advance()
        clock.now = 122
        progress.update(2, total=4)
    assert written(log).splitlines() == ["photos: 1", "photos: 2 of 4, 0:02:02 left"]


def test_a_short_job_says_nothing_in_a_log(log: Console) -> None:
    with Progress("photos", total=2, console=log) as progress:
        progress.advance()
        progress.advance()
    assert written(log) == ""


def test_no_number_is_elided_on_80_columns(terminal: Console) -> None:
    status = "loss 0.331  IoU 0.541  13.5 photos/s, 25.1 % of the matrix rate"
    with Progress("training", total=100_000, console=terminal) as progress:
        progress.update(99_999, status=status)
        progress.print("step 99999: box 71.2")
    shown = written(terminal)
    assert " 99999/100000" in shown and status in shown and "step 99999: box 71.2" in shown
    assert "…" not in shown


def test_a_long_status_is_wrapped_not_cut(terminal: Console) -> None:
    with Progress("photos", total=10, console=terminal) as progress:
        progress.update(1, status=" ".join(["word"] * 20) + " end")
    assert "end" in written(terminal)


def test_quiet_shows_nothing() -> None:
    clock = Clock()
    with Progress("photos", total=2, quiet=True, clock=clock) as progress:
        clock.now = 100
        progress.advance()
        progress.print("a line")
    assert progress.console.quiet


def test_a_log_gets_lines_while_a_single_step_takes_long(
    log: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.01)
    with Progress("products", console=log):
        while written(log).count("\n") < 2:  # nothing is updated
            time.sleep(0.01)
    assert set(written(log).splitlines()) == {"products: 0"}

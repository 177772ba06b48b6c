"""How far a long job is: a bar on a terminal, and a line a minute where there is none, such as in a log file."""

import time
from collections.abc import Callable, Iterable
from threading import Event, Lock, Thread
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as RichProgress

SECONDS = 60.0
"""Between two lines in a log."""


class Progress:
    """Shows how far a job is, on the standard error stream.

        with Progress("photos", total=1400) as progress:
            for i, photo in enumerate(photos, 1):
                ...
                progress.update(i, status="2.5 photos/s")

    The bar goes when the job ends. Without a terminal a line such as "photos: 120 of 1400, 2.5 photos/s, 0:08:32
    left" is printed once a minute, also while a single step takes longer than that.

    Args:
        name: of what is counted.
        total: how many there are; None while that is not known.
        done: how many were done before.
        resumes: whether to say on Ctrl-C how far it is, and that the same command resumes.
        quiet: show nothing, as in all processes of a run but one.
        console: where it is shown instead. clock: the time in seconds.
    """

    def __init__(
        self,
        name: str,
        total: int | None = None,
        done: int = 0,
        *,
        resumes: bool = False,
        quiet: bool = False,
        console: "Console | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True, highlight=False, quiet=quiet)
        self.name, self.total, self.done = name, total, done
        self.first, self._resumes, self._clock = done, resumes, clock
        self._began = self._printed = clock()
        self._bar = _bar(self.console) if self.console.is_terminal and not quiet else None
        self._task = self._bar.add_task(name, total=total, completed=done, status="") if self._bar else None
        self._status, self._lock, self._ended = "", Lock(), Event()

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        elif not self.console.quiet:
            Thread(target=self._keep_printing, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._bar:
            self._bar.stop()
        if self._resumes and kind is KeyboardInterrupt:
            of = "" if self.total is None else f" of {self.total}"
            self.warn(f"stopped; {self.done}{of} {self.name} are done; the same command resumes there")

    def update(self, done: int, total: int | None = None, status: str = "") -> None:
        """So many are done. total: if it is known now. status: what else there is to say, such as the loss."""
        self.done, self.total, self._status = done, self.total if total is None else total, status
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=self.total, status=status)
        else:
            self._print_if_due()

    def advance(self, status: str = "") -> None:
        """One more is done."""
        self.update(self.done + 1, status=status)

    def warn(self, line: str) -> None:
        """A line about what went wrong."""
        self.print(f"pocketsam: {line}")

    def print(self, line: str) -> None:
        """A line that stays, above the bar."""
        self.console.print(line, markup=False, soft_wrap=True)

    def _keep_printing(self) -> None:
        """Until the job ends, look often enough that no line comes much later than a minute after the last."""
        while not self._ended.wait(SECONDS / 4):
            self._print_if_due()

    def _print_if_due(self) -> None:
        with self._lock:
            if self._clock() - self._printed >= SECONDS:
                self._printed = self._clock()
                self.print(self._line())

    def _line(self) -> str:
        count = f"{self.name}: {self.done}" + (f" of {self.total}" if self.total else "")
        return ", ".join(part for part in (count, self._status, self._remaining()) if part)

    def _remaining(self) -> str:
        """The time left, at the speed so far."""
        now_done = self.done - self.first
        if not self.total or not now_done:
            return ""
        seconds = round((self._clock() - self._began) / now_done * (self.total - self.done))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


def _bar(console: "Console") -> "RichProgress":
    """A bar with its count and the time left on one line of 80 columns, and the status on a line of its own."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Bar(RichProgress):
        def get_renderables(self) -> "Iterable[RenderableType]":
            yield self.make_tasks_table(self.tasks)
            if status := "".join(task.fields["status"] for task in self.tasks):
                yield Text(status)

    name = TextColumn("{task.description}", markup=False)
    return Bar(
        name, BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
    )

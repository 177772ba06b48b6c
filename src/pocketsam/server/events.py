"""Server-sent events: how far a long request is, and then its result. Work that nobody waits for any more ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from pydantic import BaseModel

from pocketsam.automatic.generator import Report
from pocketsam.errors import PocketSAMError
from pocketsam.server.limits import RequestError
from pocketsam.server.messages import Error, Fraction

SECONDS = 0.1
"""Between two events."""


class Stopped(Exception):
    """Ends the work in its thread."""


class Progress:
    """How far the work in another thread is, from 0 to 1. `stop` ends it at its next report."""

    def __init__(self) -> None:
        self.fraction, self._stopped = 0.0, False

    def report(self, fraction: float) -> None:
        """Called by the work."""
        if self._stopped:
            raise Stopped
        self.fraction = fraction

    def stop(self) -> None:
        """Called when the result is not wanted any more."""
        self._stopped = True


async def with_progress(
    work: Callable[[Report], Coroutine[Any, Any, BaseModel]], name: str
) -> AsyncIterator[bytes]:
    """Events: `progress` with a fraction, several times; at the end the result, as `name`, or `error` with a line."""
    progress = Progress()
    task = asyncio.create_task(work(progress.report))
    try:
        while not task.done():
            yield event("progress", Fraction(fraction=round(progress.fraction, 3)))
            await asyncio.wait({task}, timeout=SECONDS)
        yield event(name, task.result())
    except (RequestError, PocketSAMError) as error:
        line = error.line if isinstance(error, RequestError) else " ".join(str(error).split())
        yield event("error", Error(error=line))
    finally:
        progress.stop()
        task.cancel()


def event(name: str, data: BaseModel) -> bytes:
    """One event, as https://html.spec.whatwg.org/multipage/server-sent-events.html has them."""
    return f"event: {name}\ndata: {data.model_dump_json()}\n\n".encode()

import threading

import anyio
import pytest
from anyio.to_thread import run_sync

from pocketsam.errors import InputError
from pocketsam.server.events import Stopped, with_progress
from pocketsam.server.messages import Fraction


def test_work_that_nobody_waits_for_ends():
    ended = threading.Event()

    def work(report):
        try:
            for _ in range(1000):
                report(0.5)
                ended.wait(0.01)
        except Stopped:
            ended.set()
        return Fraction(fraction=1)

    async def run():
        events = with_progress(lambda report: run_sync(work, report), "done")
        while b"0.5" not in await anext(events):
            pass  # the thread begins
        await events.aclose()

    anyio.run(run)
    assert ended.wait(5)


def test_an_error_is_the_last_event():
    async def fail(report):
        raise InputError("no\nphoto")

    async def run():
        return [event async for event in with_progress(fail, "done")]

    assert anyio.run(run)[-1] == b'event: error\ndata: {"error":"no photo"}\n\n'


@pytest.mark.parametrize("steps", [1, 3])
def test_the_result_is_the_last_event(steps):
    async def work(report):
        for i in range(steps):
            report(i / steps)
            await anyio.sleep(0)
        return Fraction(fraction=0.25)

    async def run():
        return [event async for event in with_progress(work, "done")]

    assert anyio.run(run)[-1] == b'event: done\ndata: {"fraction":0.25}\n\n'

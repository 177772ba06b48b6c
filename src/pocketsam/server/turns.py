"""Whose turn it is to use the model: users take turns, and the requests of one user come in their order."""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from pocketsam.server.limits import Limits, RequestError


class Turns:
    """A queue for each user, emptied in rotation. It belongs to one event loop.

    at_once: how many requests may use the model at the same time.
    """

    def __init__(self, at_once: int, limits: Limits) -> None:
        self._free, self._limits = at_once, limits
        self._queues: OrderedDict[str, deque[anyio.Event]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, user: str, waits: bool = True) -> AsyncIterator[None]:
        """Waits for a turn of the user's. Raises RequestError (429) when too many requests wait already.

        waits: False raises that error instead of waiting at all.
        """
        if not waits and (self._queues or not self._free):
            raise RequestError(429, "the model is busy, and a preview does not wait", 1)
        await self._wait(user)
        try:
            yield
        finally:
            self._free += 1
            self._next()

    async def _wait(self, user: str) -> None:
        queue = self._queues.get(user, deque())
        waiting = sum(map(len, self._queues.values()))
        if len(queue) >= self._limits.waiting_each or waiting >= self._limits.waiting:
            raise RequestError(429, "too many requests are waiting for the model; try again in a second", 1)
        mine = anyio.Event()
        self._queues.setdefault(user, queue).append(mine)
        self._next()
        try:
            await mine.wait()
        except BaseException:  # the browser has gone
            self._leave(user, mine)
            raise

    def _next(self) -> None:
        """Begins the turns that can begin."""
        while self._free and self._queues:
            user, queue = self._queues.popitem(last=False)
            self._free -= 1
            queue.popleft().set()
            if queue:
                self._queues[user] = queue  # behind all others

    def _leave(self, user: str, mine: anyio.Event) -> None:
        if mine.is_set():
            self._free += 1
            self._next()
            return
        queue = self._queues[user]
        queue.remove(mine)
        if not queue:
            del self._queues[user]

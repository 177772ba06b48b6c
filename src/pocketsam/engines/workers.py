"""Threads, and how many prompts each takes at a time where there are many."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

TILE = 8
"""Prompts that a thread computes at a time, where there are many: the weights for tokens are read once for all."""

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """So many threads, started when there is work for more than one. Runtimes leave Python's lock while computing."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The function's results, in order; its first exception is raised."""
        items = list(items)
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))


def tiles(count: int, size: int) -> list[NDArray[np.intp]]:
    """The numbers below count, so many at a time; the last tile is filled up with the last number."""
    return [np.arange(start, start + size).clip(max=count - 1) for start in range(0, count, size)]

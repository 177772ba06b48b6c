"""Reading ahead: while one item is worked on, a thread loads the next."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def prefetch(load: Callable[[T], R], items: Iterable[T]) -> Iterator[Iterator[Future[R]]]:
    """`load` of each item, in order, as a future: its `result()` waits for the item, or raises what `load` raised.

    One item is loaded ahead, never two, so that loaded items do not pile up in memory. At the end of the block, also
    when it is left early, what has not begun is never loaded.

        with prefetch(read, paths) as contents:
            for path, content in zip(paths, contents):
                use(content.result())
    """
    thread = ThreadPoolExecutor(max_workers=1)
    try:
        yield _one_ahead(thread, load, iter(items))
    finally:
        thread.shutdown(cancel_futures=True)


def _one_ahead(thread: ThreadPoolExecutor, load: Callable[[T], R], items: Iterator[T]) -> Iterator[Future[R]]:
    current: Future[R] | None = None
    for item in items:
        following = thread.submit(load, item)
        if current is not None:
            yield current
        current = following
    if current is not None:
        yield current

"""How many threads NumPy's matrix products use."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from threadpoolctl import threadpool_limits


class _OneThread:
    """A limit of one thread, kept while anyone is inside.

    BLAS libraries have one number of threads for the whole process. Were each user to set and restore it, two that
    overlap would leave the limit behind for good.
    """

    def __init__(self) -> None:
        self._lock, self._users = Lock(), 0
        self._limits: Any = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._limits = threadpool_limits(1, user_api="blas")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._limits.restore_original_limits()


one_blas_thread = _OneThread()
"""Within `with one_blas_thread():` matrix products use one thread in the whole process; afterwards, as before."""

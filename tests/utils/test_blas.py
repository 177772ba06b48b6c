"""The limit on matrix products holds while anyone needs it, and is gone afterwards."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from pocketsam.utils.blas import one_blas_thread


def threads() -> set[int]:
    np.zeros((2, 2)) @ np.zeros((2, 2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_users_that_overlap_leave_no_limit_behind():
    with threadpool_limits(2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == {1}
        second.__exit__(None, None, None)
        assert threads() == {2}
